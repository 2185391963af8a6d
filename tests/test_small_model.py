"""The small model that is shipped: it makes the person of the photo, where the points say, and a break on purpose shows.

Eight people whom nothing was trained on. Each one's picture is compared with all eight photos by the judge, a recogniser that
nothing is conditioned on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.likeness import compared
from lib_instantid.commands.demo import Scene, open_small_host, placed
from lib_instantid.face.analyser import Analyser
from lib_instantid.guidance.settings import Person, Settings
from lib_instantid.hosts.embedded.host import EmbeddedHost
from lib_instantid.hosts.embedded.job import Job
from lib_instantid.hosts.embedded.small_model import SIZE, SMALL_MODEL, open_judge

PHOTOS = sorted((SMALL_MODEL / "people").glob("*.png"))[:8]
TURNS = ((0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 0, 12), (0, 0, -12), (15, 5, 8), (-15, 5, -8), (10, -5, 0))
STEPS = 10
LIMIT = 30_000_000
"""Bytes of everything that is shipped of the model."""


@pytest.fixture(scope="module")
def small() -> EmbeddedHost:
    host = open_small_host()
    host.pipeline.set_progress_bar_config(disable=True)
    return host


@pytest.fixture(scope="module")
def judge() -> Analyser:
    return open_judge()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """nearest: how many of the eight are nearest to their own photo. points: of each found face, the mean distance from the
    points asked for, as a part of the distance between the eyes; infinite where no face was found."""

    nearest: int
    points: list[float]

    @property
    def good(self) -> bool:
        return self.nearest == len(PHOTOS) and float(np.median(self.points)) < 0.25


def look(host: EmbeddedHost, judge: Analyser) -> Seen:
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in PHOTOS]
    pictures, errors = [], []
    for number, (path, turn) in enumerate(zip(PHOTOS, TURNS, strict=True)):
        points = placed(Scene(prompt="", turn=turn))
        person = Person(photos=[path], pose="keypoints", keypoints=points)
        settings = Settings(enabled=True, people=[person], face_region="everywhere")
        prompt = "photo of a person, blue background, white shirt"
        job = Job(
            prompt=prompt, width=SIZE, height=SIZE, steps=STEPS, guidance_scale=3.0, seed=number, settings=settings
        )
        picture = np.asarray(host.generate(job).pictures[0].image)
        pictures.append(picture)
        errors.append(_distance(host.analyser, picture, np.array(points) * SIZE))
    references = np.stack([_embedding(judge, photo) for photo in photos])
    references /= np.linalg.norm(references, axis=1, keepdims=True)
    top = compared(references, [_embedding(judge, picture) for picture in pictures])["top1"]
    return Seen(nearest=round(top * len(PHOTOS)), points=errors)


def _embedding(judge: Analyser, picture: np.ndarray) -> np.ndarray | None:
    faces = judge.faces(picture)
    return faces[0].embedding if faces else None


def _distance(analyser: Analyser, picture: np.ndarray, wanted: np.ndarray) -> float:
    faces = analyser.faces(picture)
    if not faces:
        return float("inf")
    return float(np.linalg.norm(faces[0].keypoints - wanted, axis=1).mean() / np.linalg.norm(wanted[1] - wanted[0]))


def test_each_of_eight_people_is_nearest_to_their_own_photo_and_stands_where_the_points_say(
    small: EmbeddedHost, judge: Analyser
) -> None:
    seen = look(small, judge)
    assert seen.nearest == len(PHOTOS), seen
    assert float(np.median(seen.points)) < 0.25, seen


def test_everything_that_is_shipped_of_it_is_under_30_megabytes() -> None:
    files = [path for path in SMALL_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LIMIT
    assert (SMALL_MODEL / "README.md").is_file()
