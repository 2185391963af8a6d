"""Recognises the files of vision towers, and tells where they were published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.adapters.towers import PictureEncoder
    from lib_instantid.weights.reading import Weights

ENCODER = "image encoder"

TOWERS = {1024: "ViT-L", 1280: "ViT-H", 1664: "ViT-bigG"}
"""The released towers by their width."""

PATCHES = ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight")
"""The first layer's name in transformers and in open_clip."""

CHECKPOINT = ("model.diffusion_model.", "conditioner.")
"""Beginnings of the names in whole checkpoints, which are no towers."""


def recognise_tower(weights: Weights) -> Recognised | None:
    """What a vision tower is; None for any other file."""
    patches = next((weights.tensors[name] for name in PATCHES if name in weights.tensors), None)
    if patches is None or any(name.startswith(CHECKPOINT) for name in weights.tensors):
        return None
    width = int(patches.shape[0])
    kind = TOWERS.get(width, f"of width {width}")
    return Recognised(role=ENCODER, description=f"a CLIP vision tower ({kind})")


def load_tower(path: Path) -> PictureEncoder:
    """See `PictureEncoder`."""
    from lib_instantid.adapters.towers import PictureEncoder  # torch: seconds to import

    return PictureEncoder(path)
