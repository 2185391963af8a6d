"""IP-Adapters and vision towers as their files give them. A file is opened only for a new picture, and the results are kept."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from lib_instantid.adapters.ip_adapter.recognise import PATCHES
from lib_instantid.encoders.vision import HEADS, Features, VisionTower, tower_of
from lib_instantid.errors import BadModelFile
from lib_instantid.networks.adapter import Adapter, PromptTokens
from lib_instantid.networks.projections import FullProjection, ImageProjection
from lib_instantid.networks.resampler import Resampler
from lib_instantid.weights.ip_adapters import AdapterKind, AdapterShape, adapter_shape
from lib_instantid.weights.reading import Weights, load_strictly, read_outline, read_weights

PROJECTIONS: Mapping[AdapterKind, Callable[[Mapping[str, Tensor]], nn.Module]] = {
    "plain": ImageProjection,
    "plus": Resampler,
    "full": FullProjection,
}

T = TypeVar("T")


class Last(Generic[T]):
    """The last results of a computation, by keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def of(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result for a key, kept or computed."""
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[key]


class PictureAdapter:
    """An IP-Adapter's file. Its weights are never on the GPU.

    Raises MissingModelFile, or BadModelFile: it is no plain, plus or full IP-Adapter.
    """

    KEPT = 8
    """Tokens of so many groups of pictures are kept, about 20 MB each."""

    def __init__(self, path: Path) -> None:
        outline = read_outline(path)
        shape = adapter_shape(outline.tensors)
        if shape is None or shape.kind not in PROJECTIONS:
            found = "no IP-Adapter" if shape is None else shape.description
            raise BadModelFile(f"IP-Adapter {path}: this is {found}; expected a plain, plus or full IP-Adapter.")
        self.shape: AdapterShape = shape
        self._path = path
        self._tokens: Last[PromptTokens] = Last(self.KEPT)

    @property
    def takes_embedding(self) -> bool:
        """Whether it takes a picture's embedding, not its features."""
        return self.shape.kind == "plain"

    def load(self) -> Adapter:
        """Read the file. Raises BadModelFile: it is not complete."""
        weights = read_weights(self._path)
        try:
            with torch.device("meta"):
                adapter = Adapter(weights.tensors, PROJECTIONS[self.shape.kind])
        except (LookupError, ValueError) as error:
            raise BadModelFile(
                f"IP-Adapter {self._path}: not a complete IP-Adapter ({error}). Fetch the file again."
            ) from error
        load_strictly(adapter, weights, weights.tensors, "IP-Adapter")
        return adapter

    def tokens(self, key: Hashable, pictures: Features, black: Features) -> PromptTokens:
        """Tokens of a group of pictures, side by side. key: what identifies the group.

        pictures: of B pictures. black: of the black picture, the unconditional features; for an adapter that takes an embedding
        zeros stand in its place, as in the reference.
        """
        return self._tokens.of(key, lambda: self._make(pictures, black))

    @torch.no_grad()
    def _make(self, pictures: Features, black: Features) -> PromptTokens:
        if self.takes_embedding:
            given, none = pictures.embedding, torch.zeros_like(pictures.embedding[:1])
        else:
            given, none = pictures.hidden, black.hidden
        adapter = self.load()
        conditional, unconditional = (adapter.image_proj(one) for one in (given, none))
        both = torch.stack([unconditional.repeat(len(given), 1, 1).flatten(0, 1), conditional.flatten(0, 1)])
        return adapter.prompt_tokens(both)


class PictureEncoder:
    """A vision tower's file."""

    KEPT = 16
    """Features of so many pictures are kept, about 1.3 MB each."""

    def __init__(self, path: Path) -> None:
        outline = read_outline(path)
        self._path = path
        self.width, self.embedding = _sizes(outline)
        self._seen: Last[Features] = Last(self.KEPT)

    def fits(self, adapter: PictureAdapter) -> bool:
        """Whether an adapter takes what this tower gives."""
        return adapter.shape.features == (self.embedding if adapter.takes_embedding else self.width)

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


def joined(features: Sequence[Features], mean: bool) -> Features:
    """The features of several pictures as one batch, or their mean."""
    embedding = torch.cat([one.embedding for one in features])
    hidden = torch.cat([one.hidden for one in features])
    if mean:
        embedding, hidden = embedding.mean(dim=0, keepdim=True), hidden.mean(dim=0, keepdim=True)
    return Features(embedding=embedding, hidden=hidden)


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
