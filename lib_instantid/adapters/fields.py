"""Kinds of settings. A system's settings are frozen dataclasses, and each field declares its kind.

Panel, infotext, API, schema, command line and X/Y/Z plot are made from the kinds, so that none of them lists a system's fields.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, SupportsFloat

from PIL import Image

from lib_instantid.errors import SettingsError

PictureSource = Path | str | bytes | Image.Image
"""A path, the bytes of a picture file, or a Pillow picture."""

Keypoints = Sequence[Sequence[float]]
"""Five (x, y) pairs, as fractions of a picture's width and height: eyes, nose, mouth corners; viewer's left first."""

Place = Literal["likeness", "placement", "advanced", "own"]
"""Where the panel has a setting: in one of its three groups, or in a control of its own."""


PREPROCESSOR = "preprocessor"
"""The kind of names of a host's preprocessors."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number from `low` to `high`, both included. whole: whether it must be a whole number."""

    low: float
    high: float
    whole: bool = False

    def problems(self, value: object) -> Iterator[str]:
        """For a wrong value, what was expected, in words; nothing for a right one. Every kind has this method."""
        right = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not (right and isinstance(value, int | float) and self.low <= value <= self.high):
            yield f"a {'whole ' if self.whole else ''}number from {self.low} to {self.high}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the options. labels: of the options, in the panel. numbered: whether a number from 1, or a list of options and
    numbers, is accepted too."""

    options: tuple[str, ...]
    labels: tuple[str, ...] = ()
    numbered: bool = False

    def problems(self, value: object) -> Iterator[str]:
        if not self.numbered and value not in self.options:
            yield "one of " + ", ".join(f'"{option}"' for option in self.options)
        for each in (value if isinstance(value, list | tuple) else [value]) if self.numbered else ():
            if isinstance(each, bool) or not (each in self.options or (str(each).isdecimal() and int(str(each)) >= 1)):
                yield f"{', '.join(self.options)} or a number from 1, counted from the left"


@dataclass(frozen=True, kw_only=True)
class Switch:
    """On or off."""

    def problems(self, value: object) -> Iterator[str]:
        if not isinstance(value, bool):
            yield "true or false"


@dataclass(frozen=True, kw_only=True)
class PictureInput:
    """A picture, None for none; or a list of at most `most`."""

    most: int | None = None

    def problems(self, value: object) -> Iterator[str]:
        if self.most is not None:
            yield from _not_a_list(value)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Five points as `Keypoints`, or None; with `most`, a list of at most that many of these."""

    most: int | None = None

    def problems(self, value: object) -> Iterator[str]:
        if self.most is not None:
            yield from _not_a_list(value)


@dataclass(frozen=True, kw_only=True)
class Name:
    """The name of a stored object, or None. of: the kind of object, "identity", `PREPROCESSOR` or the role of a weight file.
    builtin: names that are there in every host, before the stored ones. none: what None is called in the page; empty where it
    stands for the first name."""

    of: str
    builtin: tuple[str, ...] = ()
    none: str = ""

    def problems(self, value: object) -> Iterator[str]:
        if not isinstance(value, str | None):
            yield "a name"


@dataclass(frozen=True, kw_only=True)
class Entries:
    """A list of at most `most` objects of the settings class `of`. title: what page and messages call one object. needs: the
    fields that every object needs, in words. spelling: an example of an object in its short spelling, empty if it has none."""

    of: Any
    most: int
    title: str
    needs: str
    spelling: str = ""

    def problems(self, value: object) -> Iterator[str]:
        yield from _not_a_list(value)
        if isinstance(value, Sequence) and not all(isinstance(entry, self.of) for entry in value):
            yield f"objects of type {self.of.__name__}"


Kind = Number | Choice | Switch | PictureInput | Points | Name | Entries


def _not_a_list(value: object) -> Iterator[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        yield "a list"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a settings class. label: its name in the panel. help: a sentence without a full stop.

    traced: whether the infotext records it, because it changes the picture.
    """

    name: str
    default: Any
    kind: Kind
    label: str
    help: str
    place: Place = "own"
    traced: bool = True


def setting(default: Any, kind: Kind, label: str, help: str, *, place: Place = "own", traced: bool = True) -> Any:
    """A field of a settings class; see `Setting`."""
    return field(default=default, metadata={"kind": kind, "label": label, "help": help, "place": place, "traced": traced})


def settings_in(kind: type) -> tuple[Setting, ...]:
    """The settings of a settings class, in their order."""
    return tuple(Setting(name=own.name, default=own.default, **own.metadata) for own in dataclasses.fields(kind))


@dataclass(frozen=True, kw_only=True)
class EntryList:
    """A setting that lists entries."""

    name: str
    kind: Entries

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings of one entry."""
        return settings_in(self.kind.of)


def lists_in(kind: type) -> tuple[EntryList, ...]:
    """The settings of a settings class that list entries."""
    return tuple(EntryList(name=own.name, kind=own.kind) for own in settings_in(kind) if isinstance(own.kind, Entries))


def check_fields(settings: object) -> None:
    """Raise SettingsError for the first value that is not of its field's kind."""
    for own in settings_in(type(settings)):
        value = getattr(settings, own.name)
        if isinstance(own.kind, Entries) and len(value) > own.kind.most:
            raise SettingsError(f"{own.name}: found {len(value)}, expected 1 to {own.kind.most}; leave some out.")
        for expected in own.kind.problems(value):
            raise SettingsError(f"{own.name}: found {value!r}, expected {expected}.")


def check_keypoints(name: str, keypoints: Any) -> None:
    """Raise SettingsError unless these are five points and at least one lies in the picture.

    keypoints: (5, 2) XY as fractions of width and height. name: the field that errors name.
    """
    try:
        if not all(isinstance(v, SupportsFloat) and not isinstance(v, bool) for point in keypoints for v in point):
            raise TypeError("not a number")
        points = [(float(x), float(y)) for x, y in keypoints]
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{name}: found {keypoints!r}, expected five pairs of numbers.") from error
    if len(points) != 5 or not all(math.isfinite(v) for point in points for v in point):
        raise SettingsError(f"{name}: found {len(points)} points, expected five pairs of finite numbers.")
    if all(not (0 <= x <= 1 and 0 <= y <= 1) for x, y in points):
        raise SettingsError(
            f"{name}: all five lie outside the picture (the first is {points[0]}); expected fractions of its "
            "width and height, from 0 to 1, not pixels."
        )
