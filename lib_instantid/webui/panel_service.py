"""What the panel in the browser asks for while a person sets it up: faces in photos, head placements, identities, models.

Each request is one JSON object with `do` and an `id`; each answer has the `id`, and `error` or what was asked for.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib_instantid.errors import InstantIDError, SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.choose import from_left
from lib_instantid.face.faces import Face, Picture, short_hash
from lib_instantid.face.geometry import align
from lib_instantid.face.heads import average_head
from lib_instantid.face.identity import combine
from lib_instantid.face.identity_files import (
    delete_identity,
    list_identities,
    load_thumbnail,
    rename_identity,
    save_identity,
)
from lib_instantid.face.keypoints import black_map, draw_keypoints, fractions_to_pixels
from lib_instantid.face.photos import Sight, face_of_photo, faces_of_photos, look
from lib_instantid.face.picture import Source, read_picture
from lib_instantid.face.report import report
from lib_instantid.guidance.placing import Head, place_heads
from lib_instantid.webui.arguments import settings_of
from lib_instantid.webui.pictures import picture_of, upload_folder
from lib_instantid.webui.words import in_page_words

LOG = logging.getLogger(__name__)
REMEMBERED = 32
"""Faces in photos and pose pictures, without the pictures: 2 kB each."""

SHOWN = 640
"""Pixels of the longer side of a photo that is sent back upright."""

LONGEST_SIDE = 8192
"""Pixels of the output; beyond it no map is drawn for the page."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """Files to fetch. text: what they are, with size and licence. start: begins in the background. progress: a sentence, while
    it runs or after it failed."""

    text: str
    start: Callable[[], None]
    progress: str
    running: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """problem: why no picture can be made now, or None. download: what can be fetched, or None. identitynets: names of those
    that are there, the one that is used unless another is named first."""

    problem: str | None = None
    download: Download | None = None
    identitynets: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the panel's host provides."""

    analyser: Callable[[], Analyser]
    identities: Callable[[], Path]
    status: Callable[[], Status] = Status


class PanelService:
    """Answers the panel's requests."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._seen: dict[str, Sight] = {}
        self._actions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "status": self._status,
            "faces": self._faces,
            "place": self._place,
            "save identity": self._save,
            "rename identity": self._rename,
            "delete identity": self._delete,
            "download": self._download,
        }

    def answer(self, text: str) -> str:
        """One request's answer, both JSON, with the request's `id`. Never raises: the browser shows `error`."""
        number = None
        try:
            request = json.loads(text)
            number = request.get("id")
            found = self._actions[request["do"]](request)
        except InstantIDError as error:
            found = {"error": in_page_words(str(error))}
        except Exception as error:
            LOG.exception("the panel's request failed: %.200s", text)
            found = {"error": f"Internal error, {type(error).__name__}: {error}. Please report it with the log."}
        return json.dumps({**found, "id": number})

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        status = self._around.status()
        download = status.download
        offer = {name: getattr(download, name) for name in ("text", "progress", "running")} if download else None
        found = {"identities": self._listed(), "identitynets": status.identitynets}
        return {"problem": status.problem, "download": offer, **found}

    def _download(self, request: Mapping[str, Any]) -> dict[str, Any]:
        download = self._around.status().download
        if download is not None:
            download.start()
        return self._status(request)

    def _faces(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """photo: path of an upload. keypoints: five points by hand, or null.

        In the answer, hash: as an infotext names the photo. start: where placing the points may begin. turned: the photo
        upright, where it lay on its side, or null.
        """
        photo, by_hand = self._upload(request["photo"], "photo"), request.get("keypoints")
        picture, turned, analyser = read_picture(photo, "photo"), 0, self._around.analyser()
        size = picture.shape[1], picture.shape[0]
        if by_hand is None:
            picture, found, turned = look(picture, analyser)
            faces, size = from_left(found), (picture.shape[1], picture.shape[0])
        else:
            faces = [analyser.face_at(picture, fractions_to_pixels(by_hand, *size))]
        likely = None if faces else analyser.likely(picture)
        start = ((average_head(*size) if likely is None else likely) / size).tolist()
        shown = _data_url(_png(_small(picture))) if turned else None
        described = [_described(picture, face) for face in faces]
        return {"size": size, "faces": described, "hash": short_hash(picture), "start": start, "turned": shown}

    def _place(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """settings: as the API's; keypoints may be missing, which gives an average head. width, height: of the output."""
        width, height = (int(request[name]) for name in ("width", "height"))
        if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
            raise SettingsError(f"width, height: found {width} x {height}, expected 1 to {LONGEST_SIDE} pixels.")
        average = (average_head(width, height) / (width, height)).tolist()
        people = [_with_keypoints(person, average) for person in request["settings"]["people"]]
        settings = settings_of([True, json.dumps({**request["settings"], "people": people})], [])
        heads = place_heads(settings, (width, height), self._look)
        drawn = [draw_keypoints(head.keypoints, width, height) for head in heads if head]
        together = np.maximum.reduce([black_map(width, height), *drawn])
        return {"heads": [_placed(head) for head in heads], "map": _data_url(_png(together))}

    def _look(self, photo: Source, which: str | int, points: Any, field: str) -> Sight:
        """Remembered: each nudge of a head asks for the others' photos again. An upload never changes under its name."""
        analyser = self._around.analyser()
        key = f"{id(analyser)} {photo!r} {which} {points}"
        if key not in self._seen:
            self._seen[key] = face_of_photo(photo, which, points, field, analyser).sight
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return self._seen[key]

    def _save(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """name; photos, photo_keypoints and face as a person's; thumbnail: whether to store one."""
        photos = [self._upload(photo, f"photos[{i}]") for i, photo in enumerate(request["photos"], 1)]
        found = faces_of_photos(photos, self._around.analyser(), request["face"], request["photo_keypoints"])
        identity = combine([photo.face for photo in found], name=request["name"])
        first = found[0]
        small = _png(align(first.picture, first.face.keypoints)) if request["thumbnail"] else None
        save_identity(identity, self._around.identities(), thumbnail=small)
        return {"identities": self._listed()}

    def _rename(self, request: Mapping[str, Any]) -> dict[str, Any]:
        rename_identity(request["name"], request["new_name"], self._around.identities())
        return {"identities": self._listed()}

    def _delete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        delete_identity(request["name"], self._around.identities())
        return {"identities": self._listed()}

    def _listed(self) -> list[dict[str, Any]]:
        folder = self._around.identities()
        thumbnails = {name: load_thumbnail(name, folder) for name in list_identities(folder)}
        return [{"name": name, "thumbnail": png and _data_url(png)} for name, png in thumbnails.items()]

    @staticmethod
    def _upload(path: str, field: str) -> Any:
        return picture_of(path, field, [upload_folder()])


def _described(picture: Picture, face: Face) -> dict[str, Any]:
    """A face as fractions of the picture, with its report."""
    size = np.array([picture.shape[1], picture.shape[0]])
    judged = report(picture, face)
    return {
        "box": (face.box.reshape(2, 2) / size).reshape(4).tolist(),
        "keypoints": (face.keypoints / size).tolist(),
        "level": judged.level,
        "advice": judged.advice,
        "width_px": judged.width_px,
    }


def _with_keypoints(person: Mapping[str, Any], average: Sequence[Sequence[float]]) -> dict[str, Any]:
    missing = person.get("pose") == "keypoints" and not person.get("keypoints")
    return {**person, "keypoints": average} if missing else dict(person)


def _placed(head: Head | None) -> dict[str, Any] | None:
    return {"keypoints": head.keypoints.tolist(), "depths": head.depths.tolist()} if head else None


def _small(picture: Picture) -> Picture:
    """At most as large as the page shows a photo."""
    scale = min(1.0, SHOWN / max(picture.shape[:2]))
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _png(picture: Picture) -> bytes:
    """(H, W, 3) uint8 RGB → a PNG file."""
    return bytes(cv2.imencode(".png", picture[:, :, ::-1])[1])


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
