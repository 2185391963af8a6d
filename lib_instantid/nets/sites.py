"""Where the adapter's layers sit: the cross-attentions of an SDXL UNet, named and numbered once.

The number of a site is its key in `ip-adapter.bin`: its position among diffusers' attention processors, which run over the
down blocks, the up blocks and last the middle block, self-attention even and cross-attention odd. UNets with ldm's module
names (A1111, Forge) are walked in the same order. Source: InstantID `set_ip_adapter` at 2145b67; docs of the 70 sites in
tests/nets/test_sites.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

DOWN, UP, MIDDLE = ("down_blocks", "input_blocks"), ("up_blocks", "output_blocks"), ("mid_block", "middle_block")
CROSS_ATTENTION = ".attn2"


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One cross-attention of a UNet.

    number: its key in the adapter's file. name: its module's path in the UNet.
    module: the attention, with `to_q`, `to_k`, `to_out` and `heads`.
    """

    number: int
    name: str
    module: nn.Module

    @property
    def width(self) -> int:
        return int(self.module.to_k.out_features)  # type: ignore[union-attr, arg-type]  # quantised weights have other shapes

    @property
    def heads(self) -> int:
        return int(self.module.heads)  # type: ignore[arg-type]


def cross_attention_sites(unet: nn.Module) -> tuple[Site, ...]:
    """The sites of a UNet with diffusers' or ldm's module names, in the order of their numbers."""
    found = [(name, module) for name, module in unet.named_modules() if name.endswith(CROSS_ATTENTION)]
    ordered = [
        (name, module) for containers in (DOWN, UP, MIDDLE) for name, module in found if name.partition(".")[0] in containers
    ]
    return tuple(Site(number=2 * i + 1, name=name, module=module) for i, (name, module) in enumerate(ordered))


def describe_unet(unet: nn.Module, sites: tuple[Site, ...]) -> str:
    """The UNet in words, for the error that refuses it."""
    if not sites:
        return f"{type(unet).__name__} without cross-attention (not a Stable Diffusion UNet, or compiled to one piece)"
    context = int(sites[0].module.to_k.in_features)  # type: ignore[union-attr, arg-type]
    family = {768: "SD1.5's", 1024: "SD2's", 1280: "the SDXL refiner's"}.get(context, "an unknown model's")
    if context == 2048:
        family = "an SDXL of another shape (such as SSD-1B)"
    return f"{family} (context of {context} numbers, {len(sites)} cross-attentions)"
