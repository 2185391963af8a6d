"""Settings from a script's arguments: positional values from the page, or one object from the API. The same code reads both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import SettingsError
from lib_instantid.guidance.settings import Person, Settings, settings_from_dict
from lib_instantid.webui.fields import FIELDS
from lib_instantid.webui.pictures import picture_of

PICTURES = ("pose_picture", "region")


def settings_of(arguments: Sequence[Any], allowed: Sequence[Path]) -> Settings:
    """Raises SettingsError or PictureError that names the field. allowed: folders whose pictures may be named by path."""
    if arguments and isinstance(arguments[0], Mapping):
        return settings_from_dict(_with_pictures({"enabled": True, **arguments[0]}, allowed))
    values = dict(zip((field.name for field in FIELDS), arguments, strict=False))
    if not values.get("enabled"):
        return Settings()
    return settings_from_dict(_with_pictures(_nested(values), allowed))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The page's flat values → settings with one person. What is empty there is left to the defaults."""
    given = {name: value for name, value in values.items() if value is not None}
    owners = {field.name: field.owner for field in FIELDS}
    person = {name: value for name, value in given.items() if owners[name] is Person}
    photos = person.get("photos") or []
    person["photos"] = photos if isinstance(photos, Sequence) and not isinstance(photos, str) else [photos]
    return {**{name: value for name, value in given.items() if owners[name] is Settings}, "people": [person]}


def _with_pictures(values: dict[str, Any], allowed: Sequence[Path]) -> dict[str, Any]:
    people = values.get("people", ())
    if not isinstance(people, Sequence) or isinstance(people, str):
        return values  # refused by name later
    return {**values, "people": [_person(person, f"people[{i}]", allowed) for i, person in enumerate(people, 1)]}


def _person(person: Any, field: str, allowed: Sequence[Path]) -> Any:
    if not isinstance(person, Mapping):
        return person
    read = dict(person)
    photos = read.get("photos", ())
    if isinstance(photos, str | bytes) or not isinstance(photos, Sequence):
        raise SettingsError(f"{field}.photos: found {type(photos).__name__}, expected a list of pictures.")
    read["photos"] = [picture_of(photo, f"{field}.photos[{i}]", allowed) for i, photo in enumerate(photos, 1)]
    for name in PICTURES:
        if read.get(name) is not None:
            read[name] = picture_of(read[name], f"{field}.{name}", allowed)
    return read
