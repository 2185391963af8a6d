"""Axes of the WebUIs' X/Y/Z plot, made from the one table of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import InstantIDError, SettingsError
from lib_instantid.face.identity_files import list_identities
from lib_instantid.guidance.settings import FACE_WORDS, MAX_PEOPLE, Person, Settings
from lib_instantid.webui.generation import InstantID
from lib_instantid.webui.pictures import picture_of
from lib_instantid.webui.plot import PHOTO, WHOLE, Plot, check_fits

LABEL = "[InstantID]"

Confirm = Callable[[Any, Sequence[Any]], None]
"""Refuses an axis: p, and the values of the axis."""

Axis = Callable[..., Any]
"""The WebUIs' `AxisOption`: label, type, apply(p, value, values); format_value, confirm(p, values), choices by name."""


def axes(
    axis: Axis,
    plot: Plot,
    identities: Callable[[], Path],
    allowed: Callable[[], Sequence[Path]],
    settings: Callable[[Any], Settings],
) -> Iterator[Any]:
    """One for every number and choice of the settings; for each person also the face, a saved identity, and a photo by its
    file, which lies below an allowed folder.

    settings: those of the `p` that is varied. What does not fit them is refused before the first cell, as `InstantID`, since
    the plot makes an error of a cell a blank.
    """

    def fitting(number: int, name: str, kind: type, apply: Any, confirm: Confirm = _anything, **more: Any) -> Any:
        def check(p: Any, values: Sequence[Any]) -> None:
            try:
                check_fits(settings(p), number, name)
                confirm(p, values)
            except InstantIDError as error:
                raise InstantID(str(error)) from error

        return axis(_label(number, name), kind, apply, confirm=check, **more)

    yield from _of_settings(fitting, plot, Settings, WHOLE)
    for number in range(1, MAX_PEOPLE + 1):
        yield from _of_settings(fitting, plot, Person, number)
        yield _one(fitting, plot, number, "face", str, choices=lambda: list(FACE_WORDS))
        yield _one(fitting, plot, number, "identity", str, choices=lambda: list_identities(identities()))
        yield _photos(fitting, plot, number, allowed)


def _anything(_: Any, values: Sequence[Any]) -> None:
    """Nothing is wrong with these values by themselves."""


def _of_settings(axis: Axis, plot: Plot, kind: type, number: int) -> Iterator[Any]:
    for field in dataclasses.fields(kind):
        limits = field.metadata
        if "low" in limits:
            check = _within(field.name, limits["low"], limits["high"])
            yield _one(axis, plot, number, field.name, int if field.type == "int" else float, confirm=check)
        elif "options" in limits:
            yield _one(axis, plot, number, field.name, str, choices=lambda options=limits["options"]: list(options))


def _within(name: str, low: float, high: float) -> Callable[[Any, Sequence[float]], None]:
    def confirm(_: Any, values: Sequence[float]) -> None:
        for value in values:
            if not low <= value <= high:
                raise SettingsError(f"{name}: the plot has {value}, expected {low} to {high}.")

    return confirm


def _one(axis: Axis, plot: Plot, number: int, name: str, kind: type, **more: Any) -> Any:
    return axis(number, name, kind, lambda p, value, _: plot.change(p, number, name, value), **more)


def _photos(axis: Axis, plot: Plot, number: int, allowed: Callable[[], Sequence[Path]]) -> Any:
    def photo(value: str) -> Any:
        return picture_of(value, f"{_label(number, PHOTO)}", allowed())

    return axis(
        number,
        PHOTO,
        str,
        lambda p, value, _: plot.change(p, number, PHOTO, photo(value)),
        format_value=lambda _, option, value: f"{option.label}: {Path(value).name}",
        confirm=lambda _, values: [photo(value) for value in values] and None,
    )


def _label(number: int, name: str) -> str:
    """The first person's axes are named as if there were one, as there mostly is."""
    person = f"person {number}: " if number > 1 else ""
    return f"{LABEL} {person}{name.replace('_', ' ')}"
