"""IP-Adapter Plus and its image encoder: `python -m training.ip_adapter RUN FOLDER` writes them as the released files. Trained
by `training.prompts`.

A resampler makes tokens of a vision tower's features of a picture, which learns with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_instantid.encoders.vision import pixels_of
from lib_instantid.networks.resampler import Resampler
from training import styles
from training.adapter import TOKENS, Adapter, References, face_resampler, new_resampler
from training.checkpoint import part, trained
from training.codes import WHOLE, Batch, Codes
from training.runs import load_pictures, write_by_command

SIDE, PATCH = 8 * WHOLE, 16
"""Of the pictures that the tower takes and of its patches, in px."""

WIDTH, LAYERS = 128, 4

COARSE = 6
"""Side of the coarse code by which tokens learn what is where."""

NAME = "ip-adapter-plus.bin"


def new_tower() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    tower = CLIPVisionModelWithProjection(config)
    begin_with_waves(tower)
    silence_what_is_not_read(tower)
    return tower


@torch.no_grad()
def begin_with_waves(tower: CLIPVisionModelWithProjection) -> None:
    """Set the first weights so that a patch begins as its colours, from coarse to fine, and its place.

    Each filter is a product of cosines, of brightness or of a difference of colours. Finer ones are stronger, as there is less
    of what they see.
    """
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]]) / 2
    counts = (WIDTH // 2, WIDTH // 4, WIDTH // 4)
    phase = (torch.arange(PATCH) + 0.5) * torch.pi / PATCH
    order = sorted(((y, x) for y in range(PATCH) for x in range(PATCH)), key=lambda f: (f[0] + f[1], f))
    filters = [
        (1 + y + x) ** 2 * colour[:, None, None] * torch.outer(torch.cos(phase * y), torch.cos(phase * x)) / PATCH**2
        for colour, count in zip(colours, counts, strict=True)
        for y, x in order[:count]
    ]
    embeddings = tower.vision_model.embeddings
    embeddings.patch_embedding.weight.copy_(torch.stack(filters))
    across = SIDE // PATCH
    waves = torch.pi * (torch.arange(across) + 0.5)[:, None] / across * torch.arange(1, WIDTH // 4 + 1) / 2
    one = torch.cat([waves.cos(), waves.sin()], dim=1)  # (across, WIDTH / 2)
    places = torch.cat([one[:, None].expand(-1, across, -1), one[None].expand(across, -1, -1)], dim=2)
    embeddings.position_embedding.weight[1:] = places.flatten(0, 1)


@torch.no_grad()
def silence_what_is_not_read(tower: CLIPVisionModelWithProjection) -> None:
    """IP-Adapter Plus reads what goes into the last layer: make what comes after zero, and keep it from learning."""
    after = (tower.vision_model.encoder.layers[-1], tower.vision_model.post_layernorm, tower.visual_projection)
    for module in after:
        for weight in module.requires_grad_(False).parameters():
            weight.zero_()


def _resampler(context: int) -> Resampler:
    """From the start each of its tokens looks at other places. context: width of the tokens."""
    net = new_resampler(WIDTH, context)
    for attention, _ in net.layers:
        attention.to_q.weight.data *= 8
    return net


class IPAdapter(nn.Module):
    """What is trained: the vision tower and the adapter, which `unet` then has."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.tower = new_tower()
        context = unet.config.cross_attention_dim
        self.adapter = Adapter(unet, _resampler(context))
        self.read = nn.Linear(TOKENS // 2 * context, unet.config.in_channels * COARSE**2)  # is not shipped, see Teacher

    def forward(self, pixels: Tensor, there: Tensor) -> Tensor:
        """The tokens (B, T, context). pixels: (B, 3, SIDE, SIDE). there: (B,) whether the picture is to be seen; else it is the
        unconditional one, zeros."""
        seen = self.tower(pixels * there[:, None, None, None], output_hidden_states=True)
        return self.adapter.image_proj(seen.hidden_states[-2])


class Teacher(nn.Module):
    """What the tokens are to tell from the first step on, as the UNet asks for little of it: whose face a picture shows, as
    InstantID's tokens do, and what is where.

    It stands for the pictures and captions that a released vision tower has learnt from.
    """

    def __init__(self, adapter: dict[str, Tensor], references: References, codes: Codes) -> None:
        """adapter: InstantID's."""
        super().__init__()
        self._references, self._codes = references, codes
        self._faces = face_resampler(adapter["image_proj.proj_out.weight"].shape[0]).requires_grad_(False)
        self._faces.load_state_dict(part(adapter, "image_proj."))

    @torch.no_grad()
    def faces(self, batch: Batch) -> Tensor:
        """(B, T, context): InstantID's tokens of the pictures."""
        return self._faces(self._references.own(batch.rows, self._codes.index)[:, None])

    def missed(self, model: IPAdapter, tokens: Tensor, batch: Batch) -> Tensor:
        """(B,) how far tokens (B, T, context) are from telling it: their first half the face, the others the rest."""
        half = tokens.shape[1] // 2
        face = (tokens[:, :half] - self.faces(batch)[:, :half]).square().mean((1, 2))
        places = model.read(tokens[:, half:].flatten(1))
        wanted = functional.adaptive_avg_pool2d(batch.codes, COARSE).flatten(1)
        return face + (places - wanted).square().mean(1)


class Shown:
    """What codes show, as the tower takes it."""

    def __init__(self, data: Path, codes: Codes) -> None:
        pictures, views = load_pictures(data, below=500_000)
        self._of = {int(view["number"][0]): chunk for chunk, view in zip(pictures, views, strict=True)}
        self._codes = codes

    def of(self, batch: Batch) -> Tensor:
        """(B, 3, SIDE, SIDE), each of the window itself."""
        codes, found = self._codes, []
        for row, (left, top) in zip(batch.rows, batch.corners, strict=True):
            chunk = self._of[int(codes.number[row]) // 100 * 100]
            picture = styles.apply(str(codes.style[row]), np.asarray(chunk[codes.index[row]]))
            picture = picture[:, ::-1] if codes.mirrored[row] else picture
            found.append(pixels_of(picture[top : top + batch.size, left : left + batch.size], SIDE, "centre"))
        return torch.cat(found)


def export(run: Path, folder: Path) -> None:
    """Write the adapter and `image_encoder/`, in fp16."""
    unet, _, _ = trained(run)
    model = IPAdapter(unet)
    model.load_state_dict(torch.load(run / "ip_adapter.pt", weights_only=True)["mean"])
    model.half()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.adapter.released(), folder / NAME)
    model.tower.save_pretrained(folder / "image_encoder")


if __name__ == "__main__":
    write_by_command("IP-Adapter Plus and its image encoder", export)
