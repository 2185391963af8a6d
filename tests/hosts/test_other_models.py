"""Checkpoints that are not SDXL, in their real shapes, are refused in both WebUIs with the same sentence."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from ldm.modules.attention import SpatialTransformer
from torch import nn

from benchmarks.networks import SDXL_CHANNELS, make_networks
from lib_instantid.adapters.instantid.prepare import Prepared
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.errors import UnsupportedModel
from tests.conftest import ROWS, Guide, Inputs, relative_error
from tests.hosts.test_webui_hosts import ldm_like, world_of
from tests.hosts.webui_contracts import ForgeUNet
from tests.ldm_unet import LdmUNet, ldm_unet_like

FOUR_LEVELS = {"model_channels": 320, "channel_mult": (1, 2, 4, 4), "attention_resolutions": (1, 2, 4)}
XL_LEVELS = {"model_channels": 320, "channel_mult": (1, 2, 4), "attention_resolutions": (2, 4), "transformer_depth": 10}
REFINER_LEVELS = {**FOUR_LEVELS, "model_channels": 384, "attention_resolutions": (2, 4), "transformer_depth": 4}


def ldm_unet(context: int, vector: int, depths: dict[int, int] | None = None, latents: int = 4, **levels: Any) -> nn.Module:
    """An ldm UNet without numbers. vector: the size of y, 0 for none. depths: transformer blocks by width."""
    with torch.device("meta"):
        unet = LdmUNet(
            image_size=32,
            in_channels=latents,
            out_channels=latents,
            num_res_blocks=2,
            num_head_channels=64,
            use_spatial_transformer=True,
            use_linear_in_transformer=True,
            context_dim=[context] * levels.get("transformer_depth", 1),
            num_classes="continuous" if vector else None,
            legacy=False,
            **levels,
        )
        if vector:
            time = levels["model_channels"] * 4
            unet.label_emb = nn.Sequential(nn.Sequential(nn.Linear(vector, time), nn.SiLU(), nn.Linear(time, time)))
    for module in unet.modules():
        if isinstance(module, SpatialTransformer) and depths:
            module.transformer_blocks = module.transformer_blocks[: depths[module.in_channels]]
    return unet


class Flux(nn.Module):
    """SD3 and Flux are transformers: they have none of a UNet's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.double_blocks = nn.ModuleList([nn.Linear(2, 2)])


def taking(latents: int, unet: nn.Module) -> nn.Module:
    stem = unet.input_blocks[0][0]
    stem.weight = nn.Parameter(torch.empty(len(stem.weight), latents, 3, 3, device="meta"))
    return unet


OTHERS = {
    "SD1.5": (lambda: ldm_unet(768, 0, **FOUR_LEVELS), "SD1.5's"),
    "SD2": (lambda: ldm_unet(1024, 0, **FOUR_LEVELS), "SD2's"),
    "the refiner": (lambda: ldm_unet(1280, 2560, **REFINER_LEVELS), "the SDXL refiner's"),
    "SSD-1B": (lambda: ldm_unet(2048, 2816, {640: 2, 1280: 4}, **XL_LEVELS), "SSD-1B"),
    "SDXL on 16 latent channels": (lambda: ldm_unet(2048, 2816, {640: 2, 1280: 10}, 16, **XL_LEVELS), "16 latent channels"),
    "SDXL for editing": (lambda: taking(8, ldm_unet(2048, 2816, {640: 2, 1280: 10}, **XL_LEVELS)), "8 latent channels"),
    "SD3 or Flux": (Flux, "not a UNet"),
}


@pytest.fixture(scope="module")
def guidance(guide: Guide) -> Prepared:
    """For networks of the released sizes, without numbers."""
    networks = make_networks(SDXL_CHANNELS, torch.device("meta"), torch.float32)
    face = networks.adapter.face_tokens(torch.zeros(512), torch.zeros(512))
    whole = guide()
    return replace(whole, people=tuple(replace(one, face=face) for one in whole.people), identitynet=networks.identitynet)


@pytest.mark.parametrize("name", OTHERS)
def test_both_webuis_refuse_it_by_name_and_with_the_cure(name: str, guidance: Prepared, tmp_path: Path) -> None:
    make, words = OTHERS[name]
    sentences = set()
    for kind in ("a1111", "forge"):
        unet = make()
        called = type(unet).__name__
        shown = ldm_like(unet, ForgeUNet) if kind == "forge" and name != "SD3 or Flux" else unet
        for world in world_of(kind, unet, tmp_path):
            world.swap(shown)
            with pytest.raises(UnsupportedModel) as refused:
                world.attach(guidance)
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in shown.modules())
            sentences.add(str(refused.value).replace(type(shown).__name__, called))
    (sentence,) = sentences
    assert words in sentence
    assert "SDXL checkpoint" in sentence


def test_sdxl_itself_is_not_refused(guidance: Prepared, tmp_path: Path) -> None:
    """The same way of making a UNet, in SDXL's shape."""
    for kind in ("a1111", "forge"):
        unet = ldm_unet(2048, 2816, {640: 2, 1280: 10}, **XL_LEVELS)
        for world in world_of(kind, unet, tmp_path):
            world.attach(guidance)
            world.host.detach()


def test_forge_refuses_a_flow_prediction_and_takes_v(guidance: Prepared, tmp_path: Path) -> None:
    """Forge knows it by its predictor, whose kinds are `epsilon`, `v_prediction`, `edm` and `const`."""
    for world in world_of("forge", ldm_unet(2048, 2816, {640: 2, 1280: 10}, **XL_LEVELS), tmp_path):
        predictor = world.webui.patcher.model.predictor
        predictor.prediction_type = "v_prediction"
        world.attach(guidance)
        world.host.detach()
        predictor.prediction_type = "const"
        with pytest.raises(UnsupportedModel, match="predicts a flow"):
            world.attach(guidance)


def test_an_inpainting_sdxl_is_guided_by_its_latents_alone(guide: Guide, diffusers_unet: UNet2DConditionModel) -> None:
    """Its UNet gets mask and picture behind the latents. One that takes no notice of them answers as the other does."""
    usual, inputs = ldm_unet_like(diffusers_unet), Inputs(diffusers_unet, 2)
    inpainting = copy.deepcopy(usual)
    stem = inpainting.input_blocks[0][0]
    stem.weight = nn.Parameter(torch.cat([stem.weight, torch.zeros(len(stem.weight), 5, 3, 3)], dim=1))
    with_picture = torch.cat([inputs.latents, torch.randn(2, 5, *inputs.latents.shape[2:])], dim=1)
    found = []
    for unet, x in ((usual, inputs.latents), (inpainting, with_picture)):
        with torch.no_grad():
            plain = unet(x, inputs.timestep, context=inputs.context, y=inputs.vector)
            with attach(unet, guide().conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)):
                found.append(unet(x, inputs.timestep, context=inputs.context, y=inputs.vector))
    assert relative_error(found[1], found[0]) < 1e-5
    assert relative_error(plain, found[0]) > 1e-3
