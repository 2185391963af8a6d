"""What a ControlNet is for, told from what it calls itself: SDXL's all have IdentityNet's shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET, says_instantid
from lib_instantid.webui.model_files import by_role
from lib_instantid.weights.finding import DETECTOR, RECOGNISER, FoundModel
from lib_instantid.weights.kinds import recognise
from lib_instantid.weights.reading import Weights
from lib_instantid.weights.system_files import Recognised

TENSORS = {
    "controlnet_cond_embedding.conv_in.weight": torch.zeros(1),
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": torch.zeros(1280, 2048),
}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("controlnetxlCNXL_xinsirOpenpose.safetensors", CONTROLNET),
        ("OpenPoseXL2.safetensors", CONTROLNET),
        ("sdxl-canny.safetensors", CONTROLNET),
        ("controlnet-depth-sdxl-1.0/diffusion_pytorch_model.fp16.safetensors", CONTROLNET),
        ("depth/ControlNetModel/diffusion_pytorch_model.safetensors", IDENTITYNET),
        ("IdentityNet.safetensors", IDENTITYNET),
        ("InstantID_ControlNet_openpose.safetensors", IDENTITYNET),
        ("diffusion_pytorch_model.safetensors", IDENTITYNET),
    ],
)
def test_a_controlnet_for_another_thing_is_told_by_any_word_of_its_name(name: str, role: str | None) -> None:
    assert recognise(Weights(path=Path("models/ControlNet") / name, tensors=TENSORS), SYSTEM_FILES).role == role


def test_a_file_that_calls_itself_instantids_comes_before_one_that_says_nothing() -> None:
    def found(path: str, role: str, named: bool = False) -> FoundModel:
        return FoundModel(path=Path(path), role=role, description="", size=1, named=named)

    own = "models/instantid/net.safetensors"
    others = [found(f"models/insightface/{role}", role) for role in (DETECTOR, RECOGNISER, ADAPTER)]
    nets = [found("models/ControlNet/a.safetensors", IDENTITYNET), found(own, IDENTITYNET, named=True)]
    chosen = by_role([*nets, *others], [Path("models/ControlNet"), Path("models")])
    assert list(chosen[IDENTITYNET]) == ["instantid/net.safetensors", "a.safetensors"]
    assert chosen[IDENTITYNET]["instantid/net.safetensors"] == Path(own)


@pytest.mark.parametrize(
    ("path", "notes", "named"),
    [
        ("models/instantid/net.safetensors", {}, True),
        ("models/ControlNet/net.safetensors", {}, False),
        ("models/ControlNet/net.safetensors", {"modelspec.title": "InstantID IdentityNet"}, True),
        ("models/ControlNet/InstantID_net.safetensors", {}, True),
        ("models--InstantX--InstantID/snapshots/0/net.safetensors", {}, True),
    ],
)
def test_a_file_calls_itself_instantids_by_its_place_its_name_or_its_metadata(
    path: str, notes: dict[str, str], named: bool
) -> None:
    assert says_instantid(Weights(path=Path(path), tensors=TENSORS, notes=notes)) is named


@pytest.mark.parametrize("name", ["image_proj.latents", "image_proj.proj_in.weight"])
def test_half_a_resampler_is_an_adapter_of_an_unknown_kind(name: str) -> None:
    found = recognise(Weights(path=Path("ip-adapter.safetensors"), tensors={name: torch.zeros(16, 512)}), SYSTEM_FILES)
    assert found == Recognised(role=None, description="an IP-Adapter of a kind not known here")
