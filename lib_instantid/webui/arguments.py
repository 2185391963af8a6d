"""Settings from a script's arguments. The page sends its switch and the text of the very object that the API takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import SettingsError
from lib_instantid.guidance.settings import Settings, settings_from_dict
from lib_instantid.webui.pictures import picture_of, upload_folder

PICTURES = ("pose_picture", "region")


def is_from_page(arguments: Sequence[Any]) -> bool:
    """Whether a script's arguments are the page's, and not those of a request."""
    return bool(arguments) and isinstance(arguments[0], bool)


def settings_of(arguments: Sequence[Any], allowed: Sequence[Path]) -> Settings:
    """arguments: one object from the API, or from the page whether it is enabled and the object's JSON.

    Raises SettingsError or PictureError that names the field. allowed: folders whose pictures may be named by path; the
    page's uploads may always.
    """
    first, text = [*arguments, False, ""][:2] if arguments else (False, "")
    if isinstance(first, Mapping):
        return settings_from_dict(_with_pictures({"enabled": True, **first}, allowed))
    if not isinstance(first, bool):
        raise SettingsError(f"args[0]: found {type(first).__name__}, expected an object with InstantID's settings.")
    if not first:
        return Settings()
    values = _from_text(text)
    return settings_from_dict(_with_pictures({**values, "enabled": True}, [*allowed, upload_folder()]))


def _from_text(text: Any) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except (TypeError, ValueError) as error:
        raise SettingsError(f"settings: found {text!r:.80}, expected the JSON of InstantID's settings ({error}).") from error
    if not isinstance(values, dict):
        raise SettingsError(f"settings: found {text!r:.80}, expected a JSON object.")
    return values


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
