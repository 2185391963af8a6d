"""From photos to the faces that are meant in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lib_instantid.face.analyser import Analyser
from lib_instantid.face.choose import choose
from lib_instantid.face.faces import Face, Picture
from lib_instantid.face.keypoints import check_order, fractions_to_pixels
from lib_instantid.face.picture import Source, read_picture

T = TypeVar("T")

QUARTERS = (0, 90, 270, 180)
"""Degrees clockwise, the likelier first: phones that say nothing of how they were held."""

TURNED = "no face was found in the photo as it is, so it was turned by {} degrees; save it upright"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """A face, and the size of the picture that it is in: width and height in pixels."""

    size: tuple[int, int]
    face: Face


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFace:
    """The face that is meant in one photo. picture: (H, W, 3) uint8 RGB. turned: by how many degrees clockwise the photo, which
    lay on its side, was turned."""

    picture: Picture
    face: Face
    turned: int = 0

    @property
    def sight(self) -> Sight:
        """Without the picture, which is large."""
        return Sight(size=(self.picture.shape[1], self.picture.shape[0]), face=self.face)

    @property
    def advice(self) -> tuple[str, ...]:
        return (TURNED.format(self.turned),) if self.turned else ()


def faces_of_photos(
    photos: Sequence[Source],
    analyser: Analyser,
    which: str | int | Sequence[str | int] = "largest",
    by_hand: Sequence[npt.ArrayLike | None] = (),
    field: str = "photos",
) -> tuple[PhotoFace, ...]:
    """The face that is meant in each photo: detected and chosen, or at five points placed by hand.

    which: for all photos, or one for each.
    by_hand: for each photo None, or (5, 2) XY as fractions of its width and height; may be shorter than `photos`.
    field: what errors speak of. raises PictureError, NoFaceFound, SettingsError.
    """
    return tuple(face_of_photo(*meant, analyser) for meant in one_by_one(photos, which, by_hand, field))


def one_by_one(
    photos: Sequence[T], which: str | int | Sequence[str | int], by_hand: Sequence[npt.ArrayLike | None], field: str
) -> Iterator[tuple[T, str | int, npt.ArrayLike | None, str]]:
    """Each photo with which of its faces is meant, its points by hand or None, and its field; see `faces_of_photos`."""
    points = [*by_hand, *[None] * (len(photos) - len(by_hand))]
    meant = [which] * len(photos) if isinstance(which, str | int) else which
    for number, (photo, face, at) in enumerate(zip(photos, meant, points, strict=True), 1):
        yield photo, face, at, f"{field}[{number}]"


def face_of_photo(photo: Source, which: str | int, points: npt.ArrayLike | None, field: str, analyser: Analyser) -> PhotoFace:
    """The face that is meant in one photo. points: None, or by hand as in `faces_of_photos`, which raises the same."""
    picture = read_picture(photo, field)
    size = picture.shape[1], picture.shape[0]
    if points is not None:
        pixels = fractions_to_pixels(points, *size)
        check_order(pixels, f"photo_keypoints of {field}")
        return PhotoFace(picture=picture, face=analyser.face_at(picture, pixels))
    upright, faces, turned = look(picture, analyser)
    return PhotoFace(picture=upright, face=choose(faces, which, size=size, name=field), turned=turned)


def look(picture: Picture, analyser: Analyser) -> tuple[Picture, tuple[Face, ...], int]:
    """The faces of a picture. Where none is found it may lie on its side: it is turned by quarters until one is.

    picture: (H, W, 3) uint8 RGB. returns: the picture as it was seen, its faces, and the degrees clockwise of its turn.
    """
    for degrees in QUARTERS:
        turned = np.ascontiguousarray(np.rot90(picture, -degrees // 90))
        faces = analyser.faces(turned)
        if faces:
            return turned, faces, degrees
    return picture, (), 0
