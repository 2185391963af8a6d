"""Chooses one of several faces of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.faces import Face
from lib_instantid.errors import NoFaceFound, SettingsError

CHOICES = ("largest", "left", "right", "center")


def from_left(faces: Sequence[Face]) -> list[Face]:
    """The faces from left to right, by the centres of their boxes."""
    return sorted(faces, key=lambda face: face.centre[0])


def choose(faces: Sequence[Face], which: str | int = "largest", *, size: tuple[int, int], name: str = "photo") -> Face:
    """The face that `which` selects.

    which: "largest" (area of the box), "left" or "right" as the viewer sees it, "center" (nearest to the picture's centre),
    or a number counted from the left, 1 for the leftmost, as int or digits.
    size: (width, height) of the picture, px. name: the field that errors name.
    raises NoFaceFound: no face, or fewer faces than the number. SettingsError: another word, or a number below 1.
    """
    number = _number(which)
    if not faces:
        raise no_face(name, size)
    counted = from_left(faces)
    if number is not None:
        if number > len(faces):
            raise NoFaceFound(
                f"{name}: face {number} from the left was asked for, and the picture has {len(faces)}; "
                f"choose 1 to {len(faces)}."
            )
        return counted[number - 1]
    if which == "left":
        return counted[0]
    if which == "right":
        return counted[-1]
    if which == "center":
        middle = (size[0] / 2, size[1] / 2)
        return min(faces, key=lambda face: math.dist(face.centre, middle))
    return max(counted, key=lambda face: face.width * face.height)  # the leftmost of equal ones, as in the panel


def no_face(name: str, size: tuple[int, int]) -> NoFaceFound:
    """Make the error for a picture without any face. size: (width, height), px. name: the field that it names."""
    return NoFaceFound(
        f"{name}: no face found in the picture of {size[0]} x {size[1]} pixels. Crop closer to the face, use "
        f"a frontal photo with a face at least {FACE_CROP} pixels wide, or place the five points by hand."
    )


def _number(which: str | int) -> int | None:
    """The number from the left, or None if `which` is one of `CHOICES`."""
    if which in CHOICES:
        return None
    text = str(which).strip()
    if isinstance(which, bool) or not (text.isascii() and text.isdigit()) or int(text) < 1:
        words = ", ".join(CHOICES)
        raise SettingsError(f"face: expected {words} or a number from 1, counted from the left; found {which!r}.")
    return int(text)
