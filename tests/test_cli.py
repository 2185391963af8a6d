"""The command line as a person uses it, on small weights of the real layout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.cli import main
from lib_instantid.hosts.diffusers.small_model import PEOPLE
from tests.encoders.face.scenes import GREEN, squares
from tests.hosts.single_file import write_single_file

ROOT = Path(__file__).parents[1]
POINTS = "0.4,0.4 0.6,0.4 0.5,0.5 0.42,0.6 0.58,0.6"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "a.jpg"
    Image.fromarray(squares(300, 200, [(90, 60, 70)])).save(path, quality=95)
    return path


@pytest.fixture
def given(weights_folder: Path, tmp_path: Path) -> list[str]:
    """Weights and a small, quick job."""
    return [
        *("generate", "--checkpoint", str(weights_folder / "checkpoint"), "--models-dir", str(weights_folder)),
        *("--identities", str(tmp_path / "identities"), "--prompt", "a person", "--negative-prompt", "blurry"),
        *(
            "--width",
            "128",
            "--height",
            "96",
            "--steps",
            "2",
            "--seed",
            "3",
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "x.png"),
        ),
    ]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float)


def saved(path: Path) -> dict[str, Any]:
    return json.loads(Image.open(path).text["instantid"])  # type: ignore[union-attr]


def test_generate_from_photos(given: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*given, "--photo", str(photo), "--photo", str(photo)]) == 0
    assert Image.open(tmp_path / "x.png").size == (128, 96)
    assert str(tmp_path / "x.png") in capsys.readouterr().out
    assert len(saved(tmp_path / "x.png")["settings"]["people"][0]["photos"]) == 2


def test_every_number_choice_and_switch_of_the_settings_is_an_option(given: list[str], photo: Path, tmp_path: Path) -> None:
    options = {
        "adapter_strength": 0.6,
        "identitynet_strength": 0.7,
        "adapter_start": 0.1,
        "adapter_end": 0.9,
        "identitynet_start": 0.2,
        "identitynet_end": 0.8,
        "face_region": "everywhere",
        "face_region_grow": 0.5,
        "control_mode": "identity",
        "identitynet_every": 2,
        "identitynet_people": "together",
        "negative_noise": 0.3,
        "hires": "first pass",
        "cfg_rescale": 0.4,
        "best_of": 2,
    }
    flags = [text for name, value in options.items() for text in ("--" + name.replace("_", "-"), str(value))]
    assert main([*given, "--photo", str(photo), *flags, "--report-similarity"]) == 0
    settings = saved(tmp_path / "x.png")["settings"]
    found = {**settings, **settings["people"][0]}
    assert {name: found[name] for name in options} == options
    assert settings["report_similarity"] is True
    assert (tmp_path / "x-2.png").is_file()


def test_files_may_be_named_one_by_one_and_the_checkpoint_be_one_file(
    given: list[str], photo: Path, weights_folder: Path, tmp_path: Path
) -> None:
    assert main([*given, "--photo", str(photo)]) == 0
    expected = pixels(tmp_path / "x.png")
    write_single_file(weights_folder / "checkpoint", tmp_path / "model.safetensors")
    named = {
        "--checkpoint": tmp_path / "model.safetensors",
        "--checkpoint-config": weights_folder / "checkpoint",
        "--adapter": weights_folder / "ip-adapter.bin",
        "--identitynet": weights_folder / "ControlNetModel" / "diffusion_pytorch_model.safetensors",
        "--face-models": weights_folder / "antelopev2",
        "--models-dir": tmp_path / "nothing",
    }
    assert main([*given, "--photo", str(photo), *(str(text) for pair in named.items() for text in pair)]) == 0
    assert np.abs(pixels(tmp_path / "x.png") - expected).max() <= 1


def test_faceid_asks_for_the_recogniser_that_it_was_trained_with(
    given: list[str], photo: Path, weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = ["--photo", str(photo), "--system", "FaceID", "--pose", "none"]
    assert main([*given, *face]) == 0  # its file says antelopev2
    released = shutil.copy(weights_folder / "ip-adapter-faceid-antelopev2.bin", tmp_path / "ip-adapter-faceid_sdxl.bin")
    assert main([*given, *face, "--faceid", str(released)]) == 1
    assert "w600k_r50.onnx" in capsys.readouterr().err


def test_bf16_gives_nearly_the_same_picture(given: list[str], photo: Path, tmp_path: Path) -> None:
    assert main([*given, "--photo", str(photo)]) == 0
    expected = pixels(tmp_path / "x.png")
    assert main([*given, "--photo", str(photo), "--dtype", "bf16"]) == 0
    difference = np.abs(pixels(tmp_path / "x.png") - expected).mean()
    assert 0 < difference < 8


def test_a_saved_identity_makes_the_same_picture_as_its_photo(
    given: list[str], photo: Path, weights_folder: Path, tmp_path: Path
) -> None:
    identities = ["--identities", str(tmp_path / "identities")]
    assert main(["identity", "save", "Ada", "--photo", str(photo), "--models-dir", str(weights_folder), *identities]) == 0
    assert main([*given, "--photo", str(photo), "--keypoints", POINTS]) == 0
    expected = pixels(tmp_path / "x.png")
    assert main([*given, "--identity", "Ada", "--keypoints", POINTS]) == 0
    assert np.array_equal(pixels(tmp_path / "x.png"), expected)
    assert main([*given, "--identity", "Ada"]) == 0  # a free head
    assert saved(tmp_path / "x.png")["settings"]["people"][0]["pose"] == "none"


def test_identities_are_listed_and_deleted(
    photo: Path, weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identities = ["--identities", str(tmp_path)]
    assert main(["identity", "save", "Ada", "--photo", str(photo), "--models-dir", str(weights_folder), *identities]) == 0
    capsys.readouterr()
    assert main(["identity", "list", *identities]) == 0
    assert capsys.readouterr().out == "Ada: 1 photo(s), antelopev2\n"
    assert main(["identity", "delete", "Ada", *identities]) == 0
    assert main(["identity", "list", *identities]) == 0
    assert capsys.readouterr().out == "deleted Ada\n"


def test_further_people_come_as_json(given: list[str], photo: Path, tmp_path: Path) -> None:
    second = squares(300, 200, [(40, 50, 9)], GREEN)
    Image.fromarray(second).save(tmp_path / "b.png")
    other = {
        "photos": [str(tmp_path / "b.png")],
        "pose": "keypoints",
        "keypoints": [[0.8, 0.3], [0.9, 0.3], [0.85, 0.4], [0.81, 0.5], [0.89, 0.5]],
    }
    assert main([*given, "--photo", str(photo), "--person", json.dumps(other)]) == 0
    assert len(saved(tmp_path / "x.png")["settings"]["people"]) == 2


def test_img2img_starts_from_the_picture(given: list[str], photo: Path, tmp_path: Path) -> None:
    start = np.full((192, 256, 3), (30, 200, 90), np.uint8)
    Image.fromarray(start).save(tmp_path / "start.png")
    flags = ["--photo", str(photo), "--init-picture", str(tmp_path / "start.png"), "--steps", "4"]
    results = []
    for strength in ("0.3", "1.0"):
        assert main([*given, *flags, "--denoising-strength", strength]) == 0
        results.append(pixels(tmp_path / "x.png"))
    assert not np.array_equal(*results)


def test_faces_are_listed_from_the_left(weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(squares(600, 300, [(30, 40, 70), (250, 60, 110), (480, 100, 80)])).save(tmp_path / "group.png")
    assert main(["faces", str(tmp_path / "group.png"), "--models-dir", str(weights_folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lefts = [face["box"][0] for face in found["faces"]]
    assert len(lefts) == 3
    assert lefts == sorted(lefts)
    assert found["provider"] == "cpu"
    assert all(len(face["keypoints"]) == 5 for face in found["faces"])
    assert main(["faces", str(tmp_path / "group.png"), "--models-dir", str(weights_folder)]) == 0
    assert "600×300 px, 3 face(s)" in capsys.readouterr().out


def test_models_are_listed_with_what_is_missing_and_where_to_get_it(
    weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--models-dir", str(weights_folder)]) == 0
    found = capsys.readouterr().out
    for role, name in (("adapter", "ip-adapter.bin"), ("IdentityNet", "diffusion_pytorch_model"), ("face detector", "scrfd")):
        assert any(line.strip().startswith(f"{role}: ") and name in line for line in found.splitlines())
    assert "Missing" not in found
    assert main(["models", "--models-dir", str(tmp_path)]) == 0
    missing = capsys.readouterr().out
    for name in ("ip-adapter.bin", "ControlNetModel", "glintr100.onnx", "scrfd_10g_bnkps.onnx", "non-commercial"):
        assert name in missing
    assert list(tmp_path.iterdir()) == []  # nothing is fetched unasked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--photo", "missing.jpg"], ("photos[1]", "missing.jpg")),
        ([], ("people", "add a person")),
        (["--adapter-strength", "0.5", "--person", '{"photos": ["b.png"]}'], ("people[1].photos, identity", "neither")),
        (["--photo", "{photo}", "--adapter-strength", "9"], ("adapter_strength", "0.0 to 1.5")),
        (["--photo", "{photo}", "--keypoints", "1,2"], ("keypoints", "1 points", "five")),
        (["--photo", "{photo}", "--keypoints", "a b c"], ("keypoints", "x,y")),
        (["--photo", "{photo}", "--person", "{"], ("person", "not valid JSON")),
        (["--photo", "{photo}", "--hires", "second pass"], ("hires", "one pass")),
        (["--photo", "{photo}", "--out", "x.jpg"], ("out", "x.jpg", ".png")),
        (["--photo", "{photo}", "--adapter", "nowhere.bin"], ("nowhere.bin", "no such file")),
        (["--photo", "{photo}", "--identity", "Ada"], ("photos, identity", "both")),
        (["--identity", "../Ada"], ("Ada",)),
    ],
)
def test_an_error_is_one_sentence_and_makes_no_picture(
    given: list[str],
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: tuple[str, ...],
) -> None:
    assert main([*given, *(text.replace("{photo}", str(photo)) for text in arguments)]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ")
    assert [word for word in words if word not in message] == []
    assert not (tmp_path / "x.png").exists()


def test_the_demo_writes_its_sheet_and_its_numbers(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "lib_instantid", "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "rendered people only" in run.stdout.splitlines()[0]
    assert re.search(r"demo\.json: \d+ s, at most \d+ MB of memory$", run.stdout.strip())
    assert Image.open(tmp_path / "demo.png").width > 5 * Image.open(tmp_path / "demo.png").height / 2
    values = json.loads((tmp_path / "demo.json").read_text())
    assert [len(person["pictures"]) for person in values["people"]] == [5, 5]
    for person in values["people"]:
        for picture in person["pictures"]:
            others = [value for name, value in picture["likeness"].items() if name != person["photo"]]
            assert picture["likeness"][person["photo"]] > max(others)
    assert values["peak_memory_mb"] < 2000


def test_without_a_checkpoint_the_small_model_makes_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.png"
    given = ["generate", "--photo", str(PEOPLE[0]), "--prompt", "a portrait", "--steps", "2", "--out", str(out)]
    assert main(given) == 0
    assert "rendered people only" in capsys.readouterr().out
    assert Image.open(out).size == (192, 192)
    assert saved(out)["settings"]["face_region"] == "everywhere"
    assert main([*given, "--face-region", "face"]) == 0
    assert saved(out)["settings"]["face_region"] == "face"


def test_other_weights_need_their_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["generate", "--adapter", "a.bin", "--photo", str(PEOPLE[0]), "--prompt", "x", "--out", str(tmp_path / "x.png")]
    assert main(given) == 1
    assert "--adapter needs the checkpoint that it is for" in capsys.readouterr().err


def test_a_command_without_its_action_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["identity"])
    assert "ACTION" in capsys.readouterr().err


def test_the_page_takes_the_weights_the_face_models_and_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["page", "--help"])
    text = capsys.readouterr().out
    weights = ("--checkpoint", "--adapter", "--identitynet", "--device", "--face-models", "--provider")
    own = ("--identities", "--size", "--steps", "--out", "--host", "--port")
    assert [option for option in (*weights, *own) if f"{option} " not in text] == []
