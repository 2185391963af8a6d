"""FaceID: `python -m training.faceid RUN FOLDER` writes it as the released file. Trained by `training.prompts`.

Two layers make tokens of a face embedding, and a LoRA is in every attention of the UNet.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import normalize

from lib_instantid.networks.projections import FaceProjection
from training.adapter import Adapter, face_resampler
from training.checkpoint import part, trained
from training.runs import write_by_command

TOKENS, INNER, RANK = 4, 512, 16

FIRST_STEPS = 2000
"""In which its tokens become like InstantID's, before it is trained in the UNet."""

NAME = "ip-adapter-faceid-antelopev2.bin"
"""It takes the embeddings that InstantID takes, which the name says: the released ones were trained with others."""


def _projection(context: int) -> FaceProjection:
    """context: width of the tokens."""
    shapes = {"proj.0.weight": (INNER, 512), "proj.2.weight": (TOKENS * context, INNER), "norm.weight": (context,)}
    net = FaceProjection({name: torch.empty(shape) for name, shape in shapes.items()})
    nn.init.normal_(net.proj[0].weight)  # the embeddings have length 1
    return net


class LowRank(nn.Module):
    """A product that is added to what a linear layer makes. It begins as zero."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.down = nn.Linear(layer.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.normal_(self.down.weight, std=1 / RANK)
        nn.init.zeros_(self.up.weight)
        layer.register_forward_hook(lambda _layer, given, made: made + self.up(self.down(given[0])))


class FaceID(nn.Module):
    """What is trained: the adapter and its LoRA, which `unet` then has. The LoRA is kept by the number of the attention."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.adapter = Adapter(unet, _projection(unet.config.cross_attention_dim), TOKENS)
        self.lora = nn.ModuleDict()
        for number, name in enumerate(unet.attn_processors):
            attention = unet.get_submodule(name.removesuffix(".processor"))
            layers = {"to_q": attention.to_q, "to_k": attention.to_k, "to_v": attention.to_v, "to_out": attention.to_out[0]}
            self.lora[str(number)] = nn.ModuleDict({own: LowRank(layer) for own, layer in layers.items()})

    def forward(self, embeddings: Tensor, there: Tensor) -> Tensor:
        """The tokens (B, T, context). embeddings: (B, 512), raw. there: (B,) whether the face is to be known."""
        return self.adapter.image_proj(normalize(embeddings, dim=-1) * there[:, None])

    def begin_as_instantid(self, adapter: dict[str, Tensor], embeddings: Tensor) -> None:
        """Begin with the key and value layers of InstantID's adapter, and with tokens like its first ones, of which the
        others are near copies: the UNet has learnt to hear them. embeddings: (N, 512), raw, of faces to learn this of."""
        self.adapter.begin_as(part(adapter, "ip_adapter."))
        resampler = face_resampler(self.adapter.image_proj.norm.weight.numel())
        resampler.load_state_dict(part(adapter, "image_proj."))
        with torch.no_grad():
            faces = torch.cat([torch.zeros(len(embeddings) // 8, 512), embeddings])
            wanted = torch.cat([resampler(few[:, None])[:, :TOKENS] for few in faces.split(256)])
        optimiser = torch.optim.Adam(self.adapter.image_proj.parameters(), lr=1e-3)
        for _ in range(FIRST_STEPS):
            rows = torch.randint(len(faces), (256,))
            tokens = self(faces[rows], (faces[rows] != 0).any(1))
            loss = (tokens - wanted[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def released(self) -> dict[str, dict[str, Tensor]]:
        """The weights as in the released files."""
        found = self.adapter.released()
        lora = {
            f"{number}.{name}_lora.{half}.weight": getattr(pair, half).weight.data
            for number, layers in self.lora.items()
            for name, pair in layers.items()
            for half in ("down", "up")
        }
        return {**found, "ip_adapter": {**found["ip_adapter"], **lora}}


def export(run: Path, folder: Path) -> None:
    """Write the file, in fp16."""
    unet, _, _ = trained(run)
    model = FaceID(unet)
    model.load_state_dict(torch.load(run / "faceid.pt", weights_only=True)["mean"])
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.half().released(), folder / NAME)


if __name__ == "__main__":
    write_by_command("FaceID", export)
