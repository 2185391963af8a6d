"""IP-Adapters: make tokens of a face or a picture, and of them the keys and values for each cross-attention of the UNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lib_instantid.networks.attention import KeyValue
from lib_instantid.networks.resampler import Linear, Resampler


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptTokens:
    """A face or a picture as input of the networks: row 0 unconditional, row 1 conditional.

    tokens: (2, T, context size). keys_values: by the number of the cross-attention (`sites`), (2, T, width of the attention)
    each. All are float32 or wider, on the adapter's device.
    """

    tokens: Tensor
    keys_values: Mapping[int, KeyValue]


class FaceTokenMaker(Protocol):
    """An adapter, or an object that remembers its results."""

    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> PromptTokens:
        """Make the tokens, keys and values of a face. embedding, unconditional: (512,) float32, raw.

        The reference's unconditional embedding is the zero vector. It goes through the resampler too, so its tokens are not
        zero.
        """
        ...


class SiteLayers(nn.Module):
    """The key and value layer of one cross-attention, `to_k_ip` and `to_v_ip` as in the file."""

    def __init__(self, context_size: int, width: int) -> None:
        super().__init__()
        self.to_k_ip = Linear(context_size, width, bias=False)
        self.to_v_ip = Linear(context_size, width, bias=False)


class Adapter(nn.Module):
    """Projection and key/value layers, named as in the files of IP-Adapters. The sizes are read off the weights.

    projection: makes the layers that turn features into tokens, of the weights below `image_proj`; by default InstantID's.
    `ip_adapter` maps the number of a cross-attention, as a string, to its layers.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], projection: Callable[[Mapping[str, Tensor]], nn.Module] = Resampler
    ) -> None:
        super().__init__()
        self.image_proj = projection(sub_weights(weights, "image_proj"))
        layers = sub_weights(weights, "ip_adapter")
        pairs = [name.partition(".") for name in layers]
        numbers = {int(n) for n, _, rest in pairs if rest in ("to_k_ip.weight", "to_v_ip.weight") and n.isdigit()}
        keys = {n: layers[f"{n}.to_k_ip.weight"] for n in sorted(numbers)}
        self.ip_adapter = nn.ModuleDict({str(n): SiteLayers(key.shape[1], key.shape[0]) for n, key in keys.items()})

    @torch.no_grad()
    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> PromptTokens:
        """See `FaceTokenMaker`."""
        return self.prompt_tokens(self.image_proj(torch.stack([unconditional, embedding])[:, None]))

    @torch.no_grad()
    def prompt_tokens(self, tokens: Tensor) -> PromptTokens:
        """The keys and values of tokens (2, T, context size), row 0 unconditional, row 1 conditional."""
        layers: list[Linear] = [layer for pair in self.ip_adapter.values() for layer in pair.children()]  # type: ignore
        # One tensor for all results, allocated before any weight is converted: separate results, allocated between the
        # converted weights, would keep that memory from being freed.
        whole = tokens.new_empty(*tokens.shape[:2], sum(layer.out_features for layer in layers))
        parts = whole.split([layer.out_features for layer in layers], dim=-1)
        for part, layer in zip(parts, layers, strict=True):
            part.copy_(layer(tokens))
        pairs = zip(self.ip_adapter, map(KeyValue, parts[::2], parts[1::2]), strict=True)
        return PromptTokens(tokens=tokens, keys_values={int(number): pair for number, pair in pairs})


def sub_weights(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, by their names without it; tensors of any shape, unchanged."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
