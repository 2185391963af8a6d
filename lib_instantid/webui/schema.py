"""Makes JSON schemas of the API's input from the kinds of the settings."""

from __future__ import annotations

from typing import Any

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.fields import (
    Choice,
    Entries,
    Kind,
    Name,
    Number,
    PictureInput,
    Points,
    Setting,
    Switch,
    lists_in,
    settings_in,
)
from lib_instantid.adapters.settings import Settings
from lib_instantid.constants import MAX_PHOTOS
from lib_instantid.encoders.face.choose import CHOICES

Schema = dict[str, Any]

PICTURE: Schema = {"type": "string", "description": "a picture: base64, a data URL, or a path below an allowed folder"}
POINT: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
KEYPOINTS: Schema = {
    "type": "array",
    "description": "five points [x, y], fractions of width and height: eyes, nose, mouth corners; the viewer's left first",
    "items": POINT,
    "minItems": 5,
    "maxItems": 5,
}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 64}


def _list_of(items: Schema, most: int, least: int = 1) -> Schema:
    return {"type": "array", "items": items, **({"minItems": least} if least else {}), "maxItems": most}


def _choice(kind: Choice) -> Schema:
    words: Schema = {"type": "string", "enum": list(kind.options)}
    if not kind.numbered:
        return words
    one: list[Schema] = [words, {"type": "string", "pattern": "^[1-9][0-9]?$"}, {"type": "integer", "minimum": 1}]
    return {"anyOf": [*one, _list_of({"anyOf": one}, MAX_PHOTOS)]}


def of_kind(kind: Kind) -> Schema:
    """The schema of a setting's values."""
    match kind:
        case Number():
            return {"type": "integer" if kind.whole else "number", "minimum": kind.low, "maximum": kind.high}
        case Choice():
            return _choice(kind)
        case Switch():
            return {"type": "boolean"}
        case PictureInput():
            return PICTURE if kind.most is None else _list_of(PICTURE, kind.most)
        case Points():
            return KEYPOINTS if kind.most is None else _list_of({"anyOf": [{"type": "null"}, KEYPOINTS]}, kind.most, 0)
        case Name():
            return NAME if kind.of == "identity" else {"type": ["string", "null"], "minLength": 1}
        case Entries():
            return _list_of(_object(kind.of), kind.most)


PHOTOS = of_kind(PictureInput(most=MAX_PHOTOS))
PHOTO_KEYPOINTS = of_kind(Points(most=MAX_PHOTOS))
FACE = of_kind(Choice(options=CHOICES, numbered=True))


def settings_schema() -> Schema:
    """The schema of the object with a generation's settings. It requires the entries of at least one system."""
    names = [entries.name for entries in lists_in(Settings)]
    needed = {"required": names} if len(names) == 1 else {"anyOf": [{"required": [name]} for name in names]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "InstantID", **_object(Settings), **needed}


def _object(kind: type) -> Schema:
    return {
        "type": "object",
        "properties": {setting.name: _described(setting) for setting in settings_in(kind)},
        "additionalProperties": False,
    }


def _described(setting: Setting) -> Schema:
    described = {**of_kind(setting.kind), "description": setting.help}
    return described if setting.default in (None, ()) else {**described, "default": _default(setting)}


def _default(setting: Setting) -> object:
    """The default in the API, where InstantID is on if a request has settings for it."""
    return True if setting.name == ENABLED else setting.default


ENABLED = settings_in(Common)[0].name
