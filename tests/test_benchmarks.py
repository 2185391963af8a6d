"""The benchmarks count what the source papers' networks cost, and their command writes what it says."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.competitors import ldm_controlnet
from benchmarks.contenders import Case, Contender, diffusers, instantid, plain
from benchmarks.live_bytes import LiveBytes
from benchmarks.measure import count_flops, measure
from benchmarks.networks import SDXL_CHANNELS, Networks, make_networks, size_of
from lib_instantid.hosts.stand_ins.weights import sdxl_unet
from tests.ldm_unet import ldm_name, ldm_unet_like


@pytest.fixture(scope="module")
def counting() -> Networks:
    """SDXL's real size, without numbers."""
    return make_networks(SDXL_CHANNELS, torch.device("meta"), torch.float32)


@pytest.mark.parametrize(
    ("size", "contender", "expected"),
    [(1024, instantid(), 1.433), (256, instantid(), 1.383), (256, diffusers(), 1.430)],
    ids=["1024", "256", "256 with constant work in every step"],
)
def test_the_arithmetic_is_the_one_that_was_counted_by_hand(
    counting: Networks, size: int, contender: Contender, expected: float
) -> None:
    case = Case(width=size, height=size, batch=1)
    ratio = count_flops(counting, case, contender) / count_flops(counting, case, plain())
    assert ratio == pytest.approx(expected, abs=0.01)


def test_a_plain_call_at_1024_costs_what_sdxl_does(counting: Networks) -> None:
    flops = count_flops(counting, Case(width=1024, height=1024, batch=1), plain())
    assert flops == pytest.approx(13.52e12, rel=0.02)


def test_the_command_writes_every_row(tmp_path: Path) -> None:
    files = {name: tmp_path / f"found.{name}" for name in ("json", "png")}
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--device",
        "cpu",
        "--channels",
        "32",
        "--size",
        "64",
        "--rounds",
        "1",
        "--people",
        "1",
    ]
    subprocess.run([*command, "--json", str(files["json"]), "--plot", str(files["png"])], check=True, capture_output=True)
    found = json.loads(files["json"].read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert found["machine"]
    assert {"plain", "instantid", "diffusers", "image prompt", "diffusers' IP-Adapter"} <= set(rows)
    assert rows["diffusers"]["noise_error"] < 1e-4
    assert rows["diffusers' IP-Adapter"]["noise_error"] < 1e-4
    assert rows["plain"]["ratio_to_plain"] == 1
    assert all(row["exact"] or row["noise_error"] > 1e-4 for row in rows.values())
    assert all(row["ms"] > 0 and row["arithmetic_ratio"] >= 1 for row in rows.values())
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_a_webuis_unet_takes_the_place_of_diffusers() -> None:
    cpu, case = torch.device("cpu"), Case(width=64, height=64, batch=1)
    networks = make_networks(32, cpu, torch.float32, lambda channels: ldm_unet_like(sdxl_unet(size_of(channels))))
    counting = make_networks(32, torch.device("meta"), torch.float32)
    rows = {row.name: row for row in measure(networks, case, [plain(), instantid()], 1, counting)}
    assert rows["instantid"].arithmetic_ratio > rows["plain"].arithmetic_ratio == 1
    given = ldm_controlnet(networks)
    expected = {ldm_name(name): tensor for name, tensor in networks.controlnet.state_dict().items()}
    assert given.keys() == expected.keys()
    assert all(given[name] is tensor or torch.equal(given[name], tensor) for name, tensor in expected.items())


def test_live_bytes_are_those_of_tensors_that_live_at_once() -> None:
    weight = torch.ones(1000, 1000)
    with LiveBytes() as live:
        x = torch.ones(1000, 1000)
        y = x @ weight.t()
        y = torch.relu(y)  # beside it, and then in its place
        y.view(-1)[:10].add_(1)
        del x
        y = y + 1
    assert live.peak == 3 * weight.nbytes


def test_the_ways_to_keep_weights_are_compared(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks.storage", "--device", "cpu", "--channels", "32", "--size", "64"]
    subprocess.run([*command, "--dtype", "float32", "--json", str(found)], check=True, capture_output=True)
    rows = {row["way"]: row for row in json.loads(found.read_text())["rows"]}
    assert rows["layer by layer"]["residuals_differ_by"] < 1e-5  # the whole network is packed, and sums in another order
    assert 0 < rows["fp8"]["residuals_differ_by"] == rows["fp8, layer by layer"]["residuals_differ_by"] < 0.3
    sizes = [rows[way]["on_device_mb"] for way in ("whole", "fp8", "layer by layer", "fp8, layer by layer")]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["a1111", "forge"])
def test_what_the_measure_of_another_implementation_takes_from_here_is_there(name: str) -> None:
    """Its file can be imported only by the Python of a WebUI."""
    path = Path(__file__).parents[1] / "benchmarks" / "competitors" / f"{name}.py"
    own = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    own = [node for node in own if str(node.module).startswith(("benchmarks", "lib_instantid"))]
    assert own
    missing = [
        f"{node.module}.{alias.name}"
        for node in own
        for alias in node.names
        if not hasattr(importlib.import_module(str(node.module)), alias.name)
    ]
    assert missing == []
