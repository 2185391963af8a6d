"""Controls on the command line: their short spelling, the models' names, and the errors before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.cli import main
from tests.test_cli import given as given
from tests.test_cli import pixels, saved

CANNY = "controlnet-canny/diffusion_pytorch_model.safetensors"


@pytest.fixture
def street(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("canny=street.png:0.4", {"preprocessor": "canny", "picture": "street.png", "strength": 0.4}),
        ("as it is=a map.png", {"preprocessor": "as it is", "picture": "a map.png"}),
        (r"depth=C:\pictures\room.png:1", {"preprocessor": "depth", "picture": r"C:\pictures\room.png", "strength": 1.0}),
        (r"depth=C:\pictures\room.png", {"preprocessor": "depth", "picture": r"C:\pictures\room.png"}),
        ("street.png", None),
    ],
)
def test_the_short_spelling(text: str, values: dict[str, Any] | None) -> None:
    assert Control.spelled(text) == values


def test_controls_in_every_spelling_act_together(given: list[str], street: Path, tmp_path: Path, weights_folder: Path) -> None:
    controls = ["--control", f"canny={street}:0.4", "--control", f'{{"picture": "{street}", "map": "lines", "strength": 0.2}}']
    first = ["--control-picture", str(street), "--control-preprocessor", "grey", "--control-model", CANNY]
    assert main([*given, *first, *controls]) == 0
    found = saved(tmp_path / "x.png")["settings"]["controls"]
    assert [(control["preprocessor"], control["strength"]) for control in found] == [("grey", 1.0), ("canny", 0.4), (None, 0.2)]
    assert {control["model"] for control in found} == {CANNY}
    together = pixels(tmp_path / "x.png")
    assert main([*given, "--controlnet", str(weights_folder / CANNY), *controls[:2]]) == 0
    assert saved(tmp_path / "x.png")["settings"]["controls"][0]["model"] == "controlnet-canny"
    assert np.abs(pixels(tmp_path / "x.png") - together).mean() > 0.1


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ("fog={street}", "controls[1].preprocessor: found 'fog', expected one of as it is, canny"),
        ("canny={street}.gone", "controls[1].picture"),
        ("canny={street}:3", "controls[1].strength: found 3.0, expected a number from 0.0 to 2.0"),
        ("{street}", "control: not valid JSON"),
    ],
)
def test_wrong_ones_are_refused_by_name(
    given: list[str], street: Path, control: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--control", control.format(street=street)]) != 0
    assert words in capsys.readouterr().err
