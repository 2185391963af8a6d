"""The resampler: a face embedding becomes the tokens that cross-attention reads.

Source: InstantID ip_adapter/resampler.py at 2145b67 (a perceiver as in open_flamingo). Parameter names are the file's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_instantid.units import HEAD_SIZE


class Linear(nn.Linear):
    """Computes in its input's dtype, whatever the weights are kept in: a layer at a time, so that no second copy is."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class LayerNorm(nn.LayerNorm):
    """As `Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class PerceiverAttention(nn.Module):
    """Latents attend to the projected embedding and to themselves."""

    def __init__(self, size: int, inner_size: int) -> None:
        super().__init__()
        self.heads = inner_size // HEAD_SIZE
        self.norm1 = LayerNorm(size)  # of the embedding
        self.norm2 = LayerNorm(size)  # of the latents
        self.to_q = Linear(size, inner_size, bias=False)
        self.to_kv = Linear(size, inner_size * 2, bias=False)
        self.to_out = Linear(inner_size, size, bias=False)

    def forward(self, embedding: Tensor, latents: Tensor) -> Tensor:
        """embedding (B, 1, size), latents (B, queries, size) → (B, queries, size)."""
        latents = self.norm2(latents)
        # The embedding comes first on purpose: the file's weights were trained so.
        sequence = torch.cat([self.norm1(embedding), latents], dim=1)
        query = self._split(self.to_q(latents))
        key, value = map(self._split, self.to_kv(sequence).chunk(2, dim=-1))
        scale = HEAD_SIZE**-0.25  # on both sides, and the softmax in float32, as in the source
        weight = ((query * scale) @ (key * scale).transpose(-2, -1)).float().softmax(dim=-1).to(value.dtype)
        return self.to_out((weight @ value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, HEAD_SIZE)).transpose(1, 2)


def _feed_forward(size: int, inner_size: int) -> nn.Sequential:
    return nn.Sequential(LayerNorm(size), Linear(size, inner_size, bias=False), nn.GELU(), Linear(inner_size, size, bias=False))


class Resampler(nn.Module):
    """(B, 512) raw face embeddings → (B, 16, 2048) tokens. Sizes follow from the weights.

    It runs once per person and its tokens feed everything, so it computes in float32 from weights of any dtype.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        _, queries, size = weights["latents"].shape
        depth = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        self.latents = nn.Parameter(torch.empty(1, queries, size))
        self.proj_in = Linear(weights["proj_in.weight"].shape[1], size)
        self.layers = nn.ModuleList()
        for i in range(depth):
            attention = PerceiverAttention(size, weights[f"layers.{i}.0.to_q.weight"].shape[0])
            self.layers.append(nn.ModuleList([attention, _feed_forward(size, weights[f"layers.{i}.1.1.weight"].shape[0])]))
        self.proj_out = Linear(size, weights["proj_out.weight"].shape[0])
        self.norm_out = LayerNorm(weights["proj_out.weight"].shape[0])

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding (B, 512), raw → tokens (B, queries, context size), in float32 or wider and on the weights' device."""
        dtype = torch.promote_types(self.latents.dtype, torch.float32)
        x = self.proj_in(embedding.to(self.latents.device, dtype)[:, None])
        latents: Tensor = self.latents.to(dtype).expand(len(x), -1, -1)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        return self.norm_out(self.proj_out(latents))
