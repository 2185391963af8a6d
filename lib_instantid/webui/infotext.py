"""Writes settings into one value of the infotext and reads them back: JSON like the API's, with what each system records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lib_instantid.adapters import FAMILIES
from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Restored, Sources
from lib_instantid.adapters.fields import EntryList, PictureInput, lists_in
from lib_instantid.adapters.record import recorded_common
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.errors import SettingsError

LISTS = tuple(entries.name for entries in lists_in(Settings))

KEY = "InstantID"
"""Key of the settings in the infotext."""

SWAPPED_QUOTES = str.maketrans("\"'", "'\"")
"""Swaps single and double quotes. The WebUIs put the value in double quotes and escape those inside it, so that JSON stays
shorter and readable with swapped quotes. Swapping again restores it."""


def infotext_of(settings: Common, recorded: Sequence[Mapping[str, object]]) -> str:
    """The value for one picture. recorded: what the systems in use record (`Run.recorded`)."""
    values: dict[str, Any] = {}
    for own in (*recorded, recorded_common(settings)):
        values |= {name: _joined(values.get(name), value) if name in LISTS else value for name, value in own.items()}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).translate(SWAPPED_QUOTES)


def _joined(entries: Any, others: Any) -> Any:
    """The entries of a list that several systems share: each records those for which it acts."""
    return others if entries is None else [{**one, **other} for one, other in zip(entries, others, strict=True)]


def settings_from_infotext(text: str, sources: Sources) -> Restored:
    """The settings as an object for the API, and a sentence for each setting that could not be restored.

    A text that InstantID did not write, or that was changed, gives no settings and one sentence.
    """
    try:
        values = _read(text)
        lost = [said for family in FAMILIES for name, said in family.gone.items() if values.pop(name, None) is not None]
        restored = dict(values)
        for family in FAMILIES:
            if family.entries.name in values:
                restored, told = family.restored(restored, sources)
                lost += told
        _check(restored, values)
    except SettingsError as error:
        return {}, (f"InstantID's settings in the infotext cannot be read: {error}",)
    return restored, tuple(lost)


def _read(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text.translate(SWAPPED_QUOTES))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"it is not as InstantID writes it ({error}).") from error
    there = [values[name] for name in LISTS if values.get(name)] if isinstance(values, dict) else []
    if not there or not all(isinstance(entries, list) and all(isinstance(one, dict) for one in entries) for entries in there):
        raise SettingsError(f"the {' and '.join(LISTS)} are missing; it was cut off or changed.")
    return values


def _check(restored: Mapping[str, object], written: Mapping[str, object]) -> None:
    """Raise SettingsError unless the restored values, completed with the lost pictures, are valid settings."""
    whole = dict(restored)
    for entries in lists_in(Settings):
        if entries.name in written:
            whole[entries.name] = _with_pictures(entries, restored, written)
    settings_from_dict(whole)


def _with_pictures(entries: EntryList, restored: Mapping[str, Any], written: Mapping[str, Any]) -> list[dict[str, Any]]:
    pictures = {own.name for own in entries.settings if isinstance(own.kind, PictureInput)}
    pairs = zip(restored[entries.name], written[entries.name], strict=True)
    return [{**{name: own[name] for name in own if name in pictures}, **one} for one, own in pairs]
