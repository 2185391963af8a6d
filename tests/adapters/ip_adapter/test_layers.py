"""Which blocks get how much, by diffusers' names of SDXL's and SD1.5's blocks."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from lib_instantid.adapters.ip_adapter.layers import SHARES, strength_of
from lib_instantid.conditioning.sites import cross_attention_sites
from tests.conditioning.test_sites import SDXL

UNETS = {"SDXL": SDXL, "SD1.5": {"cross_attention_dim": 768, "attention_head_dim": 8}}


def acting(base: str, layers: str) -> dict[str, float]:
    """The blocks with a strength above 0, of 0.5, by their names."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS[base])
    strength = strength_of(layers, 0.5)  # type: ignore[arg-type]
    assert callable(strength)
    each = {site.name.partition(".transformer")[0]: strength(site.block, site.blocks) for site in cross_attention_sites(unet)}
    return {name: value for name, value in each.items() if value}


def test_style_and_composition_of_sdxl_are_the_blocks_that_instantstyle_names() -> None:
    style, composition = {"up_blocks.0.attentions.1": 0.5}, {"down_blocks.2.attentions.1": 0.5}
    assert acting("SDXL", "style") == style
    assert acting("SDXL", "composition") == composition
    assert acting("SDXL", "style and composition") == {**style, **composition}
    assert set(acting("SDXL", "strong style")) == set(acting("SDXL", "ease in")) - set(composition)


def test_composition_of_sd15_is_two_blocks_of_unequal_weight() -> None:
    assert acting("SD1.5", "composition") == {"down_blocks.2.attentions.0": 0.125, "down_blocks.2.attentions.1": 0.5}
    style = set(acting("SD1.5", "style"))
    assert style == {f"down_blocks.{i}.attentions.{j}" for i in (0, 1) for j in (0, 1)} | {
        f"up_blocks.{i}.attentions.{j}" for i, j in ((1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2))
    }


@pytest.mark.parametrize(
    ("layers", "block", "share"),
    [("ease in", 0, 1.0), ("ease in", 10, 0.05 + 0.95 / 11), ("ease out", 0, 0.05), ("ease in-out", 0, 0.05)],
)
def test_curves_over_sdxls_eleven_blocks(layers: str, block: int, share: float) -> None:
    assert SHARES[layers](block, 11) == pytest.approx(share)


def test_everything_is_one_number() -> None:
    assert strength_of("all", 0.7) == 0.7
