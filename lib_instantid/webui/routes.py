"""What the API's routes do: plain values in, plain values or a PNG out. Nothing here knows HTTP; `api` mounts them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_instantid import __version__
from lib_instantid.errors import IdentityFileError, InstantIDError, PictureError, SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.choose import from_left
from lib_instantid.face.faces import Floats, short_hash
from lib_instantid.face.faces import Picture as Pixels
from lib_instantid.face.identity import combine
from lib_instantid.face.identity_files import check_name, delete_identity, list_identities, load_identity, save_identity
from lib_instantid.face.keypoints import draw_keypoints, fractions_to_pixels
from lib_instantid.face.photos import PhotoFace, face_of_photo, look, one_by_one
from lib_instantid.face.picture import picture_size, read_picture
from lib_instantid.face.report import describe, report, stranger_advice
from lib_instantid.face.similarity import NO_FACE, similarities
from lib_instantid.guidance.settings import Person, Picture
from lib_instantid.hosts.model_files import find_models, report_dict
from lib_instantid.units import MAX_PICTURE_PIXELS
from lib_instantid.webui.pictures import picture_of
from lib_instantid.webui.schema import settings_schema

MAX_PICTURES = 64
"""Pictures that one request compares."""

MAP_SIZES = (8, 4096)
"""Width and height of a keypoint map, in pixels."""

Body = Mapping[str, Any]


class NotFound(InstantIDError):
    """What a request's address names is not there."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the routes need of the extension. folders: of model files. identities: the folder of saved ones. allowed: folders
    whose pictures may be named by path."""

    analyser: Callable[[], Analyser]
    folders: Callable[[], Sequence[Path]]
    identities: Callable[[], Path]
    allowed: Callable[[], Sequence[Path]]


def version(services: Services, body: Body) -> Any:
    del services, body
    return {"version": __version__}


def models(services: Services, body: Body) -> Any:
    del body
    return report_dict(find_models(services.folders()))


def schema(services: Services, body: Body) -> Any:
    del services, body
    return settings_schema()


def identities(services: Services, body: Body) -> Any:
    """Every saved identity; one that cannot be read says why."""
    del body
    return [_saved(name, services.identities()) for name in list_identities(services.identities())]


def _saved(name: str, folder: Path) -> dict[str, Any]:
    try:
        identity = load_identity(name, folder)
    except IdentityFileError as error:
        return {"name": name, "problem": str(error)}
    return {"name": name, "photos": identity.photos, "model": identity.model, "hash": short_hash(identity.embedding)}


def faces(services: Services, body: Body) -> Any:
    """The faces of a photo, from the left; of one that lies on its side, after `turned` degrees clockwise, as size and points
    are then."""
    photo = _read(services, _fields(body, "photo", embeddings=False)["photo"], "photo")
    if not isinstance(body.get("embeddings", False), bool):
        raise SettingsError(f"embeddings: found {body['embeddings']!r:.80}, expected true or false.")
    analyser = services.analyser()
    picture, seen, turned = look(photo, analyser)
    found = from_left(seen)
    described = [describe(picture, face, number) for number, face in enumerate(found, 1)]
    if body.get("embeddings"):
        described = [{**one, "embedding": face.embedding.tolist()} for one, face in zip(described, found, strict=True)]
    size = {"width": picture.shape[1], "height": picture.shape[0]}
    return {**size, "turned": turned, "hash": short_hash(picture), "provider": analyser.provider, "faces": described}


def save(services: Services, body: Body) -> Any:
    """Make an identity of photos and keep it; one of that name is replaced."""
    values = _fields(body, "name", "photos", face="largest", photo_keypoints=())
    name = check_name(values.pop("name"))
    photos = _photo_faces(services, values)
    folder = services.identities()
    save_identity(combine([photo.face for photo in photos], name=name), folder)
    names = [f"photos[{i}]" for i in range(1, len(photos) + 1)]
    reports = [(*photo.advice, *report(photo.picture, photo.face).advice) for photo in photos]
    advice = [f"{field}: {text}" for field, texts in zip(names, reports, strict=True) for text in texts]
    return {**_saved(name, folder), "advice": [*advice, *stranger_advice([photo.face for photo in photos], names)]}


def delete(services: Services, body: Body) -> Any:
    name = check_name(body["name"])
    if name not in list_identities(services.identities()):
        raise NotFound(f"identity: there is no saved identity {name!r}.")
    delete_identity(name, services.identities())
    return {"deleted": name}


def keypoint_map(services: Services, body: Body) -> Any:
    """The map that IdentityNet sees, as the bytes of a PNG."""
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


def similarity(services: Services, body: Body) -> Any:
    """How like a person, of photos or saved, the most similar face of each picture is."""
    values = _fields(body, "pictures", photos=(), identity=None, face="largest", photo_keypoints=())
    pictures = values.pop("pictures")
    if not isinstance(pictures, list) or not 1 <= len(pictures) <= MAX_PICTURES:
        raise SettingsError(f"pictures: expected a list of 1 to {MAX_PICTURES} pictures.")
    embedding = _embedding(services, values)
    return {"similarity": [_likeness(services, one, f"pictures[{i}]", embedding) for i, one in enumerate(pictures, 1)]}


def _embedding(services: Services, values: Body) -> Floats:
    if values["identity"] is None:
        return combine([photo.face for photo in _photo_faces(services, values)]).embedding
    person = Person(pose="none", **values)
    return load_identity(str(person.identity), services.identities()).embedding


def _likeness(services: Services, value: Any, field: str, embedding: Floats) -> float | str:
    (found,) = similarities(services.analyser(), _read(services, value, field), [embedding])
    return NO_FACE if found is None else round(found, 4)


def _photo_faces(services: Services, values: Body) -> list[PhotoFace]:
    """The face that is meant in each photo; one photo after another, as each may take 200 MB."""
    person = Person(**values)
    meant = one_by_one(person.photos, person.face, person.photo_keypoints, "photos")
    return [
        face_of_photo(_source(services, photo, field), which, points, field, services.analyser())
        for photo, which, points, field in meant
    ]


def _read(services: Services, value: Any, field: str) -> Pixels:
    return read_picture(_source(services, value, field), field)


def _source(services: Services, value: Any, field: str) -> Picture:
    """A picture of a request, once it is known that it does not unpack to too much."""
    if not isinstance(value, str):
        raise PictureError(f"{field}: found {type(value).__name__}, expected a picture as base64, data URL or path.")
    source = picture_of(value, field, services.allowed())
    width, height = picture_size(source, field)
    if width * height > MAX_PICTURE_PIXELS:
        raise PictureError(
            f"{field}: {width} x {height} pixels, and the limit is {MAX_PICTURE_PIXELS // 1_000_000} megapixels; scale it down."
        )
    return source


def _fields(body: Body, *required: str, **optional: Any) -> dict[str, Any]:
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
