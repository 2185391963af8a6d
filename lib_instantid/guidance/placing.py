"""Where each person's head goes in the output."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib_instantid.face.geometry import crop_and_resize
from lib_instantid.face.heads import depths_of
from lib_instantid.face.keypoints import box_from_keypoints, fractions_to_pixels
from lib_instantid.face.photos import Sight, one_by_one
from lib_instantid.face.picture import Source
from lib_instantid.guidance.settings import Person, Settings

Size = tuple[int, int]
"""Width and height in pixels."""

OVERLAP = 1 / 3
"""Of the smaller of two heads: above it they count as being at the same place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Where a head goes in the output. keypoints: (5, 2) float32 XY px. box: (4,) float32 x1 y1 x2 y2 px. depths: (5,) float32
    px, how far each point stands out towards the viewer. by_hand: whether a person placed it. moved: whether it was at
    another's place and went beside it."""

    keypoints: np.ndarray
    box: np.ndarray
    depths: np.ndarray
    by_hand: bool = False
    moved: bool = False


Look = Callable[[Source, "str | int", "npt.ArrayLike | None", str], Sight]
"""Finds the face that is meant in a photo: the photo, which face, points by hand or None, and the field that errors name."""


def place_heads(settings: Settings, size: Size, look: Look) -> tuple[Head | None, ...]:
    """Each person's head in an output of `size`; None for a free one. Heads at one place are put side by side.

    look: asked for one picture of each person whose head a photo or a pose picture places; raises what this raises.
    """
    numbers = range(1, len(settings.people) + 1)
    return side_by_side([_place(settings.people, number, size, look) for number in numbers], size[0])


def _place(people: Sequence[Person], number: int, size: Size, look: Look) -> Head | None:
    """From what the person's pose names."""
    person = people[number - 1]
    if person.pose == "none":
        return None
    if person.pose == "keypoints":
        assert person.keypoints is not None  # the settings have checked it
        keypoints = fractions_to_pixels(person.keypoints, *size)
        return Head(keypoints=keypoints, box=box_from_keypoints(keypoints), depths=depths_of(keypoints, None), by_hand=True)
    source = look(*_first_photo(person, number) if person.pose == "photo" else _pose_picture(people, number))
    placement = crop_and_resize(source.size, size, keep=source.face.box)
    keypoints = placement.points(source.face.keypoints)
    return Head(keypoints=keypoints, box=placement.box(source.face.box), depths=depths_of(keypoints, source.face.landmarks))


def _first_photo(person: Person, number: int) -> tuple[Source, str | int, npt.ArrayLike | None, str]:
    return next(one_by_one(person.photos, person.face, person.photo_keypoints, f"people[{number}].photos"))


def _pose_picture(people: Sequence[Person], number: int) -> tuple[Source, str | int, None, str]:
    """Its largest face, or, where people share the picture, theirs from left to right."""
    picture = people[number - 1].pose_picture
    assert picture is not None  # the settings have checked it
    sharing = [i for i, other in enumerate(people, 1) if other.pose_picture == picture]
    return picture, "largest" if len(sharing) == 1 else sharing.index(number) + 1, None, f"people[{number}].pose_picture"


def side_by_side(heads: Sequence[Head | None], width: float) -> tuple[Head | None, ...]:
    """Heads that overlap by more than a third, and that nobody placed by hand, each in a column of its own.

    width: of the output in px; it has as many columns as heads. The others keep their places and take the nearest columns.
    A head keeps its height in the picture, and its size where the column is as wide.
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
    """What two heads share, as a part of the smaller one's box."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    smaller = min(float(np.prod(head.box[2:] - head.box[:2])) for head in (one, other))
    return float(np.prod((high - low).clip(0))) / max(smaller, 1e-6)


def _middle(head: Head) -> np.ndarray:
    middle: np.ndarray = (head.box[:2] + head.box[2:]) / 2
    return middle


def _moved(head: Head, x: float, column: float) -> Head:
    """The head around `x`, no wider than a column."""
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
