"""Adapters, and what those of faces read: `python -m training.adapter DATA RUN` writes the embedding of every picture.

An adapter makes tokens, and has in each cross-attention of the UNet a key and a value layer of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from lib_instantid.encoders.face.geometry import align
from lib_instantid.networks.resampler import Resampler
from training.faces import new_recogniser
from training.runs import load_pictures

TOKENS, WIDTH, LAYERS = 16, 128, 2


def new_resampler(features: int, context: int) -> Resampler:
    """InstantID's and IP-Adapter Plus' layout, made small: `TOKENS` tokens. features, context: widths of what it reads, and of
    the tokens."""
    weights = {
        "latents": torch.randn(1, TOKENS, WIDTH) / WIDTH**0.5,
        "proj_in.weight": torch.empty(WIDTH, features),
        "proj_out.weight": torch.empty(context, WIDTH),
    }
    for i in range(LAYERS):
        weights[f"layers.{i}.0.to_q.weight"] = torch.empty(WIDTH, WIDTH)
        weights[f"layers.{i}.1.1.weight"] = torch.empty(2 * WIDTH, WIDTH)
    net = Resampler(weights)
    net.latents.data = weights["latents"] * 0.5
    for attention, _ in net.layers:  # so that from the start what is read weighs as much as the latents
        attention.to_kv.weight.data[WIDTH:] *= 4
    return net


def face_resampler(context: int) -> Resampler:
    """InstantID's. From the start its tokens differ more from person to person than from each other."""
    net = new_resampler(512, context)
    for attention, _ in net.layers:
        attention.norm2.weight.data *= 0.1
    return net


class Adapter(nn.Module):
    """Takes its place in a UNet: `scale` is its part there, and the UNet's context becomes (text, [tokens]).

    Key and value layers begin as the UNet's own. They are kept by the number of the attention, as in the released file.
    """

    def __init__(self, unet: UNet2DConditionModel, image_proj: nn.Module, tokens: int = TOKENS) -> None:
        """image_proj: makes so many tokens."""
        super().__init__()
        self.image_proj = image_proj
        self.ip_adapter = nn.ModuleDict()
        processors = {}
        for number, (name, processor) in enumerate(unet.attn_processors.items()):
            processors[name] = processor
            if name.endswith("attn2.processor"):
                attention = unet.get_submodule(name.removesuffix(".processor"))
                own = IPAdapterAttnProcessor2_0(attention.to_k.out_features, attention.to_k.in_features, num_tokens=(tokens,))
                own.to_k_ip[0].weight.data = attention.to_k.weight.data.clone()
                own.to_v_ip[0].weight.data = attention.to_v.weight.data.clone()
                self.ip_adapter[str(number)] = processors[name] = own
        unet.set_attn_processor(processors)

    def begin_as(self, layers: dict[str, Tensor]) -> None:
        """Begin with the key and value layers of another adapter, which the UNet has learnt to hear."""
        self.ip_adapter.load_state_dict(layers)

    def scale(self, value: float) -> None:
        for own in self.ip_adapter.values():
            own.scale = [value]

    def released(self) -> dict[str, dict[str, Tensor]]:
        """The weights as in the released files."""
        layers = {
            f"{number}.{name}.weight": getattr(own, name)[0].weight.data
            for number, own in self.ip_adapter.items()
            for name in ("to_k_ip", "to_v_ip")
        }
        return {"image_proj": self.image_proj.state_dict(), "ip_adapter": layers}


class References:
    """Embeddings of pictures of the same person as another picture's: only what makes the person helps."""

    def __init__(self, run: Path, number: np.ndarray) -> None:
        """number: of the person, by row of the codes."""
        files = sorted((run / "embeddings").glob("embeddings-*.npy"), key=lambda p: int(p.stem.split("-")[1]))
        self._of = {int(p.stem.split("-")[1]): torch.from_numpy(np.load(p)) for p in files}
        self._number = number

    def own(self, rows: np.ndarray, index: np.ndarray) -> Tensor:
        """(B, 512), raw, of the pictures themselves. index: of a picture in its file, by row of the codes."""
        return torch.stack([self._of[self._own(int(self._number[row]))[1]][int(index[row])] for row in rows])

    @property
    def all(self) -> Tensor:
        """(N, 512), raw."""
        return torch.cat(list(self._of.values()))

    def of(self, rows: np.ndarray, r: np.random.Generator) -> Tensor:
        """(B, 512), raw."""
        found = []
        for row in rows:
            own, first = self._own(int(self._number[row]))
            found.append(self._of[first][int(r.choice(own))])
        return torch.stack(found)

    def _own(self, number: int) -> tuple[range, int]:
        """Rows of a person's embeddings, and the first person of their file."""
        first = number // 100 * 100
        views = len(self._of[first]) // 100
        return range((number - first) * views, (number - first + 1) * views), first


@torch.no_grad()
def embed(data: Path, run: Path) -> None:
    """Write the raw embedding of every picture, (N, 512) per chunk, seen at its true points."""
    net = new_recogniser().eval()
    net.load_state_dict(torch.load(run / "recogniser.pt", weights_only=True)["model"])
    (run / "embeddings").mkdir(exist_ok=True)
    for pictures, view in zip(*load_pictures(data, below=500_000), strict=True):
        path = run / "embeddings" / f"embeddings-{int(view['number'][0])}.npy"
        if path.is_file():
            continue
        crops = np.stack([align(np.asarray(p), points) for p, points in zip(pictures, view["points"], strict=True)])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        np.save(path, torch.cat([net(part) for part in x.split(64)]).numpy())
        print(path.name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the embedding of every picture.")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    embed(args.data, args.run)


if __name__ == "__main__":
    main()
