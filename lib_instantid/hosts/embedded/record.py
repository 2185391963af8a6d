"""What a generation was made with, as plain values for JSON: without biometric data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL.PngImagePlugin import PngInfo

from lib_instantid.errors import SettingsError
from lib_instantid.face.picture import read_mask, read_picture
from lib_instantid.guidance.people import ResolvedPerson
from lib_instantid.guidance.settings import Person
from lib_instantid.hosts.embedded.job import Job, Picture, Result

SOURCES = ("photos", "photo_keypoints", "pose_picture", "region")
"""Fields of a person that hold pictures, or points on them; photos are recorded by hash."""


NO_FACE = "no face found in the result"


def record(job: Job, result: Result) -> dict[str, Any]:
    """Settings, timings in seconds, norms and similarity. Pictures stand as hashes, embeddings as their norm."""
    settings = {f.name: getattr(job.settings, f.name) for f in dataclasses.fields(job.settings) if f.name != "people"}
    people = zip(job.settings.people, result.people, strict=True)
    return {
        "job": {f.name: getattr(job, f.name) for f in dataclasses.fields(job) if f.name not in {"settings", "init_picture"}},
        "settings": {**settings, "people": [_person(person, resolved) for person, resolved in people]},
        "token_norms": [
            dict(zip(("unconditional", "conditional"), person.face.tokens.flatten(1).norm(dim=1).tolist(), strict=True))
            for person in (result.guidance.people if result.guidance else ())
        ],
        "pictures": [_picture(picture) for picture in result.pictures],
        "timings_s": {name: round(seconds, 3) for name, seconds in result.timings.items()},
    }


def _person(person: Person, resolved: ResolvedPerson) -> dict[str, Any]:
    values = {f.name: getattr(person, f.name) for f in dataclasses.fields(person) if f.name not in SOURCES}
    keypoints = resolved.placed.keypoints
    return {
        **values,
        "photos": [_hash(photo.picture) for photo in resolved.photos],
        "embedding_norm": round(float(np.linalg.norm(resolved.identity.embedding)), 4),
        "keypoints_px": None if keypoints is None else np.round(keypoints, 2).tolist(),
        "reports": [dataclasses.asdict(report) for report in resolved.reports],
        "advice": list(resolved.advice),
    }


def _picture(picture: Picture) -> dict[str, Any]:
    found = [NO_FACE if value is None else round(value, 4) for value in picture.similarity]
    return {"seed": picture.seed, "similarity": found}


def _hash(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


def check_out(folder: Path) -> None:
    """Make the folder of the pictures, and try to write there. Raises SettingsError, before anything is loaded."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"out: {folder} cannot be written to ({error}); name another folder.") from error


def check_sources(job: Job, *, first_photos: bool = True) -> None:
    """Read the pictures of a job, before anything is loaded. first_photos: also the first person's. Raises PictureError."""
    if job.init_picture is not None:
        read_picture(job.init_picture, "init_picture")
    for number, person in enumerate(job.settings.people, 1):
        for index, photo in enumerate(person.photos if first_photos or number > 1 else (), 1):
            read_picture(photo, f"people[{number}].photos[{index}]")
        if person.pose == "pose picture" and person.pose_picture is not None:
            read_picture(person.pose_picture, f"people[{number}].pose_picture")
        if person.region is not None:
            read_mask(person.region, f"people[{number}].region")


def save_pictures(path: Path, values: dict[str, Any], result: Result) -> list[Path]:
    """Write the pictures as `X.png`, `X-2.png`, …, each with the record in its PNG text `instantid`. Returns their paths.

    Each file appears whole, and `X.png` last: where it is, all are. What cannot be written there is written beside it, or else
    in the temporary folder, and a line of the log says so. Raises SettingsError where nothing can be written.
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


def _save(path: Path, values: dict[str, Any], result: Result) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("instantid", json.dumps(values))
    paths = [path if i == 1 else path.with_stem(f"{path.stem}-{i}") for i in range(1, len(result.pictures) + 1)]
    for own_path, picture in reversed(list(zip(paths, result.pictures, strict=True))):
        part = own_path.with_suffix(".part")
        picture.image.save(part, "PNG", pnginfo=text)
        part.replace(own_path)
    return paths
