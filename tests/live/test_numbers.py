"""The same numbers as the core: UNet calls recorded inside the WebUI, made again by a diffusers UNet with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.conftest import relative_error
from tests.live.replay import Guide, replay
from tests.live.test_rows import LONG
from tests.live.webui import WebUI

TOLERANCE = 1e-4
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "face": ({}, {}),
    "everywhere": ({"face_region": "everywhere"}, {}),
    "prompt mode": ({"face_region": "everywhere", "control_mode": "prompt"}, {}),
    "identity mode": ({"face_region": "everywhere", "control_mode": "identity"}, {}),
    "noise": ({"face_region": "everywhere", "negative_noise": 0.5}, {}),
    "AND": ({"face_region": "everywhere"}, {"prompt": "a cat AND a dog :0.7"}),
    "batch": ({"face_region": "everywhere"}, {"batch_size": 2}),
    "long negative": ({"face_region": "everywhere"}, {"negative_prompt": LONG}),
    "CFG 1": ({"face_region": "everywhere"}, {"cfg_scale": 1.0}),
}


def test_without_instantid_the_replay_is_the_webuis_call(webui: WebUI, unet: UNet2DConditionModel, record: Path) -> None:
    """That the comparison means something: the two UNets agree."""
    webui.plain(probe={"record": str(record)})
    for call in torch.load(record):
        assert relative_error(replay(unet, call, None), call["output"]) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_each_unet_call_has_the_cores_numbers(
    webui: WebUI, unet: UNet2DConditionModel, guide: Guide, record: Path, name: str
) -> None:
    settings, request = CASES[name]
    webui.guided(settings, probe={"record": str(record)}, **request)
    guidance, calls = guide(settings), torch.load(record)
    assert len(calls) >= 3
    for call in calls:
        expected = replay(unet, call, guidance)
        assert relative_error(call["output"], expected) < TOLERANCE
        assert relative_error(replay(unet, call, None), expected) > 50 * TOLERANCE
