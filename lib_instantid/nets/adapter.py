"""InstantID's adapter: tokens of a face, and the key and value layers that each cross-attention site of the UNet gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lib_instantid.errors import BadModelFile, UnsupportedModel
from lib_instantid.nets.attention import KeyValue
from lib_instantid.nets.kinds import Kind, expect
from lib_instantid.nets.resampler import Linear, Resampler
from lib_instantid.nets.sites import Site, describe_unet
from lib_instantid.nets.weights import Weights, load_strictly, read_weights, sub_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceTokens:
    """What the networks get of a face: row 0 unconditional, row 1 conditional.

    tokens: (2, T, context size). keys_values: by the number of the cross-attention site, (2, T, width of the site) each. In
    float32 or wider, on the adapter's device.
    """

    tokens: Tensor
    keys_values: Mapping[int, KeyValue]

    def check_fit(self, sites: tuple[Site, ...], unet: nn.Module) -> None:
        """Raise UnsupportedModel unless every site of this UNet has its keys and values, and none are left over."""
        widths = {number: pair.key.shape[-1] for number, pair in self.keys_values.items()}
        if {site.number: site.width for site in sites} != widths:
            raise UnsupportedModel(
                f"This checkpoint's UNet is {describe_unet(unet, sites)}; the InstantID adapter is for an SDXL UNet with "
                f"{len(widths)} cross-attentions. Choose an SDXL checkpoint, or turn InstantID off."
            )


class FaceTokenMaker(Protocol):
    """An adapter, or what remembers its work."""

    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> FaceTokens:
        """Of two (512,) raw embeddings, float32.

        The reference's unconditional embedding is the zero vector; it passes the resampler too and its tokens are not zero.
        """
        ...


class SiteLayers(nn.Module):
    """The pair of one site, `to_k_ip` and `to_v_ip` as in the file."""

    def __init__(self, context_size: int, width: int) -> None:
        super().__init__()
        self.to_k_ip = Linear(context_size, width, bias=False)
        self.to_v_ip = Linear(context_size, width, bias=False)


class Adapter(nn.Module):
    """Resampler and key/value layers, named as in `ip-adapter.bin`; sizes follow from the weights.

    `ip_adapter` maps a site's number, as a string, to its layers.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.image_proj = Resampler(sub_weights(weights.tensors, "image_proj"))
        layers = sub_weights(weights.tensors, "ip_adapter")
        pairs = [name.partition(".") for name in layers]
        numbers = {int(n) for n, _, rest in pairs if rest in ("to_k_ip.weight", "to_v_ip.weight") and n.isdigit()}
        keys = {n: layers[f"{n}.to_k_ip.weight"] for n in sorted(numbers)}
        self.ip_adapter = nn.ModuleDict({str(n): SiteLayers(key.shape[1], key.shape[0]) for n, key in keys.items()})

    @torch.no_grad()
    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> FaceTokens:
        """See `FaceTokenMaker`."""
        tokens: Tensor = self.image_proj(torch.stack([unconditional, embedding]))
        layers: list[Linear] = [layer for pair in self.ip_adapter.values() for layer in pair.children()]  # type: ignore
        # In one piece, made before any layer's weight is converted: results scattered between those would keep them in memory.
        whole = tokens.new_empty(*tokens.shape[:2], sum(layer.out_features for layer in layers))
        parts = whole.split([layer.out_features for layer in layers], dim=-1)
        for part, layer in zip(parts, layers, strict=True):
            part.copy_(layer(tokens))
        pairs = zip(self.ip_adapter, map(KeyValue, parts[::2], parts[1::2]), strict=True)
        return FaceTokens(tokens=tokens, keys_values={int(number): pair for number, pair in pairs})


def load_adapter(path: Path) -> Adapter:
    """Read `ip-adapter.bin` or a conversion of it, by content. The layers keep the file's dtype.

    Raises MissingModelFile or BadModelFile.
    """
    weights = read_weights(path)
    expect(weights, Kind.ADAPTER, "adapter")
    try:
        with torch.device("meta"):
            adapter = Adapter(weights)
    except (LookupError, ValueError) as error:
        raise BadModelFile(f"adapter {path}: not a complete InstantID adapter ({error}). Fetch the file again.") from error
    load_strictly(adapter, weights, weights.tensors, "InstantID adapter")
    return adapter
