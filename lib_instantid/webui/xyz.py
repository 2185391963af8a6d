"""X/Y/Z plot: axes for the settings of every system, and the changes that the plot makes to them in each cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.fields import Choice, EntryList, Name, Number, PictureInput, Setting, lists_in, settings_in
from lib_instantid.adapters.settings import Settings
from lib_instantid.errors import InstantIDError, SettingsError
from lib_instantid.webui.arguments import picture_of
from lib_instantid.webui.processing import Processing
from lib_instantid.webui.run_state import PerProcessing, StopGeneration

LABEL = "[InstantID]"

Axis = Callable[..., Any]
"""The WebUIs' `AxisOption`. Arguments: label, type, apply(p, value, values), and by name format_value, confirm(p, values) and
choices."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The setting that an axis changes. entries, number: the list and the entry, from 1, that has it; None for a setting of no
    entry."""

    setting: Setting
    entries: EntryList | None = None
    number: int = 0

    @property
    def label(self) -> str:
        """The axis's label. It has no number for the first entry of the first list, as there is mostly one entry. A list of
        pictures has a singular name, as the axis sets one picture."""
        name = self.setting.name.replace("_", " ")
        own = name.removesuffix("s") if isinstance(self.setting.kind, PictureInput) else name
        if self.entries is None:
            return f"{LABEL} {own}"
        first_list = self.entries == lists_in(Settings)[0]
        number = f" {self.number}" if self.number > 1 else ""
        return f"{LABEL} {own}" if first_list and not number else f"{LABEL} {self.entries.kind.title}{number}: {own}"


Changes = dict[Place, Any]


class Plot:
    """The changes in each cell of a plot. Every cell has its own `p`."""

    def __init__(self) -> None:
        self._changes: PerProcessing[Changes] = PerProcessing()

    def change(self, p: object, place: Place, value: object) -> None:
        """Set a value of an axis for a cell."""
        self._changes.begin(p, {**(self._changes.of(p) or {}), place: value})

    def applied(self, p: object, settings: Common) -> Common:
        """The settings with the changes of the cell; unchanged for a `p` that is no cell. Raises SettingsError: see
        `check_fits`."""
        changes = self._changes.of(p) or {}
        for place in changes:
            check_fits(settings, place)
        found = {place.setting.name: value for place, value in changes.items() if place.entries is None}
        for entries in {place.entries for place in changes if place.entries is not None}:
            own = getattr(settings, entries.name)
            found[entries.name] = [one.varied(_of(changes, entries, number)) for number, one in enumerate(own, 1)]
        return dataclasses.replace(settings, **found) if found else settings


def _of(changes: Changes, entries: EntryList, number: int) -> dict[str, object]:
    return {place.setting.name: value for place, value in changes.items() if (place.entries, place.number) == (entries, number)}


def check_fits(settings: Common, place: Place) -> None:
    """Raise SettingsError unless InstantID is on and these settings have the entry that an axis changes."""
    if not settings.enabled:
        raise SettingsError("X/Y/Z plot: an axis is InstantID's, and InstantID is off; turn it on, or choose another axis.")
    if place.entries is None:
        return
    count, title = len(getattr(settings, place.entries.name)), place.entries.kind.title
    if place.number > count:
        entry = f"{title} {place.number}"
        raise SettingsError(
            f"X/Y/Z plot: an axis changes {place.setting.name} of {entry}, and there are {count}; add the {title}."
        )


@dataclass(frozen=True, kw_only=True)
class Offered:
    """The choices of axes, read when an axis is shown. names: the stored names of a kind ("identity", or the role of a file).
    allowed: folders whose pictures may be given by path."""

    names: Callable[[str], Sequence[str]]
    allowed: Callable[[], Sequence[Path]]


def axes(axis: Axis, plot: Plot, offered: Offered, settings: Callable[[Processing], Common]) -> Iterator[object]:
    """An axis for every setting, of the whole and of each entry, that is a number, a choice, a name or a list of pictures.

    settings: returns the settings of the `p` that the plot varies. Wrong values are refused before the first cell, because the
    plot would show a blank picture for an error in a cell.
    """
    for place in _places():
        made = _axis(place, offered)
        if made is not None:
            kind, read, more = made
            yield axis(
                place.label,
                kind,
                lambda p, value, _, place=place, read=read: plot.change(p, place, read(value)),
                confirm=_checked(place, read, settings),
                **more,
            )


def _places() -> Iterator[Place]:
    yield from (Place(setting=own) for own in settings_in(Settings))
    for entries in lists_in(Settings):
        for number in range(1, entries.kind.most + 1):
            yield from (Place(setting=own, entries=entries, number=number) for own in entries.settings)


def _axis(place: Place, offered: Offered) -> tuple[type, Callable[[Any], Any], Mapping[str, Any]] | None:
    """For an axis: the type of its values, the function that makes a setting's value of one (and raises for a wrong one), and
    further arguments of the axis; None for a setting without an axis."""
    kind = place.setting.kind
    if isinstance(kind, Number):
        return int if kind.whole else float, lambda value: _within(place.setting.name, kind, value), {}
    if isinstance(kind, Choice):
        return str, lambda value: value, {"choices": lambda: list(kind.options)}
    if isinstance(kind, Name):
        return str, lambda value: value, {"choices": lambda: [*dict.fromkeys((*kind.builtin, *offered.names(kind.of)))]}
    if isinstance(kind, PictureInput) and kind.most is not None:
        file_name = {"format_value": lambda _, option, value: f"{option.label}: {Path(value).name}"}
        return str, lambda value: [picture_of(value, place.label, offered.allowed())], file_name
    return None


def _within(name: str, kind: Number, value: float) -> float:
    if not kind.low <= value <= kind.high:
        raise SettingsError(f"{name}: the plot has {value}, expected {kind.low} to {kind.high}.")
    return value


def _checked(
    place: Place, read: Callable[[Any], Any], settings: Callable[[Processing], Common]
) -> Callable[[Processing, Sequence[Any]], None]:
    def confirm(p: Processing, values: Sequence[Any]) -> None:
        try:
            check_fits(settings(p), place)
            for value in values:
                read(value)
        except InstantIDError as error:
            raise StopGeneration(str(error)) from error

    return confirm
