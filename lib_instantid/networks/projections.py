"""The layers that turn image features or face embeddings into tokens, one class for each kind of IP-Adapter.

Sizes are read off the weights. All compute in float32 from weights of any dtype, as they run once per picture. Source:
IP-Adapter ip_adapter/ip_adapter.py, ip_adapter_faceid.py and ip_adapter_faceid_separate.py, with their parameter names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib_instantid.networks.resampler import LayerNorm, Linear, Perceiver


class ImageProjection(nn.Module):
    """The plain IP-Adapter's: one layer makes tokens of a whole picture's embedding."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        rows, features = weights["proj.weight"].shape
        self.proj = Linear(features, rows)
        self.norm = LayerNorm(weights["norm.weight"].shape[0])

    def forward(self, features: Tensor) -> Tensor:
        """features (B, their size), one vector per picture → (B, T, context size), float32."""
        return self.norm(self.proj(features.float()).unflatten(-1, (-1, self.norm.normalized_shape[0])))


class FullProjection(nn.Module):
    """The full IP-Adapter's: two layers make a token of each of a picture's features."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        inner, features = weights["proj.0.weight"].shape
        context = weights["proj.2.weight"].shape[0]
        self.proj = nn.Sequential(Linear(features, inner), nn.GELU(), Linear(inner, context), LayerNorm(context))

    def forward(self, features: Tensor) -> Tensor:
        """features (B, N, their size) → (B, N, context size), float32."""
        found: Tensor = self.proj(features.float())
        return found


class FaceProjection(nn.Module):
    """FaceID's and FaceID Portrait's: two layers make tokens of a normalised face embedding."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        inner, embedding = weights["proj.0.weight"].shape
        self.proj = nn.Sequential(Linear(embedding, inner), nn.GELU(), Linear(inner, weights["proj.2.weight"].shape[0]))
        self.norm = LayerNorm(weights["norm.weight"].shape[0])

    def forward(self, embeddings: Tensor) -> Tensor:
        """embeddings (B, 512), of length 1 each → (B, T, context size), float32."""
        return self.norm(self.proj(embeddings.float()).unflatten(-1, (-1, self.norm.normalized_shape[0])))


class FacePlusProjection(FaceProjection):
    """FaceID Plus' and PlusV2's: the tokens of the face embedding attend to the image features of the face."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__(weights)
        start = "perceiver_resampler."
        own = {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
        self.perceiver_resampler = Perceiver(own)

    def with_structure(self, embeddings: Tensor, features: Tensor, structure: float | None) -> Tensor:
        """embeddings (B, 512), of length 1 each, and features (B, N, their size) → (B, T, context size), float32.

        structure: None for Plus. For PlusV2 the factor of what the features give, which is added to the face's tokens.
        """
        own = self(embeddings)
        seen = self.perceiver_resampler.tokens(own, features.float())
        return seen if structure is None else torch.add(own, seen, alpha=structure)
