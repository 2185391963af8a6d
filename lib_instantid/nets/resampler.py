"""The resampler: a face embedding becomes the tokens that cross-attention reads.

Source: InstantID ip_adapter/resampler.py at 2145b67 (a perceiver as in open_flamingo). Parameter names are the file's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib_instantid.units import HEAD_SIZE


class PerceiverAttention(nn.Module):
    """Latents attend to the projected embedding and to themselves."""

    def __init__(self, size: int, inner_size: int) -> None:
        super().__init__()
        self.heads = inner_size // HEAD_SIZE
        self.norm1 = nn.LayerNorm(size)  # of the embedding
        self.norm2 = nn.LayerNorm(size)  # of the latents
        self.to_q = nn.Linear(size, inner_size, bias=False)
        self.to_kv = nn.Linear(size, inner_size * 2, bias=False)
        self.to_out = nn.Linear(inner_size, size, bias=False)

    def forward(self, embedding: Tensor, latents: Tensor) -> Tensor:
        """embedding (B, 1, size), latents (B, queries, size) → (B, queries, size)."""
        latents = self.norm2(latents)
        # The embedding comes first on purpose: the file's weights were trained so.
        sequence = torch.cat([self.norm1(embedding), latents], dim=1)
        query = self._split(self.to_q(latents))
        key, value = map(self._split, self.to_kv(sequence).chunk(2, dim=-1))
        # Scaling both sides keeps float16 in range; the softmax is in float32 as in the source.
        scale = HEAD_SIZE**-0.25
        weight = ((query * scale) @ (key * scale).transpose(-2, -1)).float().softmax(dim=-1).to(value.dtype)
        return self.to_out((weight @ value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, HEAD_SIZE)).transpose(1, 2)


def _feed_forward(size: int, inner_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(size), nn.Linear(size, inner_size, bias=False), nn.GELU(), nn.Linear(inner_size, size, bias=False)
    )


class Resampler(nn.Module):
    """(B, 512) raw face embeddings → (B, 16, 2048) tokens. Sizes follow from the weights."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        _, queries, size = weights["latents"].shape
        depth = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        self.latents = nn.Parameter(torch.empty(1, queries, size))
        self.proj_in = nn.Linear(weights["proj_in.weight"].shape[1], size)
        self.layers = nn.ModuleList()
        for i in range(depth):
            attention = PerceiverAttention(size, weights[f"layers.{i}.0.to_q.weight"].shape[0])
            self.layers.append(nn.ModuleList([attention, _feed_forward(size, weights[f"layers.{i}.1.1.weight"].shape[0])]))
        self.proj_out = nn.Linear(size, weights["proj_out.weight"].shape[0])
        self.norm_out = nn.LayerNorm(weights["proj_out.weight"].shape[0])

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding (B, 512), raw → tokens (B, queries, context size), in the weights' dtype and on their device."""
        x = self.proj_in(embedding.to(self.latents)[:, None])
        latents: Tensor = self.latents.expand(len(x), -1, -1)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        return self.norm_out(self.proj_out(latents))
