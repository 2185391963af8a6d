"""The settings of one generation: the common ones and those of every system, in one object."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lib_instantid.adapters import FAMILIES
from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Family
from lib_instantid.adapters.fields import EntryList, check_fields, lists_in, settings_in
from lib_instantid.errors import SettingsError


def _check(settings: Common) -> None:
    """Each value by its kind, then what each system says of its own."""
    check_fields(settings)
    for family in FAMILIES:
        family.settings.check(settings)
    lists = lists_in(type(settings))
    if settings.enabled and not any(getattr(settings, entries.name) for entries in lists):
        names = ", ".join(entries.name for entries in lists)
        cures = ", ".join(_first_of(entries).wanted for entries in lists)
        raise SettingsError(f"{names}: empty; {cures}, or turn InstantID off.")


def _first_of(entries: EntryList) -> Family:
    """The first of the systems that share a list."""
    return next(family for family in FAMILIES if family.entries == entries)


Settings: Any = dataclasses.make_dataclass(
    "Settings",
    (),
    bases=(*(family.settings for family in reversed(FAMILIES)), Common),  # the fields come in the families' order
    namespace={"__post_init__": _check, "__doc__": "All settings of one generation."},
    frozen=True,
    kw_only=True,
)
"""A frozen dataclass with the fields of `Common` and of each system's settings. It inherits from all these classes."""


def settings_from_dict(values: Mapping[str, object]) -> Any:
    """Make `Settings` of plain values, as from an API or a file. Names of earlier versions only cause a warning.

    Settings that were not given may follow from others (`implied` of each system). Raises SettingsError for unknown names and
    wrong values, which names the field, as in `people[1].face`.
    """
    gone = {name: text for family in FAMILIES for name, text in family.gone.items()}
    for name in gone.keys() & values.keys():
        warnings.warn(gone[name], stacklevel=2)
    own = {name: value for name, value in values.items() if name not in gone}
    implied: dict[str, object] = {}
    for entries in lists_in(Settings):
        own[entries.name] = _entries(entries, own.get(entries.name, ()))
        implied |= _first_of(entries).settings.implied(own[entries.name])
    return _build(Settings, {**implied, **own})


def _entries(setting: EntryList, given: object) -> tuple[object, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise SettingsError(f"{setting.name}: found {type(given).__name__}, expected a list.")
    return tuple(_entry(setting, value, f"{setting.name}[{number}]") for number, value in enumerate(given, 1))


def _entry(setting: EntryList, value: object, field: str) -> object:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{field}: found {type(value).__name__}, expected an object with {setting.kind.needs}.")
    kind = setting.kind.of
    try:
        return _build(kind, {**kind.implied(value), **value})
    except SettingsError as error:
        raise SettingsError(f"{field}.{error}") from error


def _build(kind: Any, values: Mapping[str, object]) -> Any:
    known = {setting.name for setting in settings_in(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}.")
    return kind(**values)
