"""Records how pictures were made, as values for JSON without biometric data, and saves the pictures."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL.PngImagePlugin import PngInfo

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.fields import Entries, PictureInput, PictureSource, Points, Setting, lists_in, settings_in
from lib_instantid.adapters.settings import Settings
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.errors import SettingsError
from lib_instantid.hosts.diffusers.request import GeneratedPicture, GenerationRequest, Result

NO_FACE = "no face found in the result"


def metadata_of(request: GenerationRequest, result: Result) -> dict[str, Any]:
    """Settings, timings in seconds, norms and similarity, for JSON. Pictures are given by hashes, embeddings by norms."""
    seen: dict[str, Any] = {}
    for run in result.runs:
        seen |= run.metadata(result.size)
    return {
        **plain_request(request, seen),
        **{name: value for name, value in seen.items() if name not in LISTS},
        "pictures": [_picture(picture) for picture in result.pictures],
        "timings_s": {name: round(seconds, 3) for name, seconds in result.timings.items()},
    }


LISTS = tuple(entries.name for entries in lists_in(Settings))


def plain_request(request: GenerationRequest, seen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The request for JSON, without pictures and points in pictures. seen: further values for the entries of each list, by the
    list's name."""
    job = [own.name for own in dataclasses.fields(request) if own.name not in {"settings", "init_picture"}]
    settings = _plain(request.settings)
    for name in LISTS:
        entries = getattr(request.settings, name)
        more = (seen or {}).get(name, [{}] * len(entries))
        settings[name] = [{**_plain(entry), **own} for entry, own in zip(entries, more, strict=True)]
    return {"job": {name: getattr(request, name) for name in job}, "settings": settings}


def _plain(settings: object) -> dict[str, object]:
    kept = [
        own for own in settings_in(type(settings)) if not isinstance(own.kind, PictureInput | Entries) and not in_pictures(own)
    ]
    return {own.name: getattr(settings, own.name) for own in kept}


def in_pictures(own: Setting) -> bool:
    """Whether a setting holds points for each picture of a list."""
    return isinstance(own.kind, Points) and own.kind.most is not None


def _picture(picture: GeneratedPicture) -> dict[str, object]:
    found = [NO_FACE if value is None else round(value, 4) for value in picture.similarity]
    return {"seed": picture.seed, "similarity": found}


def check_out(folder: Path) -> None:
    """Create the folder of the pictures and try to write there. Raises SettingsError: it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"out: {folder} cannot be written to ({error}); name another folder.") from error


def check_sources(request: GenerationRequest, *, first_photos: bool = True) -> None:
    """Read the pictures of a request, so that bad ones are found before models are loaded.

    first_photos: whether to read the first entry's lists of pictures too. Raises PictureError: one cannot be read.
    """
    if request.init_picture is not None:
        read_picture(request.init_picture, "init_picture")
    for field, source, listed in pictures_of(request.settings):
        if first_photos or not (listed and "[1]." in field):
            read_picture(source, field)


def pictures_of(settings: Common) -> Iterator[tuple[str, PictureSource, bool]]:
    """Every picture of the settings, as (field, picture, whether it is one of a list)."""
    for name in LISTS:
        for number, entry in enumerate(getattr(settings, name), 1):
            for own in settings_in(type(entry)):
                field, value = f"{name}[{number}].{own.name}", getattr(entry, own.name)
                if isinstance(own.kind, PictureInput) and own.kind.most is not None:
                    yield from ((f"{field}[{i}]", one, True) for i, one in enumerate(value, 1))
                elif isinstance(own.kind, PictureInput) and value is not None:
                    yield field, value, False


def save_pictures(path: Path, values: dict[str, object], result: Result) -> list[Path]:
    """Write the pictures as `X.png`, `X-2.png`, …, each with the metadata in its PNG text `instantid`. Returns their paths.

    No half-written file ever appears, and `X.png` is written last: if it exists, all exist. If they cannot be written there,
    they are written under another name beside it, or else in the temporary folder, with a warning in the log. Raises
    SettingsError: nothing can be written.
    """
    problem = ""
    for place in (path, path.with_stem(f"{path.stem}-saved"), Path(tempfile.gettempdir()) / f"instantid-{uuid4().hex}.png"):
        try:
            saved = _save(place, values, result)
        except OSError as error:
            problem = problem or str(error)
            continue
        if place != path:
            logging.getLogger(__name__).warning("out: %s cannot be written (%s); saved as %s.", path, problem, place)
        return saved
    raise SettingsError(f"out: {path} cannot be written ({problem}), nor can the temporary folder; free some space.")


def _save(path: Path, values: dict[str, object], result: Result) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("instantid", json.dumps(values))
    paths = [path if i == 1 else path.with_stem(f"{path.stem}-{i}") for i in range(1, len(result.pictures) + 1)]
    for own_path, picture in reversed(list(zip(paths, result.pictures, strict=True))):
        part = own_path.with_suffix(".part")
        picture.image.save(part, "PNG", pnginfo=text)
        part.replace(own_path)
    return paths
