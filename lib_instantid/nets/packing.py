"""Brings IdentityNet to where it computes. On a CPU its weights are laid out for oneDNN once, instead of anew in every call.

The layout and the operators are those that `torch.compile` uses for frozen weights; no compiler is needed for them. What is
multiplied and summed is the same, but for the order of the sums. Only the layers of the network's blocks are meant, which are
nearly all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lib_instantid.nets.identitynet import IdentityNet


def place(net: IdentityNet, device: torch.device, dtype: torch.dtype) -> IdentityNet:
    """Move a network, and pack it where it computes on a CPU in float32. A packed network stays there and in float32.

    A layer at a time takes its packed weights in the place of those it had, so that there is never a second copy of all.
    """
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        for parent in list(chain(net.down_blocks.modules(), net.mid_block.modules())):
            for name, layer in parent.named_children():
                kind = PACKED.get(type(layer))
                if kind and any(p.numel() for p in layer.parameters()):  # neither in fp8 nor brought layer by layer
                    setattr(parent, name, kind(layer))
    return net.to(device, dtype)


class PackedLinear(nn.Module):
    """x (…, in) → (…, out)."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().float()))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return found


class PackedConv2d(nn.Module):
    """x (B, in, H, W) → (B, out, H', W'), channels last in memory."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self._how: list[Any] = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
        weight = layer.weight.detach().float().to_mkldnn()
        self.register_buffer("weight", torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *self._how))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self._how, "none", [], "")
        return found


PACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {nn.Linear: PackedLinear, nn.Conv2d: PackedConv2d}
