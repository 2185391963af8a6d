"""A folder of photos with a file of prompts, and how like a person folders of pictures are: from the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.cli import main
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.identity import cosine
from lib_instantid.encoders.face.picture import read_picture
from tests.encoders.face.scenes import GREEN, squares

PROMPTS = "a person\n\n  in a garden  \n"
COLUMNS = ("pictures", "no face", "unread")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos with a face, one without, a damaged one, and a file that is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(squares(300, 200, [(90, 60, 70)])).save(folder / "ada.png")
    Image.fromarray(squares(300, 300, [(60, 80, 150)], GREEN)).save(folder / "bea.JPG", quality=95)
    Image.fromarray(squares(120, 100, [])).save(folder / "nobody.png")
    (folder / "damaged.png").write_bytes((folder / "ada.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def given(weights_folder: Path, photos: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    return [
        *("generate", "--checkpoint", str(weights_folder / "checkpoint"), "--models-dir", str(weights_folder)),
        *("--photos-dir", str(photos), "--prompts-file", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")),
        *("--width", "128", "--height", "96", "--steps", "2", "--device", "cpu"),
    ]


def made(tmp_path: Path) -> dict[str, int]:
    """Pictures, with the time at which each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


ALL = {f"{photo}-{number:03}.png" for photo in ("ada.png", "bea.JPG") for number in (1, 2)}


def test_every_photo_with_every_prompt_and_a_bad_photo_stops_nothing(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 1
    assert set(made(tmp_path)) == ALL
    out, err = capsys.readouterr()
    assert "4 made, 0 were there, 4 not made." in out
    assert "2 of 4 photos could not be used" in err
    assert "nobody.png: people[1].photos[1]: no face" in err
    assert "damaged.png" in err
    (seconds,) = re.findall(rf"4/8 {re.escape(str(tmp_path / 'out' / 'bea.JPG-002.png'))} (\d+\.\d) s", out)
    assert float(seconds) < 600
    prompts = {name: json.loads(Image.open(tmp_path / "out" / name).text["instantid"])["job"]["prompt"] for name in ALL}  # type: ignore[attr-defined]
    assert {name[-7:-4]: prompt for name, prompt in prompts.items()} == {"001": "a person", "002": "in a garden"}
    pictures = [np.asarray(Image.open(tmp_path / "out" / name)).tobytes() for name in ALL]
    assert len(set(pictures)) == 4


def test_what_is_finished_is_not_made_again(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(given)
    before = made(tmp_path)
    (tmp_path / "out" / "ada.png-002.png").unlink()
    whole = (tmp_path / "out" / "bea.JPG-001.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "out" / "bea.JPG-001.png"))
    (tmp_path / "out" / "bea.JPG-001.png").write_bytes(whole[: len(whole) // 2])  # as after a stop of the machine
    capsys.readouterr()
    main(given)
    after = made(tmp_path)
    assert {name for name in ALL if after[name] != before[name]} == {"ada.png-002.png", "bea.JPG-001.png"}
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "bea.JPG-001.png")), pixels)
    assert "2 made, 2 were there" in capsys.readouterr().out


@pytest.mark.parametrize("change", [["--steps", "3"], ["--adapter-strength", "0.3"], ["--cfg-rescale", "0.5"]])
def test_a_picture_of_other_settings_is_made_anew(given: list[str], tmp_path: Path, change: list[str]) -> None:
    (tmp_path / "photos" / "bea.JPG").unlink()
    main(given)
    before = made(tmp_path)
    main([*given, *change])
    assert all(made(tmp_path)[name] != before[name] for name in before)


INPUTS = {
    "photo": ((), "photos/ada.png"),
    "pose picture": (("--pose-picture", "pose.png"), "pose.png"),
    "region": (("--region", "region.png"), "region.png"),
    "init picture": (("--init-picture", "init.png", "--denoising-strength", "1"), "init.png"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_another_picture_under_the_same_name_is_made_anew(given: list[str], tmp_path: Path, case: str) -> None:
    arguments, changed = INPUTS[case]
    for name in ("pose.png", "region.png", "init.png"):
        Image.fromarray(squares(300, 200, [(90, 60, 70)])).save(tmp_path / name)
    (tmp_path / "photos" / "bea.JPG").unlink()
    command = [*given, *(str(tmp_path / part) if part.endswith(".png") else part for part in arguments)]
    main(command)
    before = made(tmp_path)
    assert len(before) == 2
    main(command)
    assert made(tmp_path) == before
    Image.fromarray(squares(300, 200, [(30, 40, 80)])).save(tmp_path / changed)
    main(command)
    assert [name for name, time in made(tmp_path).items() if time == before[name]] == []


def test_other_points_by_hand_or_another_checkpoint_under_the_same_name_are_made_anew(
    given: list[str], photos: Path, weights_folder: Path, tmp_path: Path
) -> None:
    at = given.index("--photos-dir")
    shutil.copytree(weights_folder / "checkpoint", tmp_path / "checkpoint")
    command = [*given[:at], *given[at + 2 :], "--photo", str(photos / "ada.png"), "--checkpoint", str(tmp_path / "checkpoint")]
    points = ["--photo-keypoints", "0.4,0.4 0.6,0.4 0.5,0.5 0.4,0.6 0.6,0.6"]
    main([*command, *points])
    before = made(tmp_path)
    main([*command, *points])
    assert made(tmp_path) == before
    main([*command, points[0], points[1].replace("0.5,0.5", "0.5,0.52")])
    changed = made(tmp_path)
    assert [name for name in before if changed[name] == before[name]] == []
    weights = tmp_path / "checkpoint" / "unet" / "diffusion_pytorch_model.safetensors"
    os.utime(weights, (0, 0))
    main([*command, points[0], points[1].replace("0.5,0.5", "0.5,0.52")])
    assert [name for name in before if made(tmp_path)[name] == changed[name]] == []


def test_another_prompt_is_made_anew_and_the_same_stays(given: list[str], tmp_path: Path) -> None:
    main(given)
    before = made(tmp_path)
    (tmp_path / "prompts.txt").write_text("a person\non the moon\n")
    main(given)
    changed = {name for name in ALL if made(tmp_path)[name] != before[name]}
    assert changed == {name for name in ALL if "-002" in name}


def test_one_photo_with_a_file_of_prompts(given: list[str], photos: Path, tmp_path: Path) -> None:
    at = given.index("--photos-dir")
    assert main([*given[:at], *given[at + 2 :], "--photo", str(photos / "ada.png"), "--batch-size", "2"]) == 0
    assert set(made(tmp_path)) == {"001.png", "001-2.png", "002.png", "002-2.png"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--prompts-file": "missing.txt"}, ("prompts_file", "missing.txt")),
        ({"--photos-dir": "missing"}, ("missing", "no such folder")),
        ({"--out": "x.png"}, ("out", "folder")),
        ({"--prompt": "also"}, ("prompt",)),
        ({"--photo": "also.png"}, ("photos_dir",)),
        ({"--adapter-strength": "9"}, ("adapter_strength", "1.5")),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], words: tuple[str, ...]
) -> None:
    assert main([*given, *(text for pair in changes.items() for text in pair)]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert [word for word in words if word not in message] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--init-picture", "missing.png"], "init_picture"),
        (["--region", "missing.png"], "people[1].region"),
        (["--person", '{"photos": ["missing.png"]}'], "people[2].photos[1]"),
        (["--checkpoint", "missing"], "checkpoint missing: no such file"),
        (["--models-dir", "missing"], "ip-adapter.bin: no such file"),
    ],
)
def test_what_is_wrong_with_every_picture_is_said_before_anything_is_loaded(
    given: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    word: str,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("lib_instantid.hosts.diffusers.checkpoint.load_pipeline", never)
    for files in SYSTEM_FILES:
        for role in files.roles:
            monkeypatch.setitem(files.load, role, never)
    assert main([*given, *arguments]) == 1
    assert word in capsys.readouterr().err.splitlines()[-1]


def compared(weights_folder: Path, arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["similarity", *map(str, arguments), "--models-dir", str(weights_folder)]) == 0
    return capsys.readouterr().out


def test_folders_are_compared_with_a_person(weights_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analyser = open_analyser("builtin", weights_folder)
    (ada,) = analyser.faces(read_picture(photos / "ada.png"))
    (bea,) = analyser.faces(read_picture(photos / "bea.JPG"))
    values = json.loads(compared(weights_folder, [photos / "ada.png", photos, "--json"], capsys))[0]["values"]
    assert values["nobody.png"] is None
    assert values["ada.png"] == pytest.approx(1)
    assert values["bea.JPG"] == pytest.approx(cosine(ada.embedding, bea.embedding))
    text = compared(weights_folder, [photos / "ada.png", photos], capsys)
    heading, line = text.splitlines()
    assert [heading.index(column) for column in COLUMNS] == sorted(heading.index(column) for column in COLUMNS)
    numbers = line.removeprefix(str(photos)).split()
    likeness = cosine(ada.embedding, bea.embedding)
    assert numbers[:3] == ["4", "1", "1"]
    assert numbers[3:7] == [f"{value:.3f}" for value in ((1 + likeness) / 2, (1 + likeness) / 2, likeness, 1)]


def test_a_person_of_a_folder_is_the_mean_of_the_faces_in_it(
    weights_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyser = open_analyser("builtin", weights_folder)
    faces = [analyser.faces(read_picture(photos / name))[0].embedding for name in ("ada.png", "bea.JPG")]
    values = json.loads(compared(weights_folder, [photos, photos, "--json"], capsys))[0]["values"]
    assert values["ada.png"] == pytest.approx(cosine(faces[0], (faces[0] + faces[1]) / 2))


def test_a_person_without_a_face_and_an_empty_folder_are_errors(
    weights_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, words in (([photos / "nobody.png", photos], "no face"), ([photos, tmp_path / "empty"], "no picture")):
        assert main(["similarity", *map(str, arguments), "--models-dir", str(weights_folder)]) == 1
        assert words in capsys.readouterr().err
