"""The official code's numbers, through the project's own loaders and hooks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity.compare import TOLERANCE, Row, compare
from tests.parity.fixture import OFFICIAL
from tests.parity.prompts import HERE as PROMPTS

SCRIPT = Path(__file__).with_name("compare.py")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(compare(OFFICIAL))


def test_every_tensor_agrees_with_the_official_code(rows: list[Row]) -> None:
    assert {row.tensor: row.error for row in rows if row.error > TOLERANCE} == {}


def test_every_output_of_the_fixture_is_compared_on_both_unets(rows: list[Row]) -> None:
    inputs = {"latents", "timestep", "context", "text_embeds", "time_ids", "embedding", "keypoints", "face_box"}
    outputs = set(load_file(OFFICIAL / "io.safetensors")) - inputs
    compared = {row.tensor.split(",")[0].split(" ")[0] for row in rows}
    assert compared == outputs
    assert {row.tensor for row in rows if row.tensor.startswith("noise")} == {
        f"{name}, {family}" for name in outputs if name.startswith("noise") for family in ("diffusers", "ldm")
    }


@pytest.fixture(scope="module")
def prompt_rows() -> list[Row]:
    return list(compare(PROMPTS))


def test_every_tensor_of_ip_adapter_and_faceid_agrees_with_the_official_code(prompt_rows: list[Row]) -> None:
    assert {row.tensor: row.error for row in prompt_rows if row.error > TOLERANCE} == {}


def test_every_output_of_the_second_fixture_is_compared_on_both_unets(prompt_rows: list[Row]) -> None:
    inputs = {"latents", "timestep", "context", "text_embeds", "time_ids", "normed_embeddings"}
    outputs = {name for name in load_file(PROMPTS / "io.safetensors") if name not in inputs}
    compared = {row.tensor for row in prompt_rows}
    assert {name.split(",")[0] for name in compared} == outputs
    assert {name for name in compared if ".noise" in name} == {
        f"{name}, {family}" for name in outputs if ".noise" in name for family in ("diffusers", "ldm")
    }


def test_the_script_accepts_the_fixture_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    shutil.copytree(OFFICIAL, wrong)
    tensors = load_file(wrong / "io.safetensors")
    save_file({**tensors, "noise_instantid": tensors["noise_instantid"] * 1.001}, wrong / "io.safetensors")
    right, refused = (
        subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True) for folder in (OFFICIAL, wrong)
    )
    assert right.returncode == 0, right.stdout + right.stderr
    assert refused.returncode == 1
    assert "BEYOND" in refused.stdout
