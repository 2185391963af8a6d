"""Finds the attentions of a UNet, in which parts act, and numbers them.

The number of an attention is its key in the files of IP-Adapters: its position among diffusers' attention processors. These
are in the order down blocks, up blocks, middle block; self-attentions have even numbers, cross-attentions odd ones. UNets with
ldm's module names (A1111, Forge) are numbered in the same order. Source: InstantID `set_ip_adapter` at 2145b67. The numbers of
SDXL's 70 cross-attentions are listed in tests/conditioning/test_sites.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from lib_instantid.errors import UnsupportedModel

DOWN, UP, MIDDLE = ("down_blocks", "input_blocks"), ("up_blocks", "output_blocks"), ("mid_block", "middle_block")
SELF_ATTENTION, CROSS_ATTENTION = ".attn1", ".attn2"
TRANSFORMER = ".transformer_blocks."
"""Follows the name of a block's transformer in the name of an attention."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One attention of a UNet.

    number: its key in an IP-Adapter's file. name: its module's path in the UNet. cross: whether it attends to the text.
    module: the attention itself, with `to_q`, `to_k`, `to_v`, `to_out` and `heads`. block, blocks: position of its block among
    the UNet's blocks with attentions, in the order in which they run, from 0; and how many these are.
    """

    number: int
    block: int
    blocks: int
    name: str
    cross: bool
    module: nn.Module

    @property
    def width(self) -> int:
        """Numbers per key and value, over all heads."""
        return int(self.module.to_k.out_features)  # type: ignore[union-attr, arg-type]  # quantised weights have other shapes

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.module.heads)  # type: ignore[arg-type]

    def linear(self, name: str) -> nn.Module:
        """One of the attention's four linear layers: "to_q", "to_k", "to_v" or "to_out"."""
        layer = getattr(self.module, name)
        return layer[0] if name == "to_out" else layer


def attention_sites(unet: nn.Module) -> tuple[Site, ...]:
    """Every attention of a UNet with diffusers' or ldm's module names, in the order of their numbers."""
    found = {name: module for name, module in unet.named_modules() if name.endswith((SELF_ATTENTION, CROSS_ATTENTION))}
    run = list(dict.fromkeys(_block(name) for name in _ordered(found, (DOWN, MIDDLE, UP))))
    return tuple(
        Site(
            number=number,
            block=run.index(_block(name)),
            blocks=len(run),
            name=name,
            cross=name.endswith(CROSS_ATTENTION),
            module=found[name],
        )
        for number, name in enumerate(_ordered(found, (DOWN, UP, MIDDLE)))
    )


def _ordered(names: Iterable[str], containers: tuple[tuple[str, str], ...]) -> list[str]:
    """The names by container, in each container as they come."""
    return [name for own in containers for name in names if name.partition(".")[0] in own]


def _block(name: str) -> str:
    return name.partition(TRANSFORMER)[0]


def cross_attention_sites(unet: nn.Module) -> tuple[Site, ...]:
    """The attentions that attend to the text, in the order of their numbers."""
    return tuple(site for site in attention_sites(unet) if site.cross)


def check_widths(widths: Mapping[int, int], unet: nn.Module, misfit: str) -> None:
    """Raise UnsupportedModel unless a UNet has exactly these cross-attentions, with these widths.

    widths: by the numbers of the attentions. misfit: the end of the error.
    """
    sites = cross_attention_sites(unet)
    if {site.number: site.width for site in sites} != widths:
        raise UnsupportedModel(f"This checkpoint's UNet is {describe_unet(unet, sites)}; {misfit}")


def context_size(unet: nn.Module) -> int | None:
    """Numbers of a token of the text that a UNet takes; None without cross-attention, or with layers of another kind."""
    sites = cross_attention_sites(unet)
    found = getattr(sites[0].module.to_k, "in_features", None) if sites else None
    return None if found is None else int(found)


def describe_unet(unet: nn.Module, sites: tuple[Site, ...]) -> str:
    """The UNet in words, for the error that refuses it. sites: the UNet's cross-attentions."""
    if not sites:
        return f"{type(unet).__name__} without cross-attention (not a Stable Diffusion UNet, or compiled to one piece)"
    context = context_size(unet)
    family = {768: "SD1.5's", 1024: "SD2's", 1280: "the SDXL refiner's"}.get(context or 0, "an unknown model's")
    if context == 2048:
        family = "an SDXL of another shape (such as SSD-1B)"
    return f"{family} (context of {context} numbers, {len(sites)} cross-attentions)"
