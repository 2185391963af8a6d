"""Our analysis gives the numbers of insightface 2.1, which runs in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib_instantid.encoders.face.analyser import FaceAnalyser
from tests.encoders.face.run_oracle import HAND_POINTS, as_arrays, ours
from tests.encoders.face.scenes import DIM, random_scene, squares

ROOT = Path(__file__).parents[3]
ORACLE = ROOT / ".oracle" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SCENES = 36
FILLS_THE_PICTURE = "large"

Results = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def pictures() -> Results:
    scenes = {f"{seed:02}": random_scene(seed) for seed in range(SCENES)}
    return scenes | {FILLS_THE_PICTURE: squares(400, 400, [(0, 0, 400)])}


@pytest.fixture(scope="module")
def results(models: Path, pictures: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    if not ORACLE.exists():
        pytest.fail(f"{ORACLE} is missing: run `make oracle`, which installs insightface into an environment of its own.")
    folder = tmp_path_factory.mktemp("oracle")
    for name, picture in pictures.items():
        np.save(folder / f"{name}.npy", picture)
    (folder / "dim").mkdir()
    np.save(folder / "dim" / "picture.npy", DIM)
    command = [ORACLE, Path(__file__).with_name("run_oracle.py"), models, folder, folder / "results.npz"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "results.npz") as file:
        return dict(file)


def names(results: Results) -> list[str]:
    """The pictures in which insightface finds a face, and those in which there is none. In the others we look again."""
    scenes = [f"{seed:02}" for seed in range(SCENES)]
    return [name for name in scenes if len(results[f"{name}/reference/score"]) or int(name) % 3 == 0]


@dataclass(frozen=True)
class Tolerance:
    pixels: float
    relative: float


SAME = Tolerance(pixels=1e-3, relative=1e-5)
OTHER_OPENCV = Tolerance(pixels=1e-2, relative=1e-3)
"""OpenCV 5 interpolates in floats, OpenCV 4 in 1/32 of a pixel: noise is cut out of a picture a little differently."""


def tolerance_here(results: Results) -> Tolerance:
    """For what is computed in this process, with an OpenCV that may be another than insightface's."""
    return SAME if str(results["opencv"]) == cv2.__version__ else OTHER_OPENCV


def assert_same_faces(found: Results, expected: Results, prefix: str, tolerance: Tolerance = SAME) -> None:
    for name in ("box", "score", "keypoints", "landmarks", "pose", "embedding"):
        assert found[f"{prefix}/{name}"].shape == expected[name].shape, (prefix, name)
    for name in ("box", "score", "keypoints", "landmarks", "pose"):
        actual, message = found[f"{prefix}/{name}"], f"{prefix} {name}"
        np.testing.assert_allclose(actual, expected[name], rtol=0, atol=tolerance.pixels, err_msg=message)
    for embedding, other in zip(found[f"{prefix}/embedding"], expected["embedding"], strict=True):
        assert np.linalg.norm(embedding - other) < tolerance.relative * np.linalg.norm(other), prefix


def of(results: Results, prefix: str) -> Results:
    return {key.removeprefix(f"{prefix}/"): value for key, value in results.items() if key.startswith(f"{prefix}/")}


def test_the_pictures_have_no_face_one_and_several(results: Results) -> None:
    counts = [len(results[f"{name}/reference/score"]) for name in names(results)]
    assert len(counts) >= 30
    assert counts.count(0) >= 5
    assert counts.count(1) >= 5
    assert sum(count > 1 for count in counts) >= 5


def test_builtin_analyser_gives_insightfaces_numbers(analyser: FaceAnalyser, pictures: Results, results: Results) -> None:
    for name in names(results):
        found = as_arrays("here", ours(analyser.faces(pictures[name])))
        assert_same_faces(found, of(results, f"{name}/reference"), "here", tolerance_here(results))


@pytest.mark.parametrize("backend", ["builtin", "insightface"])
def test_both_backends_give_insightfaces_numbers_in_its_environment(results: Results, backend: str) -> None:
    for name in names(results):
        assert_same_faces(results, of(results, f"{name}/reference"), f"{name}/{backend}")


def test_both_backends_agree_on_points_placed_by_hand(analyser: FaceAnalyser, pictures: Results, results: Results) -> None:
    for name in names(results):
        expected = of(results, f"{name}/insightface by hand")
        assert_same_faces(results, expected, f"{name}/builtin by hand")
        here = as_arrays("here", ours([analyser.face_at(pictures[name], HAND_POINTS)]))
        assert_same_faces(here, expected, "here", tolerance_here(results))


def test_both_backends_find_the_large_face_that_insightface_misses(results: Results) -> None:
    assert len(results[f"{FILLS_THE_PICTURE}/reference/score"]) == 0
    assert len(results[f"{FILLS_THE_PICTURE}/builtin/score"]) == 1
    assert_same_faces(results, of(results, f"{FILLS_THE_PICTURE}/builtin"), f"{FILLS_THE_PICTURE}/insightface")


def test_both_backends_see_the_same_likely_face(results: Results) -> None:
    np.testing.assert_allclose(results["dim/builtin"], results["dim/insightface"], rtol=0, atol=SAME.pixels)


def test_which_of_hundreds_of_overlapping_boxes_stay_is_insightfaces_choice(tmp_path: Path) -> None:
    """Random detectors over photos at many sizes. Suppressing before scaling back to the photo fails: a box counts as one pixel
    wider than it is, and which pixel that is decides."""
    command = [ORACLE, Path(__file__).with_name("run_suppression.py"), tmp_path, tmp_path / "results.json"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found) == 32
    assert min(one["theirs"] for one in found.values()) > 300
    assert [name for name, one in found.items() if (one["ours"], one["largest"]) != (one["theirs"], 0)] == []
