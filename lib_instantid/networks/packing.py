"""Moves a ControlNet to its device. On a CPU its weights are packed: laid out for oneDNN once, instead of in every call.

The layout and the operators are those that `torch.compile` uses for frozen weights; they need no compiler. Results differ
only by the order of summation. Only the layers of the network's blocks are packed, which hold nearly all of its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lib_instantid.networks.controlnet import ControlNet


def place(net: ControlNet, device: torch.device, dtype: torch.dtype) -> ControlNet:
    """Move a network to a device and dtype. For float32 on a CPU its weights are packed too.

    A packed network cannot be moved or converted again. Layers are packed one by one, so that memory never holds a second
    copy of all weights.
    """
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        for parent in list(chain(net.down_blocks.modules(), net.mid_block.modules())):
            for name, layer in parent.named_children():
                kind = PACKED.get(type(layer))
                if kind and any(p.numel() for p in layer.parameters()):  # not if stored in fp8 or streamed
                    setattr(parent, name, kind(layer))
    return net.to(device, dtype)


class PackedLinear(nn.Module):
    """A linear layer with packed weights."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().float()))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) float32 → (…, out) float32."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return found


class PackedConv2d(nn.Module):
    """A convolution with packed weights."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self._how: list[Any] = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
        weight = layer.weight.detach().float().to_mkldnn()
        self.register_buffer("weight", torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *self._how))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in, H, W) float32 → (B, out, H', W') float32, channels last in memory."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self._how, "none", [], "")
        return found


PACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {nn.Linear: PackedLinear, nn.Conv2d: PackedConv2d}
