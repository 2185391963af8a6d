"""Recognises InstantID's weight files and those that resemble them: IP-Adapters and other ControlNets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.constants import SD15_CONTEXT
from lib_instantid.weights.ip_adapters import adapter_shape
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from lib_instantid.weights.reading import Weights

    Tensors = Mapping[str, Tensor]

ADAPTER = "adapter"
IDENTITYNET = "IdentityNet"

SD2_CONTEXT = 1024
CONDITIONS = frozenset(
    "canny depth openpose pose scribble softedge hed lineart mlsd normal seg tile inpaint shuffle blur recolor sketch".split()  # noqa: SIM905
)
"""Conditions of other ControlNets. SDXL's have the same shape as IdentityNet, so that only these words in their names or
metadata tell them apart."""

OURS = frozenset({"instantid", "instant", "identitynet"})
"""Words in a name or in metadata that mark a file as InstantID's."""

NAMING_PARTS = 4
"""Parts of a path that can name a model: in the hub's cache, `models--OWNER--NAME/snapshots/HASH/FILE`."""


def recognise(weights: Weights) -> Recognised | None:
    """What an adapter or a ControlNet is; None for any other file."""
    return _ip_adapter(weights) or (_controlnet(weights) if _is_controlnet(weights.tensors) else None)


def _other(description: str) -> Recognised:
    return Recognised(role=None, description=description)


def _ip_adapter(weights: Weights) -> Recognised | None:
    shape = adapter_shape(weights.tensors)
    if shape is None:
        return None
    if shape.lora or shape.kind != "face resampler":
        return _other(shape.description)
    # Portrait adapters have the same layout and shapes as InstantID's, so only the name tells.
    words = set(_words(weights.path.name))
    if words & {"portrait", "unnorm"} and not words & OURS:
        return _other("a FaceID Portrait IP-Adapter")
    proj_out = weights.tensors.get("image_proj.proj_out.weight")
    if proj_out is not None and proj_out.shape[0] == SD15_CONTEXT:
        return _other("an InstantID adapter for SD1.5, and only SDXL is supported for now")
    return Recognised(role=ADAPTER, description=shape.description, named=says_instantid(weights))


def _is_controlnet(tensors: Tensors) -> bool:
    return any(
        name.startswith(("controlnet_cond_embedding.", "input_hint_block.", "control_model.input_hint_block."))
        for name in tensors
    )


def _controlnet(weights: Weights) -> Recognised:
    tensors = weights.tensors
    if any(name.startswith(("task_embedding", "control_add_embedding", "transformer_layes")) for name in tensors):
        return _other("a ControlNet Union")
    context = _context_size(tensors)
    if context in (SD15_CONTEXT, SD2_CONTEXT):
        version = "SD1.5" if context == SD15_CONTEXT else "SD2"
        return _other(f"a ControlNet for {version}, and only SDXL is supported for now")
    if not any("mid_block.attentions" in name or "middle_block.1.transformer" in name for name in tensors):
        return _other("a small SDXL ControlNet without attention in its middle block")
    condition = _named_condition(weights)
    if condition:
        return _other(f"a ControlNet for {condition}")
    return Recognised(role=IDENTITYNET, description="an IdentityNet", named=says_instantid(weights))


def _context_size(tensors: Tensors) -> int | None:
    return next((_columns(tensor) for name, tensor in tensors.items() if name.endswith("attn2.to_k.weight")), None)


def _columns(matrix: Tensor) -> int | None:
    return matrix.shape[1] if matrix.ndim == 2 else None


def _named_condition(weights: Weights) -> str | None:
    """The condition that a ControlNet names in its metadata, its config or its file name; None for one that names none."""
    for text in (*_own_names(weights), weights.path.name, *_hub_name(weights.path)):
        words = _words(text)
        if OURS & set(words):
            return None
        condition = next((word for word in words if word in CONDITIONS), None)
        if condition:
            return condition
    return None


def _hub_name(path: Path) -> tuple[str, ...]:
    """The repository's name if the file lies in the hub's cache, where all files have the same name; else nothing."""
    return tuple(part for part in path.parts[-NAMING_PARTS:-1] if part.startswith("models--"))


def says_instantid(weights: Weights) -> bool:
    """Whether a file's metadata, its name or the names of the folders just above it contain one of the words `OURS`."""
    return bool(OURS & set(_words(" ".join((*_own_names(weights), *weights.path.parts[-NAMING_PARTS:])))))


def _own_names(weights: Weights) -> list[str]:
    """What the metadata calls the model."""
    return [value for key, value in weights.notes.items() if "name" in key or "title" in key]


def _words(text: str) -> list[str]:
    """The words of a text in lower case, both as they are and split at capitals (xinsirOpenpose: xinsir, openpose)."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.split(r"[^a-z0-9]+", f"{text} {apart}".lower())
