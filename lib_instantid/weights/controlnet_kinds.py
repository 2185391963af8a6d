"""Tells the kinds of ControlNets apart: by the names and shapes of their tensors, and by what they call themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lib_instantid.constants import SD15_CONTEXT

if TYPE_CHECKING:
    from torch import Tensor

    from lib_instantid.weights.reading import Weights

Version = Literal["SD1.5", "SD2", "SDXL"]
Purpose = Literal["condition", "face", "untold"]
"""condition: for a map of some kind. face: for InstantID's keypoints. untold: neither name nor metadata says."""

SD2_CONTEXT, SDXL_CONTEXT = 1024, 2048
HINT_EMBEDDINGS = ("controlnet_cond_embedding.", "input_hint_block.", "control_model.input_hint_block.")
TASKS = "task_embedding"
UNION = (TASKS, "control_add_embedding", "transformer_layes")
VECTORS = ("add_embedding.", "label_emb.", "control_model.label_emb.")
CONDITIONS = frozenset(
    ("canny", "depth", "openpose", "pose", "scribble", "sketch", "softedge", "hed", "lineart", "mlsd", "normal", "normalbae")
    + ("seg", "tile", "inpaint", "shuffle", "blur", "recolor")
)
"""Conditions that ControlNets name. SDXL's have the same shape as IdentityNet, so that only these words in their names or
metadata tell them apart."""

FACE = frozenset({"instantid", "instant", "identitynet"})
"""Words in a name or in metadata that mark a file as InstantID's."""

NAMING_PARTS = 4
"""Parts of a path that can name a model: in the hub's cache, `models--OWNER--NAME/snapshots/HASH/FILE`."""

HUB_FILE = "diffusion_pytorch_model"
"""The hub's files are all called this, and the folder tells what they are."""


@dataclass(frozen=True, kw_only=True)
class ControlNetKind:
    """What is told of a ControlNet. context: numbers of the tokens that it takes; None for one without attention. condition:
    the word for its maps, None if none is named. union: whether it is for several kinds of maps. tasks: how many kinds a Union
    takes. small: whether its middle block has no attention."""

    version: Version
    context: int | None
    purpose: Purpose
    condition: str | None
    union: bool
    tasks: int
    small: bool

    @property
    def description(self) -> str:
        """The kind in words."""
        if self.union:
            return f"a ControlNet Union for {self.version}"
        kind = "a small ControlNet" if self.small and self.version == "SDXL" else "a ControlNet"
        return f"{kind} for {self.version}" + (f" ({self.condition})" if self.condition else "")


def controlnet_kind(weights: Weights) -> ControlNetKind | None:
    """The kind of a ControlNet; None for any other file. Only names and shapes of the tensors are read."""
    tensors = weights.tensors
    if not any(name.startswith(HINT_EMBEDDINGS) for name in tensors):
        return None
    matrices = (tensor for name, tensor in tensors.items() if name.endswith("attn2.to_k.weight"))
    context = next((int(tensor.shape[1]) for tensor in matrices if tensor.ndim == 2), None)
    condition, face = _purpose(weights)
    union = any(name.startswith(UNION) for name in tensors)
    return ControlNetKind(
        version=_version(tensors, context),
        context=context,
        purpose="face" if face else "condition" if condition or union else "untold",
        condition=None if union else condition,
        union=union,
        tasks=int(tensors[TASKS].shape[0]) if TASKS in tensors else 0,
        small=not any("mid_block.attentions" in name or "middle_block.1.transformer" in name for name in tensors),
    )


def _version(tensors: Mapping[str, Tensor], context: int | None) -> Version:
    """SDXL's take a vector besides the text; SD1.5's have convolutions before their attentions."""
    if context == SDXL_CONTEXT or any(name.startswith(VECTORS) for name in tensors):
        return "SDXL"
    if context == SD2_CONTEXT:
        return "SD2"
    convolution = any(name.endswith("proj_in.weight") and tensor.ndim == 4 for name, tensor in tensors.items())
    return "SD1.5" if context == SD15_CONTEXT or convolution else "SDXL"


def _purpose(weights: Weights) -> tuple[str | None, bool]:
    """The condition that a ControlNet names in its metadata, its config or its file name, and whether it calls itself
    InstantID's there."""
    for text in (*own_names(weights), weights.path.name, *_folder_names(weights)):
        found = words(text)
        if FACE & set(found):
            return None, True
        condition = next((word for word in found if word in CONDITIONS), None)
        if condition:
            return condition, False
    return None, False


def _folder_names(weights: Weights) -> tuple[str, ...]:
    """The names of the folders that name a file as the hub has it: the folder it lies in, and the repository's in a cache."""
    parent = (weights.path.parent.name,) if weights.path.name.startswith(HUB_FILE) else ()
    return (*parent, *(part for part in weights.path.parts[-NAMING_PARTS:-1] if part.startswith("models--")))


def own_names(weights: Weights) -> list[str]:
    """What a file's metadata calls the model."""
    return [value for key, value in weights.notes.items() if "name" in key or "title" in key]


def words(text: str) -> list[str]:
    """The words of a text in lower case, both as they are and split at capitals (xinsirOpenpose: xinsir, openpose)."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.split(r"[^a-z0-9]+", f"{text} {apart}".lower())
