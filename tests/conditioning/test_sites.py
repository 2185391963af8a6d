"""The 70 cross-attentions of SDXL, and which key of the adapter's file belongs to which."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from lib_instantid.conditioning.sites import cross_attention_sites
from tests.ldm_unet import ldm_name, ldm_unet_like

# From the layout of the released file: first number, how many, diffusers' path, ldm's path, width.
LAYOUT = (
    (1, 2, "down_blocks.1.attentions.0", "input_blocks.4.1", 640),
    (5, 2, "down_blocks.1.attentions.1", "input_blocks.5.1", 640),
    (9, 10, "down_blocks.2.attentions.0", "input_blocks.7.1", 1280),
    (29, 10, "down_blocks.2.attentions.1", "input_blocks.8.1", 1280),
    (49, 10, "up_blocks.0.attentions.0", "output_blocks.0.1", 1280),
    (69, 10, "up_blocks.0.attentions.1", "output_blocks.1.1", 1280),
    (89, 10, "up_blocks.0.attentions.2", "output_blocks.2.1", 1280),
    (109, 2, "up_blocks.1.attentions.0", "output_blocks.3.1", 640),
    (113, 2, "up_blocks.1.attentions.1", "output_blocks.4.1", 640),
    (117, 2, "up_blocks.1.attentions.2", "output_blocks.5.1", 640),
    (121, 10, "mid_block.attentions.0", "middle_block.1", 1280),
)
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


@pytest.fixture(scope="module")
def sdxl() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL)


def expected(path: int) -> dict[int, str]:
    return {row[0] + 2 * i: f"{row[path]}.transformer_blocks.{i}.attn2" for row in LAYOUT for i in range(row[1])}


def test_numbers_are_diffusers_positions_among_all_attention_processors(sdxl: UNet2DConditionModel) -> None:
    names = [name.removesuffix(".processor") for name in sdxl.attn_processors]
    assert {site.number: site.name for site in cross_attention_sites(sdxl)} == {
        i: name for i, name in enumerate(names) if name.endswith("attn2")
    }


def test_sdxl_has_70_sites_at_the_paths_of_the_released_layout(sdxl: UNet2DConditionModel) -> None:
    sites = cross_attention_sites(sdxl)
    assert len(sites) == 70
    assert {site.number: site.name for site in sites} == expected(2)
    assert [site.width for site in sites] == [row[4] for row in LAYOUT for _ in range(row[1])]
    assert {site.heads * 64 for site in sites} == {640, 1280}
    assert all(site.heads * 64 == site.width for site in sites)


def test_ldm_names_number_the_same_sites(sdxl: UNet2DConditionModel) -> None:
    ldm = {site.number: ldm_name(site.name + ".to_q").removesuffix(".to_q") for site in cross_attention_sites(sdxl)}
    assert ldm == expected(3)


def test_both_families_give_the_same_layers_to_the_same_weights(diffusers_unet: UNet2DConditionModel) -> None:
    ours, ldms = cross_attention_sites(diffusers_unet), cross_attention_sites(ldm_unet_like(diffusers_unet))
    assert [site.number for site in ours] == [site.number for site in ldms]
    for one, other in zip(ours, ldms, strict=True):
        assert torch.equal(one.module.to_k.weight, other.module.to_k.weight)
        assert one.heads == other.heads


def test_a_model_without_cross_attention_has_no_sites() -> None:
    assert cross_attention_sites(nn.Sequential(nn.Linear(2, 2))) == ()
