"""Vision towers, which several systems see pictures with: their files, and the right one for an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lib_instantid.adapters.adapter_files import Last
from lib_instantid.adapters.family import Sources
from lib_instantid.adapters.tower_files import ENCODER, PATCHES
from lib_instantid.encoders.vision import HEADS, Features, VisionTower, tower_of
from lib_instantid.errors import BadModelFile, MissingModelFile
from lib_instantid.weights.ip_adapters import AdapterShape
from lib_instantid.weights.reading import Weights, read_outline, read_weights

TOWERS = {
    1024: "the ViT-H image encoder (models/image_encoder of h94/IP-Adapter)",
    1280: "the ViT-bigG image encoder (sdxl_models/image_encoder of h94/IP-Adapter)",
}
"""Which released tower gives embeddings of so many numbers."""

FEATURES = {1280: TOWERS[1024], 1664: TOWERS[1280]}
"""Which released tower gives features of so many numbers."""


class PictureEncoder:
    """A vision tower's file."""

    KEPT = 16
    """Features of so many pictures are kept, about 1.3 MB each."""

    def __init__(self, path: Path) -> None:
        outline = read_outline(path)
        self._path = path
        self.width, self.embedding = _sizes(outline)
        self._seen: Last[Features] = Last(self.KEPT)

    def fits(self, shape: AdapterShape) -> bool:
        """Whether an adapter takes what this tower gives."""
        return shape.features == (self.embedding if shape.takes_embedding else self.width)

    def see(self, pictures: Mapping[Hashable, Callable[[int], Tensor]]) -> Sequence[Features]:
        """The features of each picture. pictures: by keys, functions that make (1, 3, S, S) pixels for a side of S."""
        tower: list[VisionTower] = []

        def look(pixels: Callable[[int], Tensor]) -> Features:
            if not tower:  # read once for all new pictures, and not kept
                tower.append(self.load())
            return tower[0].see(pixels(tower[0].side))

        return [self._seen.of(key, lambda pixels=pixels: look(pixels)) for key, pixels in pictures.items()]  # type: ignore[misc]

    def load(self) -> VisionTower:
        """Read the file. Raises BadModelFile: it is not complete."""
        weights = read_weights(self._path)
        try:
            return tower_of(weights.tensors, _heads_beside(self._path))
        except (LookupError, RuntimeError, ValueError) as error:
            found = str(error).strip()[:200]
            raise BadModelFile(
                f"image encoder {self._path}: not a complete CLIP vision tower ({found}). Fetch the file again."
            ) from error


def black(side: int) -> Tensor:
    """The unconditional picture: zeros in the place of pixels. Source: IP-Adapter, `torch.zeros_like(clip_image)`."""
    return torch.zeros(1, 3, side, side)


def mean_of(features: Sequence[Features]) -> Features:
    """The mean of the features of several pictures, as of one."""
    embedding, hidden = (torch.cat(each).mean(0, keepdim=True) for each in zip(*map(_both, features), strict=True))
    return Features(embedding=embedding, hidden=hidden)


def _both(features: Features) -> tuple[Tensor, Tensor]:
    return features.embedding, features.hidden


def tower_for(sources: Sources, shape: AdapterShape, name: str, field: str) -> PictureEncoder:
    """The first tower that gives what an adapter takes. name: the adapter's. field: the setting that errors name.

    Raises MissingModelFile: none does. BadModelFile: a file is damaged.
    """
    there = {}
    for own in sources.names(ENCODER) or (sources.file_name(ENCODER, None, ENCODER),):
        there[own] = encoder = sources.network(ENCODER, own)
        if encoder.fits(shape):
            found: PictureEncoder = encoder
            return found
    taken, known = ("embeddings", TOWERS) if shape.takes_embedding else ("features", FEATURES)
    raise MissingModelFile(
        f"{field}: {name} takes {taken} of {shape.features} numbers, and the image encoders that are here give others "
        f"({', '.join(there)}); add {known.get(shape.features, 'the one that it was trained with')}."
    )


def _sizes(outline: Weights) -> tuple[int, int]:
    """Width of the tower and of its embedding."""
    tensors = outline.tensors
    width = next((int(tensors[name].shape[0]) for name in PATCHES if name in tensors), 0)
    if "visual_projection.weight" in tensors:
        return width, int(tensors["visual_projection.weight"].shape[0])
    if "visual.proj" in tensors:
        return width, int(tensors["visual.proj"].shape[1])
    raise BadModelFile(
        f"image encoder {outline.path}: a vision tower without its projection; expected CLIP's, such as "
        "models/image_encoder of h94/IP-Adapter."
    )


def _heads_beside(path: Path) -> int:
    """The number of attention heads in a config.json beside the file; without one, that of the released towers."""
    config = path.parent / "config.json"
    if not config.is_file():
        return HEADS
    try:
        return int(json.loads(config.read_text(encoding="utf-8")).get("num_attention_heads", HEADS))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadModelFile(f"{config}: not a vision tower's configuration ({error}). Fetch it again, or remove it.") from error
