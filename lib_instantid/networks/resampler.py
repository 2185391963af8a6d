"""Perceivers: queries that attend to an embedding or to image features, and become tokens for the cross-attentions.

Source: InstantID ip_adapter/resampler.py at 2145b67 and IP-Adapter ip_adapter_faceid.py (perceivers as in open_flamingo), with
their parameter names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_instantid.constants import HEAD_SIZE


class Linear(nn.Linear):
    """A linear layer that computes in its input's dtype. It converts its weights in each call and keeps no converted copy."""

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out), in the dtype of x."""
        return functional.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class LayerNorm(nn.LayerNorm):
    """A normalisation that computes in its input's dtype, as `Linear` does."""

    def forward(self, x: Tensor) -> Tensor:
        """x (…, size) → the same shape and dtype."""
        return functional.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class PerceiverAttention(nn.Module):
    """Attention of the latents (here: the perceiver's queries) to the projected features and to themselves."""

    def __init__(self, size: int, inner_size: int) -> None:
        super().__init__()
        self.heads = inner_size // HEAD_SIZE
        self.norm1 = LayerNorm(size)  # of the features
        self.norm2 = LayerNorm(size)  # of the latents
        self.to_q = Linear(size, inner_size, bias=False)
        self.to_kv = Linear(size, inner_size * 2, bias=False)
        self.to_out = Linear(inner_size, size, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """features (B, N, size), latents (B, queries, size) → (B, queries, size)."""
        latents = self.norm2(latents)
        # The features come first, as in the source.
        sequence = torch.cat([self.norm1(features), latents], dim=1)
        query = self._split(self.to_q(latents))
        key, value = map(self._split, self.to_kv(sequence).chunk(2, dim=-1))
        scale = HEAD_SIZE**-0.25  # scales queries and keys alike; this and the float32 softmax are as in the source
        weight = ((query * scale) @ (key * scale).transpose(-2, -1)).float().softmax(dim=-1).to(value.dtype)
        return self.to_out((weight @ value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, HEAD_SIZE)).transpose(1, 2)


def _feed_forward(size: int, inner_size: int) -> nn.Sequential:
    return nn.Sequential(LayerNorm(size), Linear(size, inner_size, bias=False), nn.GELU(), Linear(inner_size, size, bias=False))


class Perceiver(nn.Module):
    """Turns queries into tokens by attention to features. The sizes are read off the weights, which have any dtype."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        size = weights["proj_in.weight"].shape[0]
        depth = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        self.proj_in = Linear(weights["proj_in.weight"].shape[1], size)
        self.layers = nn.ModuleList()
        for i in range(depth):
            attention = PerceiverAttention(size, weights[f"layers.{i}.0.to_q.weight"].shape[0])
            self.layers.append(nn.ModuleList([attention, _feed_forward(size, weights[f"layers.{i}.1.1.weight"].shape[0])]))
        self.proj_out = Linear(size, weights["proj_out.weight"].shape[0])
        self.norm_out = LayerNorm(weights["proj_out.weight"].shape[0])

    def tokens(self, latents: Tensor, features: Tensor) -> Tensor:
        """latents (B, queries, size), features (B, N, their size), both float32 or wider → tokens (B, queries, context
        size)."""
        x = self.proj_in(features)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        return self.norm_out(self.proj_out(latents))


class Resampler(Perceiver):
    """A perceiver with learnt queries, `latents`. It turns raw face embeddings (InstantID) or image features (IP-Adapter Plus)
    into tokens.

    Computes in float32, because it runs only once per person or picture and every network uses its tokens.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__(weights)
        self.latents = nn.Parameter(torch.empty(weights["latents"].shape))

    def forward(self, features: Tensor) -> Tensor:
        """features (B, N, their size) → tokens (B, T, context size), float32 or wider, on the weights' device."""
        dtype = torch.promote_types(self.latents.dtype, torch.float32)
        latents = self.latents.to(dtype).expand(len(features), -1, -1)
        return self.tokens(latents, features.to(self.latents.device, dtype))
