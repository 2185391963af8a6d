"""CLIP's vision tower, by transformers: a picture becomes an embedding and features, the input of IP-Adapters.

Its files are read by content, with the names of transformers or of open_clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from PIL import Image

from lib_instantid.encoders.face.faces import Picture

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import CLIPVisionModelWithProjection

Crop = Literal["centre", "whole picture", "face"]

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, RGB from 0 to 1. Source: openai/CLIP clip/clip.py, `_transform`."""

HEADS = 16
"""Attention heads of every released tower (ViT-L, ViT-H, ViT-bigG)."""

QUICK_GELU_WIDTH = 1024
"""Width of OpenAI's ViT-L, whose activation is an approximation of GELU."""

OPEN_CLIP = "visual."
RENAMED = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1": "vision_model.embeddings.patch_embedding",
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""open_clip's names of parts, and transformers'."""

LAYER = "transformer.resblocks."


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a tower sees. embedding: (B, P) of whole pictures. hidden: (B, N, E), the last layer's input, with a first entry for
    the whole picture."""

    embedding: Tensor
    hidden: Tensor


class VisionTower:
    """A tower with weights (`tower_of`)."""

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        self._model = model

    @property
    def side(self) -> int:
        """Width and height of the pictures that it takes, in pixels."""
        return int(self._model.config.image_size)

    def see(self, pixels: Tensor) -> Features:
        """pixels: (B, 3, side, side), as `pixels_of` makes them. Computes in float32 on the CPU."""
        import torch

        with torch.no_grad():
            seen = self._model(pixels, output_hidden_states=True)
        return Features(embedding=seen.image_embeds, hidden=seen.hidden_states[-2])


def tower_of(tensors: Mapping[str, Tensor], heads: int = HEADS) -> VisionTower:
    """Make a tower of a file's tensors. Its sizes are read off them; heads: what they do not tell.

    Raises KeyError or RuntimeError: a tensor is missing or has another shape.
    """
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    named = transformers_names(tensors)
    patches = named["vision_model.embeddings.patch_embedding.weight"]
    width, patch = patches.shape[0], patches.shape[-1]
    places = named["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
    starts = {name.split(".")[3] for name in named if name.startswith("vision_model.encoder.layers.")}
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=named["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection_dim=named["visual_projection.weight"].shape[0],
        num_hidden_layers=len(starts),
        num_attention_heads=heads,
        image_size=round(places**0.5) * patch,
        patch_size=patch,
        hidden_act="quick_gelu" if width == QUICK_GELU_WIDTH else "gelu",
    )
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(config)
    counted = {name: tensor for name, tensor in model.state_dict().items() if name.endswith("position_ids")}
    ids = {name: torch.arange(places + 1)[None] for name in counted}
    model.load_state_dict({**{n: t.float() for n, t in named.items() if n not in ids}, **ids}, strict=True, assign=True)
    embeddings = model.vision_model.embeddings
    if hasattr(embeddings, "position_ids") and embeddings.position_ids.is_meta:  # a buffer that is not saved
        embeddings.register_buffer("position_ids", torch.arange(places + 1)[None], persistent=False)
    return VisionTower(model.eval())


def transformers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the tower, of any shape and unchanged, by transformers' names; those of a text tower are left out."""
    if not any(name.startswith(OPEN_CLIP) for name in tensors):
        return {name: tensor for name, tensor in tensors.items() if name.startswith(("vision_model.", "visual_projection."))}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPEN_CLIP):
            found |= _from_open_clip(name.removeprefix(OPEN_CLIP), tensor)
    return found


def _from_open_clip(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name == "proj":
        return {"visual_projection.weight": tensor.T.contiguous()}
    start = ""
    if name.startswith(LAYER):
        number, _, name = name.removeprefix(LAYER).partition(".")
        start = f"vision_model.encoder.layers.{number}."
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        names = [f"{start}self_attn.{part}_proj.{kind}" for part in "qkv"]
        return dict(zip(names, tensor.chunk(3), strict=True))
    if name in RENAMED:
        return {start + RENAMED[name]: tensor}
    part, _, kind = name.rpartition(".")
    return {f"{start}{RENAMED[part]}.{kind}": tensor}


def pixels_of(picture: Picture, side: int, crop: Crop) -> Tensor:
    """A picture as a tower takes it: (1, 3, side, side) float32 RGB, by CLIP's mean and deviation.

    crop: "centre" cuts the middle square, as the reference does. "whole picture" pads to a square with the mean colour. For
    "face" the picture is already cut to the face. Source: transformers, `CLIPImageProcessor`.
    """
    import torch

    square = padded(picture) if crop == "whole picture" else picture
    height, width = square.shape[:2]
    short = min(height, width)
    size = (int(side * width / short), int(side * height / short))
    resized = np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    cut = resized[top : top + side, left : left + side].astype(np.float32) / 255
    mean, deviation = np.array(MEAN, dtype=np.float32), np.array(DEVIATION, dtype=np.float32)
    return torch.from_numpy((cut - mean) / deviation).permute(2, 0, 1)[None].contiguous()


def padded(picture: Picture) -> Picture:
    """A picture (H, W, 3) in the middle of a square of CLIP's mean colour, uint8 RGB."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    colour = [round(255 * mean) for mean in MEAN]
    return cv2.copyMakeBorder(
        picture, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=colour
    ).astype(np.uint8)
