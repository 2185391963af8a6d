"""The table of routes, with the text about each for the API's documentation page (/docs)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_instantid.constants import EMBEDDING_SIZE
from lib_instantid.encoders.face.similarity import NO_FACE
from lib_instantid.webui import routes
from lib_instantid.webui.routes import MAP_SIZES, MAX_PICTURES, Body, Services, example_picture
from lib_instantid.webui.schema import FACE, KEYPOINTS, NAME, PHOTO_KEYPOINTS, PHOTOS, PICTURE, Schema

REFUSALS = {
    401: "wrong name or password (--api-auth)",
    404: "not there",
    413: "the request is too large",
    415: "the request is not application/json",
    422: "the sentence names the field, what was found and the cure",
}
REFUSED: Schema = {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}

NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
TEXT: Schema = {"type": "string"}
POINTS = [[0.42, 0.4], [0.58, 0.4], [0.5, 0.5], [0.44, 0.6], [0.56, 0.6]]


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


WHOLE: Schema = {"type": "integer"}
SIDE: Schema = {"type": "integer", "minimum": MAP_SIZES[0], "maximum": MAP_SIZES[1]}
PICTURES: Schema = {"type": "array", "items": PICTURE, "minItems": 1, "maxItems": MAX_PICTURES}
SIMILARITY: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "enum": [NO_FACE]}]}
IDENTITY = {"name": TEXT, "photos": WHOLE, "model": TEXT, "hash": TEXT, "problem": TEXT}
FOUND_FACE: Schema = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "description": "counted from the left"},
        "box": {**NUMBERS, "description": "x1 y1 x2 y2 in pixels"},
        "keypoints": {"type": "array", "items": NUMBERS, "description": "five points in pixels"},
        "level": {"type": "string", "enum": ["good", "usable", "poor"]},
        "advice": TEXTS,
        "embedding": {**NUMBERS, "minItems": EMBEDDING_SIZE, "maxItems": EMBEDDING_SIZE},
    },
    "required": ["number", "box", "keypoints", "level", "advice"],
}
FACES = _object(
    *("width", "height", "turned", "hash", "provider", "faces"),
    **{
        "width": WHOLE,
        "height": WHOLE,
        "turned": {"type": "integer", "enum": [0, 90, 180, 270]},
        "hash": TEXT,
        "provider": TEXT,
        "faces": {"type": "array", "items": FOUND_FACE},
    },
)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route of the API. takes: schema of the request's object, None for a request without one. gives: schema of the answer,
    None for a PNG."""

    method: str
    path: str
    action: Callable[[Services, Body], Any]
    summary: str
    gives: Schema | None
    takes: Schema | None = None
    example: Any = None

    def documentation(self) -> Schema:
        """The documentation of the route, as arguments for FastAPI."""
        extra: dict[str, Any] = {}
        if self.takes is not None:
            content = {"application/json": {"schema": self.takes, "example": self.example}}
            extra["requestBody"] = {"required": True, "content": content}
        if "{name}" in self.path:
            extra["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": NAME, "example": "Ada"}]
        made: dict[str, Any] = {"image/png": {}} if self.gives is None else {"application/json": {"schema": self.gives}}
        answers: dict[int | str, Any] = {200: {"description": "done", "content": made}}
        for status, text in REFUSALS.items():
            answers[status] = {"description": text, "content": {"application/json": {"schema": REFUSED}}}
        return {"summary": self.summary, "tags": ["InstantID"], "responses": answers, "openapi_extra": extra}


ROUTES = (
    Route(
        method="GET",
        path="/version",
        action=routes.version,
        summary="The extension's version",
        gives=_object("version", version=TEXT),
    ),
    Route(
        method="GET",
        path="/models",
        action=routes.models,
        summary="The model files: found, missing, and where to get them",
        gives={"type": "object"},
    ),
    Route(
        method="GET",
        path="/schema",
        action=routes.schema,
        summary="JSON schema of the settings: of the one object in alwayson_scripts.InstantID.args",
        gives={"type": "object"},
    ),
    Route(
        method="GET",
        path="/identities",
        action=routes.identities,
        summary="The saved identities",
        gives={"type": "array", "items": _object("name", **IDENTITY)},
    ),
    Route(
        method="POST",
        path="/identities",
        action=routes.save,
        summary="Make an identity of photos and keep it by name",
        takes=_object("name", "photos", name=NAME, photos=PHOTOS, face=FACE, photo_keypoints=PHOTO_KEYPOINTS),
        example={"name": "Ada", "photos": [example_picture()]},
        gives=_object("name", "photos", "model", "hash", "advice", **IDENTITY, advice=TEXTS),
    ),
    Route(
        method="DELETE",
        path="/identities/{name}",
        action=routes.delete,
        summary="Delete a saved identity",
        gives=_object("deleted", deleted=TEXT),
    ),
    Route(
        method="POST",
        path="/faces",
        action=routes.faces,
        summary="The faces of a photo, from the left: boxes, points, and how good a reference each is",
        takes=_object("photo", photo=PICTURE, embeddings={"type": "boolean", "default": False}),
        example={"photo": example_picture(), "embeddings": False},
        gives=FACES,
    ),
    Route(
        method="POST",
        path="/keypoint-map",
        action=routes.keypoint_map,
        summary="The map that IdentityNet sees, as a PNG",
        takes=_object("keypoints", "width", "height", keypoints=KEYPOINTS, width=SIDE, height=SIDE),
        example={"keypoints": POINTS, "width": 1016, "height": 1016},
        gives=None,
    ),
    Route(
        method="POST",
        path="/similarity",
        action=routes.similarity,
        summary="How like a person, of photos or saved, each picture is: cosines of embeddings",
        takes=_object("pictures", pictures=PICTURES, photos=PHOTOS, identity=NAME, face=FACE, photo_keypoints=PHOTO_KEYPOINTS),
        example={"photos": [example_picture()], "pictures": [example_picture()]},
        gives=_object("similarity", similarity={"type": "array", "items": SIMILARITY}),
    ),
)
