"""Places each person's head in the output."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.people import Person
from lib_instantid.encoders.face.geometry import crop_and_resize
from lib_instantid.encoders.face.head_points import Head, depths_of
from lib_instantid.encoders.face.keypoints import box_from_keypoints, fractions_to_pixels
from lib_instantid.encoders.face.photos import Look, one_by_one
from lib_instantid.encoders.face.picture import Source

Size = tuple[int, int]
"""Width and height in pixels."""

OVERLAP = 1 / 3
"""Two heads that share more than this fraction of the smaller one's box count as being at the same place."""


def place_heads(settings: InstantIDSettings, size: Size, look: Look) -> tuple[Head | None, ...]:
    """Each person's head in an output of `size`; None for pose "none". Heads at the same place are moved side by side.

    look: see `Photos.face_of`; called for each person whose head is placed from a photo or a pose picture, and its errors are
    raised. Raises SettingsError: wrong keypoints.
    """
    numbers = range(1, len(settings.people) + 1)
    return side_by_side([_place(settings.people, number, size, look) for number in numbers], size[0])


def _place(people: Sequence[Person], number: int, size: Size, look: Look) -> Head | None:
    """The head of one person, placed from the source that the person's pose names."""
    person = people[number - 1]
    if person.pose == "none":
        return None
    if person.pose == "keypoints":
        assert person.keypoints is not None  # the settings have checked it
        keypoints = fractions_to_pixels(person.keypoints, *size)
        return Head(keypoints=keypoints, box=box_from_keypoints(keypoints), depths=depths_of(keypoints, None), by_hand=True)
    source = look(*_first_photo(person, number) if person.pose == "photo" else pose_picture(people, number))
    placement = crop_and_resize(source.size, size, keep=source.face.box)
    keypoints = placement.points(source.face.keypoints)
    return Head(keypoints=keypoints, box=placement.box(source.face.box), depths=depths_of(keypoints, source.face.landmarks))


def _first_photo(person: Person, number: int) -> tuple[Source, str | int, npt.ArrayLike | None, str]:
    return next(one_by_one(person.photos, person.face, person.photo_keypoints, f"people[{number}].photos"))


def pose_picture(people: Sequence[Person], number: int) -> tuple[Source, str | int, None, str]:
    """The arguments for `Look`: the largest face, or, if several people share the picture, one face each from the left."""
    picture = people[number - 1].pose_picture
    assert picture is not None  # the settings have checked it
    sharing = [i for i, other in enumerate(people, 1) if other.pose_picture == picture]
    return picture, "largest" if len(sharing) == 1 else sharing.index(number) + 1, None, f"people[{number}].pose_picture"


def side_by_side(heads: Sequence[Head | None], width: float) -> tuple[Head | None, ...]:
    """Move heads that overlap by more than a third into separate columns, unless a person placed them by hand.

    width: of the output in px, divided into as many columns as there are heads. The other heads stay where they are and occupy
    the nearest columns. A moved head keeps its vertical place, and shrinks if its column is narrower.
    """
    placed = {i: head for i, head in enumerate(heads) if head is not None}
    column = width / max(len(placed), 1)
    free = [column * (i + 0.5) for i in range(len(placed))]
    moving = [i for i in placed if not placed[i].by_hand and _shares_its_place(placed[i], placed.values())]
    for i in placed.keys() - moving:
        free.remove(min(free, key=lambda x: abs(x - _middle(placed[i])[0])))
    moved = {i: _moved(placed[i], x, column) for i, x in zip(moving, free, strict=True)}
    return tuple(moved.get(i, head) for i, head in enumerate(heads))


def _shares_its_place(head: Head, heads: Iterable[Head]) -> bool:
    return any(other is not head and _overlap(head, other) > OVERLAP for other in heads)


def _overlap(one: Head, other: Head) -> float:
    """The area that two boxes share, as a fraction of the smaller box."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    smaller = min(float(np.prod(head.box[2:] - head.box[:2])) for head in (one, other))
    return float(np.prod((high - low).clip(0))) / max(smaller, 1e-6)


def _middle(head: Head) -> np.ndarray:
    middle: np.ndarray = (head.box[:2] + head.box[2:]) / 2
    return middle


def _moved(head: Head, x: float, column: float) -> Head:
    """The head with its middle at `x`, shrunk to the width of a column if it is wider."""
    middle = _middle(head)
    scale = min(1.0, column / max(float(head.box[2] - head.box[0]), 1e-6))

    def go(points: np.ndarray) -> np.ndarray:
        return ((points - middle) * scale + (x, middle[1])).astype(np.float32)

    return dataclasses.replace(
        head,
        keypoints=go(head.keypoints),
        box=go(head.box.reshape(2, 2)).reshape(4),
        depths=(head.depths * scale).astype(np.float32),
        moved=True,
    )
