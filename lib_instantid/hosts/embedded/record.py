"""What a generation was made with, as plain values for JSON: without biometric data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL.PngImagePlugin import PngInfo

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


def save_pictures(path: Path, values: dict[str, Any], result: Result) -> list[Path]:
    """Write the pictures as `X.png`, `X-2.png`, …, each with the record in its PNG text `instantid`. Returns their paths.

    Each file appears whole, and `X.png` last: where it is, all are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("instantid", json.dumps(values))
    paths = [path if i == 1 else path.with_stem(f"{path.stem}-{i}") for i in range(1, len(result.pictures) + 1)]
    for own_path, picture in reversed(list(zip(paths, result.pictures, strict=True))):
        part = own_path.with_suffix(".part")
        picture.image.save(part, "PNG", pnginfo=text)
        part.replace(own_path)
    return paths
