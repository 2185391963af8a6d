"""JSON schemas of what the API takes, made from the one table of settings."""

from __future__ import annotations

import dataclasses
from typing import Any

from lib_instantid.guidance.settings import FACE_WORDS, MAX_PEOPLE, MAX_PHOTOS, Person, Settings

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
PHOTOS: Schema = {"type": "array", "items": PICTURE, "minItems": 1, "maxItems": MAX_PHOTOS}
PHOTO_KEYPOINTS: Schema = {"type": "array", "items": {"anyOf": [{"type": "null"}, KEYPOINTS]}, "maxItems": MAX_PHOTOS}
ONE_FACE: list[Schema] = [
    {"type": "string", "enum": list(FACE_WORDS)},
    {"type": "string", "pattern": "^[1-9][0-9]?$"},
    {"type": "integer", "minimum": 1},
]
FACE: Schema = {"anyOf": [*ONE_FACE, {"type": "array", "items": {"anyOf": ONE_FACE}, "minItems": 1, "maxItems": MAX_PHOTOS}]}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 64}

OF_TYPE: dict[str, Schema] = {
    "bool": {"type": "boolean"},
    "str | int | Sequence[str | int]": FACE,
    "str | None": NAME,
    "Sequence[Picture]": PHOTOS,
    "Picture | None": PICTURE,
    "Keypoints | None": KEYPOINTS,
    "Sequence[Keypoints | None]": PHOTO_KEYPOINTS,
}
"""By the annotation of a setting that is neither a number nor a choice."""


def settings_schema() -> Schema:
    """Of the one object that a generation takes."""
    people = {"type": "array", "items": _object(Person), "minItems": 1, "maxItems": MAX_PEOPLE}
    own = _object(Settings, people=people, identitynet_file={"type": ["string", "null"], "minLength": 1})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "InstantID", **own, "required": ["people"]}


def _object(kind: type, **known: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: _value(field, known.get(field.name)) for field in dataclasses.fields(kind)},
        "additionalProperties": False,
    }


def _value(field: dataclasses.Field[Any], known: Schema | None) -> Schema:
    """known: the schema of one that its type does not tell, without its description."""
    limits = field.metadata
    if known is not None:
        values = known
    elif "low" in limits:
        kind = "integer" if field.type == "int" else "number"
        values = {"type": kind, "minimum": limits["low"], "maximum": limits["high"]}
    elif "options" in limits:
        values = {"type": "string", "enum": list(limits["options"])}
    else:
        values = dict(OF_TYPE[str(field.type)])
    described = {**values, "description": limits["help"]}
    return described if field.default in (None, ()) else {**described, "default": _default(field)}


def _default(field: dataclasses.Field[Any]) -> Any:
    """The API's: naming InstantID in a request turns it on."""
    return True if field.name == "enabled" else field.default
