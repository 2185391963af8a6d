"""ControlNets of the small models: maps lie where the pictures lie, and what is written opens as any ControlNet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib_instantid.adapters.controlnet.files import load
from lib_instantid.adapters.controlnet.maps import canny
from lib_instantid.adapters.controlnet.recognise import CONTROLNET, recognise
from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.weights.controlnet_kinds import controlnet_kind
from lib_instantid.weights.reading import read_outline
from training import shapes, styles
from training.canvas import Canvas
from training.checkpoint import new_unet
from training.codes import Batch
from training.controls import NAMES, new_control, write
from training.instantid import begin_heard
from training.maps import DEPTH, EDGES, KINDS, Maps
from training.paint import painted
from training.person import View

SIDE = 48
VIEW = View(
    **dict.fromkeys(("yaw", "pitch", "roll", "smile", "mouth", "brows", "blink", "warm"), 0.0),
    **dict.fromkeys(("background", "pattern", "clothes", "clothes_colour", "hat", "hat_colour", "glasses"), ""),
    place=(0.5, 0.5),
    scale=0.5,
    light=(0.0, -1.0, 0.0),
    bright=1.0,
    seed=0,
)


def balls(*places: tuple[float, float, float]) -> Canvas:
    """White balls before nothing, at x, y and z; y is away from the viewer."""
    canvas = Canvas(2 * SIDE, VIEW)
    for place in places:
        points, faces = shapes.ball(place, (0.03, 0.03, 0.03))
        canvas.layer(points, faces, points, None, lambda found: painted(found, np.full(3, 255.0)))
    return canvas


def test_depth_is_white_where_it_is_near_and_black_behind_everything() -> None:
    places = np.array([(-0.06, -0.1, 0.66), (0.06, 0.05, 0.66)], dtype=np.float32)
    canvas = balls(*places)
    depth = canvas.depth(SIDE)
    near, far = (depth[int(y / 2), int(x / 2)] for x, y in canvas.project(places)[0])
    assert near == depth.max() > 250
    assert 0 < far < near - 40
    assert depth[0].max() == depth[:, 0].max() == 0


def test_depth_lies_where_the_picture_lies() -> None:
    canvas = balls((0.03, 0.0, 0.7))
    drawn = canvas.rgb.any(axis=2)
    assert np.array_equal(canvas.depth(2 * SIDE) > 0, drawn)
    assert 0 < drawn.mean() < 0.2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two hundred pictures of noise and their depth, as of the people 100 to 199."""
    r = np.random.default_rng(0)
    (tmp_path / DEPTH).mkdir()
    squares = r.integers(0, 256, (200, 6, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "pictures-100.npy", squares.repeat(SIDE // 6, axis=1).repeat(SIDE // 6, axis=2))
    np.save(tmp_path / DEPTH / "depth-100.npy", r.integers(0, 256, (200, SIDE, SIDE), dtype=np.uint8))
    return tmp_path


def maps_of(folder: Path, kind: str) -> np.ndarray:
    """(2, 16, 16): windows of the maps of the pictures 7 and 150, the second mirrored and as line art."""
    codes: Any = SimpleNamespace(
        number=np.array([103, 175]),
        index=np.array([7, 150]),
        style=np.array(["photo", "line art"]),
        mirrored=np.array([False, True]),
    )
    corners = np.array([(8, 24), (16, 0)])
    batch = Batch(codes=torch.empty(0), points=np.empty(0), rows=np.array([0, 1]), size=16, corners=corners)
    found = Maps(kind, folder, folder, codes).of(batch)
    assert found.shape == (2, 3, 16, 16)
    assert (found == found[:, :1]).all()
    return (found[:, 0].numpy() * 255).round().astype(np.uint8)


def test_edges_are_of_the_picture_as_it_is_shown(folder: Path) -> None:
    pictures = np.load(folder / "pictures-100.npy")
    shown = pictures[7], np.ascontiguousarray(styles.apply("line art", pictures[150])[:, ::-1])
    whole = [canny(picture, Control.low, Control.high)[..., 0] for picture in shown]
    found = maps_of(folder, EDGES)
    assert np.array_equal(found[0], whole[0][24:40, 8:24])
    assert np.array_equal(found[1], whole[1][:16, 16:32])
    assert found.any()


def test_depth_is_mirrored_with_the_picture(folder: Path) -> None:
    depth, found = np.load(folder / DEPTH / "depth-100.npy"), maps_of(folder, DEPTH)
    assert np.array_equal(found[0], depth[7][24:40, 8:24])
    assert np.array_equal(found[1], depth[150][:, ::-1][:16, 16:32])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_opens_as_any_controlnet_and_says_what_it_is_for(kind: str, tmp_path: Path) -> None:
    control = new_control(new_unet())
    write(control, kind, tmp_path)
    folder = tmp_path / f"ControlNet-{kind}"
    outline = read_outline(folder)
    found, of = recognise(outline), controlnet_kind(outline)
    assert found is not None
    assert of is not None
    assert (found.role, found.named, of.condition, of.version) == (CONTROLNET, True, NAMES[kind], "SDXL")
    assert load(folder).conv_in.weight.dtype == torch.float16
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000


def test_a_map_is_heard_before_the_first_step() -> None:
    control = new_control(new_unet())
    maps = torch.rand(2, 3, 64, 64).round()
    begin_heard(control, maps, 0.1)
    given = torch.zeros(2, 4, 8, 8), torch.full((2,), 500), torch.zeros(2, 77, 128)
    added = {"text_embeds": torch.zeros(2, 64), "time_ids": torch.zeros(2, 6)}
    with torch.no_grad():
        _, middle = control(*given, maps, added_cond_kwargs=added, return_dict=False)
    assert not torch.allclose(middle[0], middle[1], atol=1e-4)
