"""Records settings in a picture's infotext, so that the picture can be made again, without photos or biometric data.

Defaults are left out. Pictures are recorded as short hashes, which identify a picture that is given again, but cannot restore
it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Family, Restored
from lib_instantid.adapters.fields import Entries, PictureInput, Points, settings_in
from lib_instantid.encoders.face.faces import short_hash
from lib_instantid.encoders.face.picture import Source, read_picture

BY_HASH = "#"
"""Marks a picture that an infotext gives only by its hash. A page that still has the picture inserts it."""

COMMON = frozenset(setting.name for setting in settings_in(Common))


def changed(settings: object, left_out: Collection[str] = ()) -> dict[str, object]:
    """The values that are not at their default, of numbers, choices, switches and names, which stand as they are."""
    plain = [
        own for own in settings_in(type(settings)) if own.traced and not isinstance(own.kind, PictureInput | Points | Entries)
    ]
    found = {own.name: getattr(settings, own.name) for own in plain if own.name not in left_out}
    return {own.name: found[own.name] for own in plain if own.name in found and found[own.name] != own.default}


def recorded_common(settings: Common) -> dict[str, object]:
    """The values to record of the settings that belong to no system."""
    return {name: value for name, value in changed(settings).items() if name in COMMON}


def recorded_entry(entry: object, known: Mapping[str, object] | None = None) -> dict[str, object]:
    """The values to record of a system's entry: pictures as hashes, points as they were given. known: values of settings that
    need not be made anew, such as hashes of pictures that were read."""
    values = {**changed(entry), **(known or {})}
    for own in settings_in(type(entry)):
        value = getattr(entry, own.name)
        if value is None or value == () or own.name in values:
            continue
        if isinstance(own.kind, PictureInput):
            one = own.kind.most is None
            values[own.name] = hash_of(value, own.name) if one else [hash_of(each, own.name) for each in value]
        elif isinstance(own.kind, Points):
            values[own.name] = value
    return values


def recorded(settings: Common, family: Family) -> dict[str, object]:
    """The values to record of a system's own settings, its entries first."""
    entries = family.entries.name
    return {entries: [recorded_entry(entry) for entry in getattr(settings, entries)], **recorded_own(settings, family.settings)}


def recorded_own(settings: Common, kind: type, left_out: Collection[str] = ()) -> dict[str, object]:
    """The values to record of the settings that a system's class `kind` has beside the common ones, without its entries."""
    names = {own.name for own in settings_in(kind)} - COMMON
    return {name: value for name, value in changed(settings, left_out).items() if name in names}


def restored(values: Mapping[str, Any], family: Family) -> Restored:
    """Turn the values of `recorded` into settings for the API, and a sentence for each picture: those are hashes, which a page
    replaces if it still has the pictures."""
    entries, lost = family.entries, list[str]()
    pictures = {own.name for own in entries.settings if isinstance(own.kind, PictureInput)}
    found = [dict(entry) for entry in values[entries.name]]
    for number, entry in enumerate(found, 1):
        for name in [own for own in entry if own in pictures]:
            several = isinstance(entry[name], list)
            hashes = entry[name] if several else [entry[name]]
            lost += [f"{entries.name}[{number}].{name}: {one} cannot be restored; add it again." for one in hashes]
            marked = [f"{BY_HASH}{one}" for one in hashes]
            entry[name] = marked if several else marked[0]
    return {**values, entries.name: found}, tuple(lost)


def hash_of(picture: Source, field: str) -> str:
    """The short hash of a picture's pixels. Raises PictureError: see `read_picture`."""
    return short_hash(read_picture(picture, field))
