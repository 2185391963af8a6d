"""Finds the chosen face in each photo. Each photo is decoded and analysed once, then remembered."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from lib_instantid.constants import FACE_CROP, SEEN_CROP
from lib_instantid.encoders.face.analyser import Analyser
from lib_instantid.encoders.face.choose import choose
from lib_instantid.encoders.face.faces import Face, Floats, Picture, digest_of
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.keypoints import check_order, fractions_to_pixels
from lib_instantid.encoders.face.picture import Source, file_bytes, read_picture
from lib_instantid.encoders.face.report import PhotoReport, report

T = TypeVar("T")

CROPS = (FACE_CROP, SEEN_CROP)
"""Sides of the aligned faces that are kept, in pixels: what a face recogniser takes, and what a vision tower sees."""

QUARTERS = (0, 90, 270, 180)
"""Clockwise turns to try, in degrees, the likelier first, as some phones do not record how they were held."""

TURNED = "no face was found in the photo as it is, so it was turned by {} degrees; save it upright"


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFace:
    """The chosen face of a photo, without the photo itself, which is large.

    size: (width, height) of the photo in pixels, after turning. crops: the face as `align` cuts it out, by their sides,
    `CROPS`. report: how well the face serves. digest: SHA-256 of the photo's pixels, which identifies it. turned: degrees
    clockwise by which a photo lying on its side was turned.
    """

    size: tuple[int, int]
    face: Face
    crops: Mapping[int, Picture]
    report: PhotoReport
    digest: str
    turned: int = 0

    @property
    def key(self) -> Hashable:
        """What identifies the face: the photo's pixels, and where it is in them."""
        return self.digest, self.face.keypoints.tobytes()

    @property
    def advice(self) -> tuple[str, ...]:
        """Sentences about the photo; none for a good one."""
        return (*((TURNED.format(self.turned),) if self.turned else ()), *self.report.advice)


Look = Callable[[Source, "str | int", "npt.ArrayLike | None", str], PhotoFace]
"""A function such as `Photos.face_of`. Arguments: the photo, which face, points placed by hand or None, the field that errors
name."""


class Photos:
    """An analyser that several threads may use at once. It remembers photos, as hires fix, batches and the panel repeat them.

    remembered: how many photos. Each face takes 0.2 MB, and saves a third of a second.
    """

    def __init__(self, analyser: Analyser, remembered: int = 32) -> None:
        self._analyser = analyser
        self._remembered = remembered
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        """See `Analyser.provider`."""
        return self._analyser.provider

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """See `Analyser.faces`. Does not remember the picture; meant for pictures that come once, such as results."""
        with self._lock:
            return self._analyser.faces(picture)

    def see(self, photo: Source, points: npt.ArrayLike | None, field: str) -> Seen:
        """Decode a photo and look at it, unless it is remembered. One in which no face is found may lie on its side: it is
        turned by quarters until there is one.

        points: None, or by hand: (5, 2) XY as fractions of the photo's width and height. field: what errors speak of.
        Raises PictureError, SettingsError.
        """
        key = _key(photo, points, field)
        with self._lock:
            seen = self._seen.pop(key, None)
            if seen is None:
                picture, turned = read_picture(photo, field), 0
                faces = self._analyser.faces(picture) if points is None else (_at(picture, points, field, self._analyser),)
                while not faces and turned != QUARTERS[-1]:
                    turned = QUARTERS[QUARTERS.index(turned) + 1]
                    faces = self._analyser.faces(upright(picture, turned))
                turned = turned if faces else 0
                seen = _seen(upright(picture, turned), faces, turned, points is not None, self._analyser)
            self._seen[key] = seen
            while len(self._seen) > self._remembered:
                self._seen.popitem(last=False)
        return seen

    def face_of(self, photo: Source, which: str | int, points: npt.ArrayLike | None, field: str) -> PhotoFace:
        """The face that is meant in a photo. which: as `choose` takes it. Otherwise as `see`. Raises NoFaceFound too."""
        return self.see(photo, points, field).meant(which, field)


def _key(photo: Source, points: npt.ArrayLike | None, field: str) -> str:
    """By which a photo is remembered: its content, not its name, and the points."""
    if isinstance(photo, Image.Image):
        content = photo.tobytes() + f"{photo.size} {photo.mode}".encode()
    else:
        content = file_bytes(photo, field)
    return f"{hashlib.sha256(content).hexdigest()} {None if points is None else np.asarray(points).tolist()}"


def _at(picture: Picture, points: npt.ArrayLike, field: str, analyser: Analyser) -> Face:
    pixels = fractions_to_pixels(points, picture.shape[1], picture.shape[0])
    check_order(pixels, f"photo_keypoints of {field}")
    return analyser.face_at(picture, pixels)


def _seen(picture: Picture, faces: Sequence[Face], turned: int, by_hand: bool, analyser: Analyser) -> Seen:
    size, digest = (picture.shape[1], picture.shape[0]), digest_of(picture)
    return Seen(
        size=size,
        digest=digest,
        faces=tuple(
            PhotoFace(
                size=size,
                face=face,
                crops={side: align(picture, face.keypoints, side) for side in CROPS},
                report=report(picture, face),
                digest=digest,
                turned=turned,
            )
            for face in faces
        ),
        by_hand=by_hand,
        likely=None if faces else analyser.likely(picture),
        turned=turned,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A photo that was looked at; the photo itself, which is large, is not kept.

    size: (width, height) in pixels, as it was seen. digest: of its pixels. faces: all of them, best score first, or the one at
    points that were placed by hand. likely: (5, 2) XY px, where placing points by hand may begin in a photo without a face;
    None where nothing is like one. turned: see `PhotoFace`.
    """

    size: tuple[int, int]
    digest: str
    faces: tuple[PhotoFace, ...]
    by_hand: bool
    likely: Floats | None
    turned: int

    @property
    def from_left(self) -> tuple[PhotoFace, ...]:
        """The faces in the order in which the viewer counts them."""
        return tuple(sorted(self.faces, key=lambda one: one.face.centre[0]))

    def meant(self, which: str | int, field: str) -> PhotoFace:
        """The face that is meant. which: as `choose` takes it. field: what errors name. Raises NoFaceFound, SettingsError."""
        if self.by_hand:
            return self.faces[0]
        face = choose([one.face for one in self.faces], which, size=self.size, name=field)
        return next(one for one in self.faces if one.face is face)


def faces_of_photos(
    photos: Sequence[Source],
    look: Look,
    which: str | int | Sequence[str | int] = "largest",
    by_hand: Sequence[npt.ArrayLike | None] = (),
    field: str = "photos",
) -> tuple[PhotoFace, ...]:
    """One face of each photo: detected and chosen, or at five points placed by hand.

    look: see `Photos.face_of`. which: one choice for all photos, or one for each. by_hand: for each photo None, or points
    (5, 2) XY as fractions of width and height; may be shorter than `photos`. field: the field that errors name, with the
    photo's number. raises PictureError, NoFaceFound, SettingsError: see `Photos.face_of`.
    """
    return tuple(look(*meant) for meant in one_by_one(photos, which, by_hand, field))


def one_by_one(
    photos: Sequence[T], which: str | int | Sequence[str | int], by_hand: Sequence[npt.ArrayLike | None], field: str
) -> Iterator[tuple[T, str | int, npt.ArrayLike | None, str]]:
    """For each photo: the photo, which face, its points (5, 2) or None, and its field. Arguments: see `faces_of_photos`."""
    points = [*by_hand, *[None] * (len(photos) - len(by_hand))]
    meant = [which] * len(photos) if isinstance(which, str | int) else which
    for number, (photo, face, at) in enumerate(zip(photos, meant, points, strict=True), 1):
        yield photo, face, at, f"{field}[{number}]"


def upright(picture: Picture, turned: int) -> Picture:
    """Turn a picture (H, W, 3) clockwise. turned: degrees, a multiple of 90. returns: (H, W, 3) or (W, H, 3), same dtype."""
    return np.ascontiguousarray(np.rot90(picture, -turned // 90))
