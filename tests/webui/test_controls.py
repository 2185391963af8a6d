"""Controls in the script's course over a generation: they act, are recorded, their maps are kept, and nothing stays."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.webui.run_state import StopGeneration
from lib_instantid.webui.script import Extension
from tests.conftest import HEIGHT, WIDTH, Call
from tests.encoders.face.scenes import as_png
from tests.webui.test_extension import ONE, Host, P, X

PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(picture: np.ndarray) -> str:
    return base64.b64encode(as_png(picture)).decode()


CONTROL = {"picture": encoded(PICTURE), "preprocessor": "canny", "strength": 0.8}


@pytest.fixture
def extension(diffusers_unet: nn.Module, weights_folder: Path) -> Extension:
    store = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, lambda: weights_folder, unet=lambda: diffusers_unet)
    return Extension(Host(diffusers_unet), store, lambda: [], lambda: True)  # type: ignore[arg-type]


def made(extension: Extension, call: Call, settings: dict[str, Any]) -> tuple[torch.Tensor, P, list[Any]]:
    """The UNet's output in a generation with these settings, its `p`, and the pictures that were added."""
    p, processed = P(), SimpleNamespace(images=[])
    extension.process(p, [settings])  # type: ignore[arg-type]
    extension.before_sampling(p, X)  # type: ignore[arg-type]
    try:
        found = call(extension.host.unet)  # type: ignore[attr-defined]
        extension.finish(p, processed)  # type: ignore[arg-type]
    finally:
        extension.end(p)  # type: ignore[arg-type]
    return found, p, processed.images


def test_a_control_acts_is_recorded_keeps_its_map_and_leaves_no_trace(
    extension: Extension, diffusers_unet: nn.Module, call: Call
) -> None:
    plain = call(diffusers_unet)
    found, p, pictures = made(extension, call, {"controls": [CONTROL]})
    assert not torch.equal(found, plain)
    assert torch.equal(call(diffusers_unet), plain)
    assert "'controls':[{'preprocessor':'canny'" in p.extra_generation_params["InstantID"]
    assert CONTROL["picture"][:40] not in str(p.extra_generation_params)
    (drawn,) = pictures
    assert np.array_equal(np.asarray(drawn)[..., 0], cv2.Canny(PICTURE, 100, 200))


def test_with_a_person_each_has_its_map_and_both_act(extension: Extension, call: Call) -> None:
    both, _, pictures = made(extension, call, {**ONE, "controls": [CONTROL, {**CONTROL, "strength": 0.3}]})
    assert len(pictures) == 3
    for less in ({"controls": [CONTROL]}, ONE, {**ONE, "controls": [CONTROL]}):
        assert not torch.equal(made(extension, call, less)[0], both)


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"preprocessor": "depth"}, "controls[1].model: no ControlNet for depth is here"),
        ({"preprocessor": "fog"}, "controls[1].preprocessor: found 'fog', expected one of as it is"),
        ({"picture": "AAAA"}, "controls[1].picture"),
        ({"picture": None}, "controls[1].picture: missing"),
    ],
)
def test_what_is_wrong_stops_the_generation_with_its_sentence(
    extension: Extension, diffusers_unet: nn.Module, call: Call, control: dict[str, Any], words: str
) -> None:
    plain = call(diffusers_unet)
    with pytest.raises(StopGeneration) as error:
        made(extension, call, {"controls": [{**CONTROL, **control}]})
    assert words in str(error.value)
    assert torch.equal(call(diffusers_unet), plain)
