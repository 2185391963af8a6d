"""What the analyser finds where a plain detector finds nothing, which files it opens, and what runs them."""

from __future__ import annotations

import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from lib_instantid.encoders.face import sessions
from lib_instantid.encoders.face.analyser import FaceAnalyser, open_analyser
from lib_instantid.encoders.face.keypoints import box_from_keypoints
from lib_instantid.encoders.face.landmarks import head_pose
from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE
from lib_instantid.encoders.face.model_files import FOLDERS, find_face_models
from lib_instantid.encoders.face.scrfd import detect
from lib_instantid.encoders.face.sessions import DETECTOR, open_session
from lib_instantid.errors import BadModelFile, MissingPackage
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from tests.encoders.face.scenes import DIM, random_scene, squares

LARGE = squares(640, 640, [(128, 160, 320)])  # ten cells of the detector's grid at 640, five at 320
FILLING = squares(500, 500, [(0, 0, 500)])  # six cells even at 192


def found_at(models: Path, picture: np.ndarray, side: int) -> int:
    return len(detect(open_session(models / "scrfd_10g_bnkps.onnx", DETECTOR), picture, (side, side)))


def test_a_large_face_is_found_at_a_smaller_size(models: Path, analyser: FaceAnalyser) -> None:
    assert found_at(models, LARGE, 640) == 0
    (face,) = analyser.faces(LARGE)
    assert face.centre == pytest.approx((288, 320), abs=64)  # a cell at 320
    assert 150 < face.width < 450


def test_a_face_that_fills_the_picture_is_found_with_a_border(models: Path, analyser: FaceAnalyser) -> None:
    assert [found_at(models, FILLING, side) for side in (640, 512, 384, 320, 256, 192)] == [0] * 6
    (face,) = analyser.faces(FILLING)
    assert face.centre == pytest.approx((250, 250), abs=125)  # a cell at 256, half for the picture
    assert ((face.keypoints > 0) & (face.keypoints < 500)).all()


def test_smaller_sizes_are_tried_only_where_nothing_was_found(analyser: FaceAnalyser) -> None:
    picture = np.concatenate([LARGE, squares(640, 640, [(300, 300, 100)])], axis=1)
    small = squares(1280, 640, [(940, 300, 100)])
    assert [face.centre for face in analyser.faces(picture)] == [face.centre for face in analyser.faces(small)]


def test_no_face_is_an_empty_tuple(analyser: FaceAnalyser) -> None:
    assert analyser.faces(squares(300, 200, [])) == ()
    assert analyser.faces(squares(1, 1, [])) == ()
    assert analyser.faces(squares(3000, 2, [])) == ()


def test_a_face_too_dim_to_be_found_is_where_one_is_likely(analyser: FaceAnalyser) -> None:
    assert analyser.faces(DIM) == ()
    points = analyser.likely(DIM)
    assert points is not None
    assert points.mean(axis=0) == pytest.approx((440, 340), abs=16)
    assert analyser.likely(squares(640, 480, [])) is None


def test_faces_come_with_the_best_score_first(analyser: FaceAnalyser) -> None:
    scores = [[face.score for face in analyser.faces(random_scene(seed))] for seed in (2, 8, 35)]
    assert all(len(row) > 1 for row in scores)
    assert all(row == sorted(row, reverse=True) for row in scores)


@pytest.mark.parametrize("landmarks", [True, False])
def test_points_placed_by_hand_give_the_detections_embedding(tmp_path: Path, landmarks: bool) -> None:
    write_face_models(tmp_path, landmarks=landmarks)
    analyser = FaceAnalyser(find_face_models(tmp_path))
    picture = random_scene(2)
    for detected in analyser.faces(picture):
        placed = analyser.face_at(picture, detected.keypoints)
        np.testing.assert_array_equal(placed.embedding, detected.embedding)
        np.testing.assert_array_equal(placed.keypoints, detected.keypoints)
        np.testing.assert_array_equal(placed.box, box_from_keypoints(detected.keypoints))
        assert placed.score == 1.0
        assert (placed.landmarks is not None) == (placed.pose is not None) == landmarks


def test_the_embedding_is_raw(analyser: FaceAnalyser) -> None:
    norms = [np.linalg.norm(face.embedding) for seed in (1, 2, 4, 5) for face in analyser.faces(random_scene(seed))]
    assert min(norms) > 10
    assert len({round(float(norm), 3) for norm in norms}) > 1


def test_a_detector_of_fixed_size_works_and_looks_again_with_a_border(tmp_path: Path, analyser: FaceAnalyser) -> None:
    write_face_models(tmp_path, detector_side=640)
    fixed = FaceAnalyser(find_face_models(tmp_path))
    picture = random_scene(1)
    np.testing.assert_allclose(fixed.faces(picture)[0].box, analyser.faces(picture)[0].box, atol=1e-3)
    assert fixed.faces(FILLING) == ()
    (face,) = fixed.faces(squares(640, 640, [(200, 200, 240)]))
    assert face.centre == pytest.approx((320, 320), abs=64)


@pytest.mark.parametrize("layout", sorted({*FOLDERS} | {f"{folder}/antelopev2" for folder in FOLDERS if folder}))
def test_models_are_found_in_every_layout(models: Path, tmp_path: Path, layout: str) -> None:
    (tmp_path / layout).mkdir(parents=True, exist_ok=True)
    for path in models.iterdir():
        shutil.copy(path, tmp_path / layout)
    files = find_face_models(tmp_path)
    assert files.folder == tmp_path / layout
    assert files.landmarks == tmp_path / layout / "1k3d68.onnx"


def test_only_the_needed_files_are_opened(models: Path, tmp_path: Path) -> None:
    for name in ("scrfd_10g_bnkps.onnx", "glintr100.onnx"):
        shutil.copy(models / name, tmp_path)
    for name in ("genderage.onnx", "2d106det.onnx", "another.onnx"):
        (tmp_path / name).write_bytes(b"not a model")
    assert len(open_analyser("builtin", tmp_path).faces(random_scene(1))) == 1


def test_models_are_opened_when_they_are_needed_and_once(models: Path, tmp_path: Path) -> None:
    for path in models.iterdir():
        shutil.copy(path, tmp_path)
    analyser = open_analyser("builtin", tmp_path)
    shutil.move(tmp_path / "glintr100.onnx", tmp_path / "later.onnx")
    assert analyser.faces(squares(64, 64, [])) == ()
    with pytest.raises(BadModelFile, match=r"glintr100\.onnx"):
        analyser.faces(random_scene(1))
    shutil.move(tmp_path / "later.onnx", tmp_path / "glintr100.onnx")
    before = analyser.faces(random_scene(1))
    for path in tmp_path.iterdir():
        path.unlink()
    np.testing.assert_array_equal(analyser.faces(random_scene(1))[0].embedding, before[0].embedding)


@pytest.mark.parametrize("provider", ["cpu", "auto", "cuda", "rocm", "directml", "coreml"])
def test_a_provider_that_is_missing_falls_back_to_the_cpu_and_says_so(models: Path, provider: str) -> None:
    import onnxruntime

    analyser = open_analyser("builtin", models, provider)
    assert len(analyser.faces(random_scene(1))) == 1
    if onnxruntime.get_available_providers()[-1:] == ["CPUExecutionProvider"] and provider != "auto":
        absent = not any(provider[:3] in name.lower() for name in onnxruntime.get_available_providers())
        assert not absent or analyser.provider == "cpu"
    if provider == "cpu":
        assert analyser.provider == "cpu"


@pytest.mark.parametrize(
    ("module", "words"),
    [(None, "pip install onnxruntime"), (types.ModuleType("onnxruntime"), "pip install --force-reinstall --no-deps")],
    ids=["absent", "gutted"],
)
def test_a_missing_onnxruntime_is_named_with_its_cure(
    models: Path, monkeypatch: pytest.MonkeyPatch, module: types.ModuleType | None, words: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", module)
    with pytest.raises(MissingPackage, match=words):
        open_analyser("builtin", models).faces(random_scene(1))


def test_a_missing_insightface_is_named_with_its_cure(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "insightface", None)
    with pytest.raises(MissingPackage, match="pip install insightface, or use the backend builtin"):
        open_analyser("insightface", models)


@pytest.mark.parametrize(("axis", "name"), [(0, "pitch"), (1, "yaw"), (2, "roll")])
@pytest.mark.parametrize("degrees", [-50.0, -10.0, 25.0])
def test_the_pose_of_a_turned_average_face_is_its_turn(axis: int, name: str, degrees: float) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    turn[[first, second], [first, second]] = c
    turn[first, second], turn[second, first] = -s, s
    pose = head_pose(130 * np.array(MEAN_SHAPE) @ turn.T + (400, 300, 10))
    expected = {"pitch": 0.0, "yaw": 0.0, "roll": 0.0, name: degrees}
    assert {key: getattr(pose, key) for key in expected} == pytest.approx(expected, abs=1e-3)


def test_the_stand_in_models_are_the_same_every_time(models: Path, tmp_path: Path) -> None:
    write_face_models(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in models.iterdir()
    }


def test_where_a_gpu_was_asked_for_and_is_not_used_one_line_says_why(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    sessions._say_once.cache_clear()
    for _ in range(2):
        assert open_analyser("builtin", models, "auto").provider == "cpu"
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("Faces are looked at on the CPU, ")
    assert "this onnxruntime is built for the CPU alone" in said
    caplog.clear()
    sessions._say_once.cache_clear()
    assert open_analyser("builtin", models, "cpu").provider == "cpu"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("available", "failure", "words"),
    [
        (["CPUExecutionProvider"], None, "built for the CPU alone"),
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            RuntimeError("no cuDNN 9"),
            "has cuda, which did not start (no cuDNN 9)",
        ),
        (["DmlExecutionProvider", "CPUExecutionProvider"], None, "has directml, which did not start; its own message"),
    ],
)
def test_the_reason_names_what_onnxruntime_has(available: list[str], failure: Exception | None, words: str) -> None:
    assert words in sessions._why_cpu(available, failure)
