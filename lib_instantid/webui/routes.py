"""The functions of the API's routes. They take plain values and return plain values or a PNG; `api` handles HTTP."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_instantid import __version__
from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.people import Who
from lib_instantid.constants import MAX_PICTURE_PIXELS
from lib_instantid.encoders.face.faces import HASH_DIGITS, Floats, Picture, short_hash
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.identity_files import (
    check_name,
    delete_identity,
    list_identities,
    load_identity,
    save_identity,
)
from lib_instantid.encoders.face.keypoints import draw_keypoints, fractions_to_pixels
from lib_instantid.encoders.face.photos import Look, PhotoFace, Photos, faces_of_photos
from lib_instantid.encoders.face.picture import picture_size, read_picture
from lib_instantid.encoders.face.report import describe, stranger_advice
from lib_instantid.encoders.face.similarity import NO_FACE, similarities
from lib_instantid.errors import IdentityFileError, InstantIDError, PictureError, SettingsError
from lib_instantid.webui.arguments import picture_of
from lib_instantid.webui.schema import settings_schema
from lib_instantid.weights.finding import find_models, report_dict

MAX_PICTURES = 64
"""The most pictures that one request can compare."""

MAP_SIZES = (8, 4096)
"""Smallest and largest width and height of a keypoint map, in pixels."""

Body = Mapping[str, Any]


class NotFound(InstantIDError):
    """A request's address names something that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the routes need. folders: of model files. identities: the folder of saved identities. allowed: folders whose
    pictures may be given by path."""

    analyser: Callable[[], Photos]
    folders: Callable[[], Sequence[Path]]
    identities: Callable[[], Path]
    allowed: Callable[[], Sequence[Path]]


def version(services: Services, body: Body) -> object:
    del services, body
    return {"version": __version__}


def models(services: Services, body: Body) -> object:
    del body
    return report_dict(find_models(services.folders(), SYSTEM_FILES), SYSTEM_FILES)


def schema(services: Services, body: Body) -> object:
    del services, body
    return settings_schema()


def identities(services: Services, body: Body) -> object:
    """Every saved identity; for one that cannot be read, the problem."""
    del body
    return [_saved(name, services.identities()) for name in list_identities(services.identities())]


def _saved(name: str, folder: Path) -> dict[str, object]:
    try:
        identity = load_identity(name, folder)
    except IdentityFileError as error:
        return {"name": name, "problem": str(error)}
    return {"name": name, "photos": identity.photos, "model": identity.model, "hash": short_hash(identity.embedding)}


def faces(services: Services, body: Body) -> object:
    """The faces of a photo, from the left; of one that lies on its side, after `turned` degrees clockwise, as size and points
    are then."""
    photo = _source(services, _fields(body, "photo", embeddings=False)["photo"], "photo")
    if not isinstance(body.get("embeddings", False), bool):
        raise SettingsError(f"embeddings: found {body['embeddings']!r:.80}, expected true or false.")
    analyser = services.analyser()
    seen = analyser.see(photo, None, "photo")
    found = seen.from_left
    described = [describe(one.face, one.report, number) for number, one in enumerate(found, 1)]
    if body.get("embeddings"):
        described = [{**about, "embedding": one.face.embedding.tolist()} for about, one in zip(described, found, strict=True)]
    size = dict(zip(("width", "height"), seen.size, strict=True))
    return {**size, "turned": seen.turned, "hash": seen.digest[:HASH_DIGITS], "provider": analyser.provider, "faces": described}


def save(services: Services, body: Body) -> object:
    """Make an identity of photos and save it. It replaces an identity of the same name."""
    values = _fields(body, "name", "photos", face="largest", photo_keypoints=())
    name = check_name(values.pop("name"))
    photos = _photo_faces(services, values)
    folder = services.identities()
    save_identity(combine([photo.face for photo in photos], name=name), folder)
    names = [f"photos[{i}]" for i in range(1, len(photos) + 1)]
    advice = [f"{field}: {text}" for field, photo in zip(names, photos, strict=True) for text in photo.advice]
    return {**_saved(name, folder), "advice": [*advice, *stranger_advice([photo.face for photo in photos], names)]}


def delete(services: Services, body: Body) -> object:
    name = check_name(body["name"])
    if name not in list_identities(services.identities()):
        raise NotFound(f"identity: there is no saved identity {name!r}.")
    delete_identity(name, services.identities())
    return {"deleted": name}


def keypoint_map(services: Services, body: Body) -> object:
    """The keypoint map for IdentityNet, as the content of a PNG file."""
    del services
    values = _fields(body, "keypoints", "width", "height")
    for side in ("width", "height"):
        value, (low, high) = values[side], MAP_SIZES
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise SettingsError(f"{side}: found {value!r:.80}, expected a whole number from {low} to {high}.")
    size = values["width"], values["height"]
    points = fractions_to_pixels(values["keypoints"], *size)
    file = io.BytesIO()
    Image.fromarray(draw_keypoints(points, *size)).save(file, "PNG")
    return file.getvalue()


def similarity(services: Services, body: Body) -> object:
    """For each picture, the cosine between its most similar face and a person, given by photos or a saved identity."""
    values = _fields(body, "pictures", photos=(), identity=None, face="largest", photo_keypoints=())
    pictures = values.pop("pictures")
    if not isinstance(pictures, list) or not 1 <= len(pictures) <= MAX_PICTURES:
        raise SettingsError(f"pictures: expected a list of 1 to {MAX_PICTURES} pictures.")
    embedding = _embedding(services, values)
    return {"similarity": [_likeness(services, one, f"pictures[{i}]", embedding) for i, one in enumerate(pictures, 1)]}


def _embedding(services: Services, values: Body) -> Floats:
    if values["identity"] is None:
        return combine([photo.face for photo in _photo_faces(services, values)]).embedding
    person = Who(**values)
    return load_identity(str(person.identity), services.identities()).embedding


def _likeness(services: Services, value: object, field: str, embedding: Floats) -> float | str:
    (found,) = similarities(services.analyser(), _read(services, value, field), [embedding])
    return NO_FACE if found is None else round(found, 4)


def _photo_faces(services: Services, values: Body) -> tuple[PhotoFace, ...]:
    """The chosen face of each photo. Photos are decoded one by one, because each may take 200 MB."""
    person = Who(**values)
    look: Look = lambda photo, which, points, field: services.analyser().face_of(  # noqa: E731
        _source(services, photo, field), which, points, field
    )
    return faces_of_photos(person.photos, look, person.face, person.photo_keypoints)


def _read(services: Services, value: object, field: str) -> Picture:
    return read_picture(_source(services, value, field), field)


def _source(services: Services, value: object, field: str) -> PictureSource:
    """A picture of a request, after checking its size in pixels. Raises PictureError: too large, or not a picture."""
    if not isinstance(value, str):
        raise PictureError(f"{field}: found {type(value).__name__}, expected a picture as base64, data URL or path.")
    source = picture_of(value, field, services.allowed())
    width, height = picture_size(source, field)
    if width * height > MAX_PICTURE_PIXELS:
        raise PictureError(
            f"{field}: {width} x {height} pixels, and the limit is {MAX_PICTURE_PIXELS // 1_000_000} megapixels; scale it down."
        )
    return source


def _fields(body: Body, *required: str, **optional: object) -> dict[str, Any]:
    """The request's values, the optional ones with their defaults. Raises SettingsError for missing and unknown names."""
    known = {*required, *optional}
    for name in sorted(set(body) - known):
        raise SettingsError(f"{name:.80}: no such field; known are {', '.join(sorted(known))}.")
    for name in required:
        if name not in body:
            raise SettingsError(f"{name}: missing; give it.")
    return {**optional, **body}


def example_picture() -> str:
    """A small grey picture as base64, for the documentation."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
