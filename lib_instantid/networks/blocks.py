"""The blocks that a UNet and its ControlNets are made of, with diffusers' parameter names.

Residual blocks with group normalisation, and transformers of SD1.5's or SDXL's kind. Source of the mathematics:
diffusers 0.42 `resnet.py`, `transformer_2d.py`, `attention.py`; the tests compare the results with theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.constants import HEAD_SIZE, SD15_HEADS
from lib_instantid.networks.attention import KeyValue, attend

NORM_GROUPS = 32
RESNET_EPS, TRANSFORMER_EPS = 1e-5, 1e-6
MAX_PERIOD = 10_000


def sinusoidal(values: Tensor, size: int) -> Tensor:
    """(N,) numbers → (N, size) float32: cosines, then sines, of geometric frequencies. Source: SDXL's `timestep_embedding`."""
    half = size // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Attending:
    """The kind of a network's transformers. context_size: numbers per token of their context (text or face).

    convolution: True for SD1.5's kind, with 1 x 1 convolutions around the blocks and eight heads; False for SDXL's kind,
    with linear layers and heads of 64 numbers.
    """

    context_size: int
    convolution: bool = False

    def heads(self, width: int) -> int:
        """Number of heads of an attention of this width."""
        return SD15_HEADS if self.convolution else max(1, width // HEAD_SIZE)


class ResnetBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, time_size: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels_in, eps=RESNET_EPS)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_size, channels)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels, eps=RESNET_EPS)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, C_in, H, W), time (B, time size), already activated → (B, C, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut: Tensor = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return shortcut + h


class Attention(nn.Module):
    """Self-attention, or cross-attention to the keys and values that `project` returns."""

    def __init__(self, width: int, context_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_size, width, bias=False)
        self.to_v = nn.Linear(context_size, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def project(self, context: Tensor) -> KeyValue:
        """context (B, T, context size) → its keys and values, (B, T, width) each."""
        return KeyValue(self.to_k(context), self.to_v(context))

    def forward(self, x: Tensor, context: KeyValue) -> Tensor:
        """x (B, N, width), keys and values of context (B, T, width) → (B, N, width)."""
        out: Tensor = self.to_out[0](attend(self.to_q(x), context, self.heads))
        return out


class GatedProjection(nn.Module):
    """GEGLU: half of the projected numbers, gated by GELU of the other half."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, width) → (B, N, inner)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # Index 1 is a dropout in the source, which has no parameters and does nothing at inference.
        self.net = nn.ModuleList([GatedProjection(width, width * 4), nn.Identity(), nn.Linear(width * 4, width)])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, width) → (B, N, width)."""
        for layer in self.net:
            x = layer(x)
        return x


class TransformerBlock(nn.Module):
    def __init__(self, width: int, attending: Attending) -> None:
        super().__init__()
        heads = attending.heads(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, attending.context_size, heads)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: KeyValue) -> Tensor:
        """x (B, N, width), keys and values of the context (B, T, width) → (B, N, width)."""
        normed = self.norm1(x)
        x = self.attn1(normed, self.attn1.project(normed)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x


class Transformer(nn.Module):
    """Attention over the cells of a feature map."""

    def __init__(self, width: int, depth: int, attending: Attending) -> None:
        super().__init__()
        self.convolution = attending.convolution
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=TRANSFORMER_EPS)
        self.proj_in = self._projection(width)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, attending) for _ in range(depth)])
        self.proj_out = self._projection(width)

    def forward(self, x: Tensor, contexts: tuple[KeyValue, ...]) -> Tensor:
        """x (B, C, H, W) → (B, C, H, W). contexts: keys and values (B, T, C) for each transformer block, in order."""
        h = self._project(self.proj_in, self.norm(x)).flatten(2).transpose(1, 2)
        for block, context in zip(self.transformer_blocks, contexts, strict=True):
            h = block(h, context)
        return self._project(self.proj_out, h.transpose(1, 2).unflatten(2, (x.shape[2], -1))) + x

    def _projection(self, width: int) -> nn.Module:
        return nn.Conv2d(width, width, 1) if self.convolution else nn.Linear(width, width)

    def _project(self, layer: nn.Module, x: Tensor) -> Tensor:
        """x (B, C, H, W) → the same shape."""
        if self.convolution:
            return layer(x)
        return layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (x.shape[2], -1))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, C, H / 2, W / 2), rounded up."""
        return self.conv(x)
