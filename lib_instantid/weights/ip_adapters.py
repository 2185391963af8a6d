"""Tells the kinds of IP-Adapters apart by the names and shapes of their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

AdapterKind = Literal["plain", "plus", "full", "face resampler", "faceid", "faceid plus", "portrait", "unknown"]
"""face resampler: InstantID's layout, which one of FaceID Portrait has too."""

FACE_EMBEDDING = 512
FACEID_TOKENS = 4
"""Tokens of a face for FaceID; Portrait has 16."""


@dataclass(frozen=True, kw_only=True)
class AdapterShape:
    """What the tensors of an IP-Adapter tell. features: numbers that the projection takes, of an embedding or of each image
    feature. context: numbers of a token, the UNet's context size. lora: whether the file has a LoRA. Sizes are 0 if unknown."""

    kind: AdapterKind
    features: int
    context: int
    lora: bool

    @property
    def takes_embedding(self) -> bool:
        """Whether it takes the embedding of a whole picture, not its features."""
        return self.kind == "plain"

    @property
    def description(self) -> str:
        """The kind in words."""
        with_lora = ", with a LoRA" if self.lora else ""
        if self.lora and self.kind != "faceid plus":
            return f"a FaceID IP-Adapter{with_lora}"
        return {
            "plain": "a plain IP-Adapter",
            "plus": f"an IP-Adapter Plus (it takes image features of {self.features} numbers, not a face embedding)",
            "full": "a full-face IP-Adapter",
            "face resampler": "an InstantID adapter",
            "faceid": "a FaceID IP-Adapter",
            "faceid plus": f"a FaceID Plus IP-Adapter{with_lora}",
            "portrait": "a FaceID Portrait IP-Adapter",
            "unknown": "an IP-Adapter of a kind not known here",
        }[self.kind]


def adapter_shape(tensors: Mapping[str, Tensor]) -> AdapterShape | None:
    """The shape of an IP-Adapter; None for any other file. tensors: of any shape; their numbers are not read."""
    if not any(name.startswith("image_proj.") for name in tensors):
        return None
    lora = any("lora" in name for name in tensors)
    context = next((_columns(t) for name, t in tensors.items() if name.endswith(".to_k_ip.weight")), 0)
    kind, taken = _projection({name.removeprefix("image_proj."): t for name, t in tensors.items()}, context, lora)
    return AdapterShape(kind=kind, features=_columns(taken), context=context, lora=lora)


def _projection(own: Mapping[str, Tensor], context: int, lora: bool) -> tuple[AdapterKind, Tensor | None]:
    """The kind of projection, and the layer that takes its input. own: tensors by their names below `image_proj`."""
    if "latents" in own and "proj_in.weight" in own:
        taken = own["proj_in.weight"]
        return ("face resampler" if _columns(taken) == FACE_EMBEDDING else "plus" if _columns(taken) else "unknown"), taken
    if "perceiver_resampler.proj_in.weight" in own:
        return "faceid plus", own["perceiver_resampler.proj_in.weight"]
    if "proj.3.weight" in own:
        return "full", own.get("proj.0.weight")
    if "proj.2.weight" in own:
        plain = lora or (context and len(own["proj.2.weight"]) == FACEID_TOKENS * context)
        return ("faceid" if plain else "portrait"), own.get("proj.0.weight")
    return ("plain", own["proj.weight"]) if "proj.weight" in own else ("unknown", None)


def _columns(matrix: Tensor | None) -> int:
    return int(matrix.shape[1]) if matrix is not None and matrix.ndim == 2 else 0
