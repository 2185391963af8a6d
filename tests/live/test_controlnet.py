"""Beside other ControlNets: Forge's own, and in A1111 the extension sd-webui-controlnet, where it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.conftest import relative_error
from tests.live.replay import Guide, controlnet_of, replay
from tests.live.webui import EFFECT, OTHER_PHOTO, ROUNDING, Answer, WebUI, difference, encoded, noise_picture, person

pytestmark = pytest.mark.controlnet

EDGES = np.repeat(cv2.Canny(noise_picture(3), 20, 60)[..., None], 3, axis=2)
EVERYWHERE = {"face_region": "everywhere", "people": [person()]}
TOLERANCE = 1e-4
TEXT_TOKENS = 77
"""sd-webui-controlnet puts a token of its own before them, and takes it off again inside the UNet's call."""

NET = "control_instant_id_tiny.safetensors"
"""A ControlNet in ldm's names somewhere in the WebUI's models; what it was trained for is all one to random weights."""


@pytest.fixture(scope="module", autouse=True)
def net(webui: WebUI) -> Iterator[Path]:
    """A net for a unit. sd-webui-controlnet takes its kind from its name; Forge lists those that were there at start."""
    found = next((webui.folder / "models").rglob(NET))
    if webui.forge:
        yield found
        return
    path = webui.folder / "models" / "ControlNet" / "control_canny_live.safetensors"
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(found, path)
    made(webui, [unit(webui, path.stem)])  # leaves the UNet with its own `forward` among its attributes, from then on
    yield path
    path.unlink()


def unit(webui: WebUI, name: str, **values: Any) -> dict[str, Any]:
    """name: of the file, without its suffix. Edges as they are, without a preprocessor."""
    listed = webui.get("controlnet/model_list")["model_list"]
    model = next(title for title in listed if title.startswith(name))
    own = {"module": "None" if webui.forge else "none", "model": model, "image": encoded(EDGES)}
    return {"enabled": True, "weight": 1.0, "pixel_perfect": True, "save_detected_map": False, **own, **values}


def made(webui: WebUI, units: list[dict[str, Any]], settings: Any = None, **probe: Any) -> Answer:
    own = {} if settings is None else {"InstantID": [settings]}
    answer = webui.ask("txt2img", {}, {"ControlNet": units, **own, "InstantID probe": [probe]})
    assert answer.status == 200, answer.message
    return answer


def test_a_unit_and_instantid_both_act(webui: WebUI, plain: Answer, net: Path) -> None:
    edges = unit(webui, net.stem)
    alone, only_unit = webui.guided(EVERYWHERE).picture, made(webui, [edges]).picture
    both = made(webui, [edges], EVERYWHERE)
    assert difference(only_unit, plain.picture) > 0.01
    assert difference(both.picture, only_unit) > EFFECT / 10
    assert difference(both.picture, alone) > 0.01
    assert made(webui, [edges], EVERYWHERE).files == both.files
    assert np.array_equal(webui.guided(EVERYWHERE).picture, alone)


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("mode", ["balanced", "identity"])
def test_the_residuals_of_a_unit_and_instantid_add_up(
    webui: WebUI, unet: UNet2DConditionModel, guide: Guide, record: Path, net: Path, mode: str, weight: float
) -> None:
    """Each UNet call is what diffusers' ControlNet and the core make of it together; the unit reads the text."""
    settings = {**EVERYWHERE, "control_mode": mode}
    made(webui, [unit(webui, net.stem, weight=weight)], settings, record=str(record))
    guidance, controlnet = guide({"face_region": "everywhere", "control_mode": mode}), controlnet_of(net)
    hint = torch.from_numpy(EDGES).permute(2, 0, 1)[None] / 255
    calls = torch.load(record)
    assert len(calls) >= 3
    for call in calls:
        call |= {"hint": hint, "weight": weight, "context": call["context"][:, -TEXT_TOKENS:]}
        expected = replay(unet, call, guidance, controlnet)
        assert relative_error(call["output"], expected) < TOLERANCE
        for missing in (replay(unet, call, guidance), replay(unet, call, None, controlnet)):
            assert relative_error(missing, expected) > 10 * TOLERANCE


def test_a_unit_acts_once_on_steps_that_share_a_run_of_identitynet(
    webui: WebUI, unet: UNet2DConditionModel, guide: Guide, record: Path, net: Path
) -> None:
    """The first step computes, and is exact. Its residuals serve the second too, with the unit's added once and no more: so the
    second stays as near to its exact answer as without the unit."""
    edges = unit(webui, net.stem)
    errors = []
    for units in ([], [edges]):
        made(webui, units, {**EVERYWHERE, "identitynet_every": 2}, record=str(record))
        guidance, controlnet = guide({"face_region": "everywhere"}), controlnet_of(net) if units else None
        hint = torch.from_numpy(EDGES).permute(2, 0, 1)[None] / 255
        first, second = (
            relative_error(call["output"], replay(unet, call | added(call, hint), guidance, controlnet))
            for call in torch.load(record)[:2]
        )
        assert first < TOLERANCE
        errors.append(second)
    assert errors[1] < 2 * errors[0]


def added(call: dict[str, Any], hint: torch.Tensor) -> dict[str, Any]:
    """What `replay` needs of a unit."""
    return {"hint": hint, "weight": 1.0, "context": call["context"][:, -TEXT_TOKENS:]}


@pytest.fixture
def own_instantid(webui: WebUI) -> Iterator[list[dict[str, Any]]]:
    """The two units of Forge's own InstantID, of another face. It wants files that it never uses."""
    folder = webui.folder / "models" / "insightface" / "models" / "antelopev2"
    unused = [folder / name for name in ("2d106det.onnx", "genderage.onnx") if not (folder / name).exists()]
    for path in unused:
        path.touch()
    own = {"image": OTHER_PHOTO}
    yield [
        unit(webui, "ip-adapter_instant_id_tiny", module="InsightFace (InstantID)", weight=0.8, **own),
        unit(webui, NET.removesuffix(".safetensors"), module="instant_id_face_keypoints", weight=0.8, **own),
    ]
    for path in unused:
        path.unlink()


@pytest.mark.forge
def test_forges_own_instantid_in_the_same_picture_breaks_neither(
    webui: WebUI, plain: Answer, own_instantid: list[dict[str, Any]]
) -> None:
    none = {"face_region": "everywhere", "people": [person(adapter_strength=0, identitynet_strength=0)]}
    off = [{**one, "weight": 0.0} for one in own_instantid]
    theirs, ours, both = made(webui, own_instantid), webui.guided(EVERYWHERE), made(webui, own_instantid, EVERYWHERE)
    assert difference(theirs.picture, plain.picture) > EFFECT / 10
    assert difference(both.picture, theirs.picture) > EFFECT / 10
    assert difference(both.picture, ours.picture) > EFFECT / 10
    assert difference(made(webui, own_instantid, none).picture, theirs.picture) < ROUNDING
    assert difference(made(webui, off, EVERYWHERE).picture, ours.picture) < ROUNDING
    assert made(webui, own_instantid, EVERYWHERE).files == both.files


@pytest.mark.forge
@pytest.mark.parametrize("part", [0, 1], ids=["adapter", "keypoints"])
def test_one_unit_of_forges_own_instantid_breaks_neither(webui: WebUI, own_instantid: list[dict[str, Any]], part: int) -> None:
    units = [own_instantid[part]]
    theirs, both = made(webui, units), made(webui, units, EVERYWHERE)
    assert difference(both.picture, theirs.picture) > EFFECT / 10
    assert difference(both.picture, webui.guided(EVERYWHERE).picture) > 0.01
