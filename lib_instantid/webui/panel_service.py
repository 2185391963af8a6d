"""Answers the requests of the panel in the browser: faces in photos, head placements, identities, model files.

A request is a JSON object with `do` (the action) and an `id`. The answer has the same `id`, and either `error` or the result.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib_instantid.adapters import FAMILIES
from lib_instantid.constants import SD15_CONTEXT
from lib_instantid.encoders.face.faces import HASH_DIGITS, Picture, short_hash
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.head_points import Head, average_head
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.identity_files import (
    delete_identity,
    list_identities,
    load_thumbnail,
    rename_identity,
    save_identity,
)
from lib_instantid.encoders.face.keypoints import black_map, draw_keypoints
from lib_instantid.encoders.face.photos import PhotoFace, Photos, faces_of_photos, upright
from lib_instantid.encoders.face.picture import Source, read_picture
from lib_instantid.errors import InstantIDError, SettingsError
from lib_instantid.webui.arguments import picture_of, settings_of, upload_folder
from lib_instantid.webui.map_drawing import MapDrawing
from lib_instantid.webui.words import in_page_words

Request = Mapping[str, Any]
"""A request of the browser."""

Answer = dict[str, object]

LOG = logging.getLogger(__name__)
SHOWN = 640
"""Longer side, in pixels, of a turned photo that is sent to the browser."""

LONGEST_SIDE = 8192
"""Largest side of an output in pixels; requests beyond it are refused."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """Files to download. text: their names, sizes and licences. start: starts the download in the background. progress: a
    sentence while it runs and after it failed."""

    text: str
    start: Callable[[], None]
    progress: str
    running: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of the model files. problems: for each list of entries (`people`), why it cannot be used now. download: of
    missing files, or None. files: the names of each role's files, beginning with the one used by default. context: numbers of a
    token of the checkpoint's text, None if not known."""

    problems: Mapping[str, str] = field(default_factory=dict)
    download: Download | None = None
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    context: int | None = None


@dataclass(frozen=True, kw_only=True)
class PanelBackend:
    """The functions that the panel's host provides."""

    analyser: Callable[[], Photos]
    identities: Callable[[], Path]
    status: Callable[[], Status] = Status
    maps: MapDrawing | None = None


class PanelService:
    """Answers the panel's requests."""

    def __init__(self, backend: PanelBackend) -> None:
        self._backend = backend
        self._actions: dict[str, Callable[[Request], Answer]] = {
            "status": self._status,
            "faces": self._faces,
            "hash": self._hash,
            "place": self._place,
            "maps": self._maps,
            "save identity": self._save,
            "rename identity": self._rename,
            "delete identity": self._delete,
            "download": self._download,
        }

    def answer(self, text: str) -> str:
        """Answer a request; both are JSON texts. Never raises: errors are in the answer, and the browser shows them."""
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

    def _status(self, _: Request) -> Answer:
        status = self._backend.status()
        download = status.download
        offer = {name: getattr(download, name) for name in ("text", "progress", "running")} if download else None
        found = {"identities": self._listed(), "files": status.files, "sd15": status.context == SD15_CONTEXT}
        return {"problems": status.problems, "download": offer, **found}

    def _download(self, request: Request) -> Answer:
        download = self._backend.status().download
        if download is not None:
            download.start()
        return self._status(request)

    def _faces(self, request: Request) -> Answer:
        """Find the faces of a photo. photo: path of an upload. keypoints: five points placed by hand, or null.

        In the answer, hash: the photo's hash in an infotext. start: points from which placing by hand may begin. turned: the
        photo after turning if it lay on its side, or null.
        """
        photo = self._upload(request["photo"], "photo")
        seen = self._backend.analyser().see(photo, request.get("keypoints"), "photo")
        start = average_head(*seen.size) if seen.likely is None else seen.likely
        shown = _data_url(_png(_small(upright(read_picture(photo), seen.turned)))) if seen.turned else None
        described = [_described(one) for one in seen.from_left]
        found = {"size": seen.size, "faces": described, "hash": seen.digest[:HASH_DIGITS]}
        return {**found, "start": (start / seen.size).tolist(), "turned": shown}

    def _hash(self, request: Request) -> Answer:
        """The hash of a picture in an infotext. picture: path of an upload."""
        return {"hash": short_hash(read_picture(self._upload(request["picture"], "picture")))}

    def _place(self, request: Request) -> Answer:
        """Place the heads. settings: as in the API, but missing keypoints give an average head. width, height: of the output,
        px."""
        width, height = _size(request)
        average = (average_head(width, height) / (width, height)).tolist()
        people = [_with_keypoints(person, average) for person in request["settings"]["people"]]
        settings = settings_of([True, json.dumps({**request["settings"], "people": people})], [])
        placing = [family.place_heads for family in FAMILIES if family.place_heads is not None]
        heads = [head for place in placing for head in place(settings, (width, height), self._backend.analyser().face_of)]
        drawn = [draw_keypoints(head.keypoints, width, height) for head in heads if head]
        together = np.maximum.reduce([black_map(width, height), *drawn])
        return {"heads": [_placed(head) for head in heads], "map": _data_url(_png(together))}

    def _maps(self, request: Request) -> Answer:
        """The maps of ControlNets, drawn in the background. settings, width, height: as for "place". maps: null while they are
        being drawn; then ask again."""
        assert self._backend.maps is not None  # every host of the panel has it
        settings = settings_of([True, json.dumps(request["settings"])], [])
        drawn = self._backend.maps.of(json.dumps(request["settings"]), settings, _size(request))
        return {"maps": None if drawn is None else [_data_url(_png(_small(one))) for one in drawn]}

    def _save(self, request: Request) -> Answer:
        """Save an identity. photos, photo_keypoints, face: as for a person. thumbnail: whether to store one."""
        photos = [self._upload(photo, f"photos[{i}]") for i, photo in enumerate(request["photos"], 1)]
        found = faces_of_photos(photos, self._backend.analyser().face_of, request["face"], request["photo_keypoints"])
        identity = combine([photo.face for photo in found], name=request["name"])
        small = _thumbnail(photos[0], found[0]) if request["thumbnail"] else None
        save_identity(identity, self._backend.identities(), thumbnail=small)
        return {"identities": self._listed()}

    def _rename(self, request: Request) -> Answer:
        rename_identity(request["name"], request["new_name"], self._backend.identities())
        return {"identities": self._listed()}

    def _delete(self, request: Request) -> Answer:
        delete_identity(request["name"], self._backend.identities())
        return {"identities": self._listed()}

    def _listed(self) -> list[Answer]:
        folder = self._backend.identities()
        thumbnails = {name: load_thumbnail(name, folder) for name in list_identities(folder)}
        return [{"name": name, "thumbnail": png and _data_url(png)} for name, png in thumbnails.items()]

    @staticmethod
    def _upload(path: str, field: str) -> Source:
        return picture_of(path, field, [upload_folder()])


def _size(request: Request) -> tuple[int, int]:
    """Width and height of the output. Raises SettingsError: out of range."""
    width, height = (int(request[name]) for name in ("width", "height"))
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise SettingsError(f"width, height: found {width} x {height}, expected 1 to {LONGEST_SIDE} pixels.")
    return width, height


def _described(found: PhotoFace) -> Answer:
    """A face as fractions of the photo, with its report."""
    size = np.array(found.size)
    return {
        "box": (found.face.box.reshape(2, 2) / size).reshape(4).tolist(),
        "keypoints": (found.face.keypoints / size).tolist(),
        "level": found.report.level,
        "advice": found.report.advice,
        "width_px": found.report.width_px,
    }


def _thumbnail(photo: Source, found: PhotoFace) -> bytes:
    """The aligned face as the recogniser takes it, as the content of a PNG file."""
    return _png(align(upright(read_picture(photo), found.turned), found.face.keypoints))


def _with_keypoints(person: Mapping[str, object], average: Sequence[Sequence[float]]) -> Answer:
    missing = person.get("pose") == "keypoints" and not person.get("keypoints")
    return {**person, "keypoints": average} if missing else dict(person)


def _placed(head: Head | None) -> Answer | None:
    return {"keypoints": head.keypoints.tolist(), "depths": head.depths.tolist()} if head else None


def _small(picture: Picture) -> Picture:
    """The picture (H, W, 3), scaled so that its longer side is at most `SHOWN`."""
    scale = min(1.0, SHOWN / max(picture.shape[:2]))
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _png(picture: Picture) -> bytes:
    """(H, W, 3) uint8 RGB → a PNG file."""
    return bytes(cv2.imencode(".png", picture[:, :, ::-1])[1])


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
