"""InstantID's adapter: tokens of a face, and the key and value layers that each cross-attention site of the UNet gets."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lib_instantid.errors import BadModelFile, UnsupportedModel
from lib_instantid.nets.attention import KeyValue
from lib_instantid.nets.kinds import Kind, expect
from lib_instantid.nets.resampler import Linear, Resampler
from lib_instantid.nets.sites import Site, describe_unet
from lib_instantid.nets.weights import Weights, load_strictly, read_weights, sub_weights


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
        keys = {
            int(number): tensor
            for name, tensor in sub_weights(weights.tensors, "ip_adapter").items()
            for number, _, rest in [name.partition(".")]
            if rest == "to_k_ip.weight" and number.isdigit()
        }
        self.ip_adapter = nn.ModuleDict({str(n): SiteLayers(keys[n].shape[1], keys[n].shape[0]) for n in sorted(keys)})

    @property
    def widths(self) -> dict[int, int]:
        """Width of the key and value layers by site number."""
        return {int(number): layers.to_k_ip.out_features for number, layers in self.ip_adapter.items()}  # type: ignore

    @torch.no_grad()
    def tokens(self, embedding: Tensor, unconditional: Tensor) -> Tensor:
        """Two (512,) raw embeddings → (2, tokens, context size): row 0 unconditional, row 1 conditional.

        The reference's unconditional embedding is the zero vector; it passes the resampler too and its tokens are not zero.
        """
        tokens: Tensor = self.image_proj(torch.stack([unconditional, embedding]))
        return tokens

    @torch.no_grad()
    def keys_values(self, tokens: Tensor, sites: tuple[Site, ...]) -> tuple[KeyValue, ...]:
        """tokens (rows, tokens, context size) → keys and values for each site, in the order of `sites`, in the tokens'
        dtype."""
        layers = [self.ip_adapter[str(site.number)] for site in sites]
        return tuple(KeyValue(pair.to_k_ip(tokens), pair.to_v_ip(tokens)) for pair in layers)  # type: ignore[operator]

    def check_fits(self, sites: tuple[Site, ...], unet: nn.Module) -> None:
        """Raise UnsupportedModel unless every site of this UNet has its pair of layers and no pair is left over."""
        widths = self.widths
        if {site.number: site.width for site in sites} != widths:
            raise UnsupportedModel(
                f"This checkpoint's UNet is {describe_unet(unet, sites)}; the InstantID adapter is for an SDXL UNet with "
                f"{len(widths)} cross-attentions. Choose an SDXL checkpoint, or turn InstantID off."
            )


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
