"""Recognises IP-Adapters and the vision towers that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_instantid.weights.ip_adapters import adapter_shape
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

IP_ADAPTER = "IP-Adapter"
ENCODER = "image encoder"

TOWERS = {1024: "ViT-L", 1280: "ViT-H", 1664: "ViT-bigG"}
"""The released towers by their width."""

PATCHES = ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight")
"""The first layer's name in transformers and in open_clip."""

CHECKPOINT = ("model.diffusion_model.", "conditioner.")
"""Beginnings of the names in whole checkpoints, which are no towers."""


def recognise(weights: Weights) -> Recognised | None:
    """What an IP-Adapter or a vision tower is; None for any other file."""
    shape = adapter_shape(weights.tensors)
    if shape is not None:
        usable = shape.kind in ("plain", "plus", "full")
        return Recognised(role=IP_ADAPTER if usable else None, description=shape.description, named=usable)
    patches = next((weights.tensors[name] for name in PATCHES if name in weights.tensors), None)
    if patches is None or any(name.startswith(CHECKPOINT) for name in weights.tensors):
        return None
    width = int(patches.shape[0])
    kind = TOWERS.get(width, f"of width {width}")
    return Recognised(role=ENCODER, description=f"a CLIP vision tower ({kind})")
