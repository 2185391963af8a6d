"""Makes the table from which the page builds its controls: each setting and its kind, as plain values.

Settings with the place "own", such as photos and keypoints, are left out, as the page has special controls for them.
"""

from __future__ import annotations

from lib_instantid.adapters import FAMILIES
from lib_instantid.adapters.fields import Choice, Kind, Name, Number, Setting, lists_in, settings_in
from lib_instantid.adapters.settings import Settings

STEP = 0.05
"""Step of a slider for fractions."""

WHOLE = "whole"
"""The owner of the settings that belong to no entry."""

PRESETS = tuple(preset for family in FAMILIES for preset in family.presets)
"""The presets of all systems, each with a button in the page."""


def table_for_page() -> list[dict[str, object]]:
    """A row for each control. owner: the name of the list whose entries have the setting, or `WHOLE`."""
    owners = {WHOLE: settings_in(Settings), **{entries.name: entries.settings for entries in lists_in(Settings)}}
    return [_row(setting, owner) for owner, own in owners.items() for setting in own if setting.place != "own"]


def presets_for_page() -> list[dict[str, object]]:
    return [{"name": preset.name, **preset.values} for preset in PRESETS]


def _row(setting: Setting, owner: str) -> dict[str, object]:
    return {
        "name": setting.name,
        "label": setting.label,
        "kind": type(setting.kind).__name__.lower(),
        "owner": owner,
        "place": setting.place,
        "help": setting.help,
        "default": setting.default,
        **_limits(setting.kind),
    }


def _limits(kind: Kind) -> dict[str, object]:
    if isinstance(kind, Number):
        return {"low": kind.low, "high": kind.high, "step": 1 if kind.whole else STEP}
    if isinstance(kind, Choice):
        return {"options": list(zip(kind.options, kind.labels or kind.options, strict=True))}
    return {"of": kind.of, "builtin": kind.builtin, "none": kind.none} if isinstance(kind, Name) else {}
