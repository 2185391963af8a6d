"""The blocks that an SDXL UNet and IdentityNet are made of, with diffusers' parameter names.

Shapes follow SDXL: residual blocks with group normalisation, transformers with linear projections. Source of the
mathematics: diffusers 0.42 `resnet.py`, `transformer_2d.py`, `attention.py`; agreement is tested against them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.nets.attention import KeyValue, attend
from lib_instantid.units import HEAD_SIZE

NORM_GROUPS = 32
RESNET_EPS, TRANSFORMER_EPS = 1e-5, 1e-6
MAX_PERIOD = 10_000


def sinusoidal(values: Tensor, size: int) -> Tensor:
    """(N,) numbers → (N, size) float32: cosines, then sines, of geometric frequencies. Source: SDXL's `timestep_embedding`."""
    half = size // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def heads_of(width: int) -> int:
    return max(1, width // HEAD_SIZE)


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
        """x (B, C_in, H, W), time (B, time size) after its activation → (B, C, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut: Tensor = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return shortcut + h


class Attention(nn.Module):
    """Self-attention, or cross-attention to keys and values that `project` made beforehand."""

    def __init__(self, width: int, context_size: int) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_size, width, bias=False)
        self.to_v = nn.Linear(context_size, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def project(self, context: Tensor) -> KeyValue:
        return KeyValue(self.to_k(context), self.to_v(context))

    def forward(self, x: Tensor, context: KeyValue) -> Tensor:
        out: Tensor = self.to_out[0](attend(self.to_q(x), context, self.heads))
        return out


class GatedProjection(nn.Module):
    """GEGLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # Index 1 is a dropout in the source: no parameters, and nothing to do at inference.
        self.net = nn.ModuleList([GatedProjection(width, width * 4), nn.Identity(), nn.Linear(width * 4, width)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class TransformerBlock(nn.Module):
    def __init__(self, width: int, context_size: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, width)
        self.attn2 = Attention(width, context_size)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: KeyValue) -> Tensor:
        normed = self.norm1(x)
        x = self.attn1(normed, self.attn1.project(normed)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x


class Transformer(nn.Module):
    """Attention over the cells of a feature map."""

    def __init__(self, width: int, depth: int, context_size: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=TRANSFORMER_EPS)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context_size) for _ in range(depth)])
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, contexts: tuple[KeyValue, ...]) -> Tensor:
        """x (B, C, H, W); contexts: one per transformer block → (B, C, H, W)."""
        height = x.shape[2]
        h = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block, context in zip(self.transformer_blocks, contexts, strict=True):
            h = block(h, context)
        return self.proj_out(h).transpose(1, 2).unflatten(2, (height, -1)) + x


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
