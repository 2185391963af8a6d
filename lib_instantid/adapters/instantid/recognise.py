"""Recognises InstantID's weight files and those that resemble them: IP-Adapters and other ControlNets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_instantid.constants import SD15_CONTEXT
from lib_instantid.weights.controlnet_kinds import FACE, NAMING_PARTS, controlnet_kind, own_names, words
from lib_instantid.weights.ip_adapters import adapter_shape
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

ADAPTER = "adapter"
IDENTITYNET = "IdentityNet"


def recognise(weights: Weights) -> Recognised | None:
    """What an adapter or a ControlNet is; None for any other file."""
    return _ip_adapter(weights) or _controlnet(weights)


def _other(description: str) -> Recognised:
    return Recognised(role=None, description=description)


def _ip_adapter(weights: Weights) -> Recognised | None:
    shape = adapter_shape(weights.tensors)
    if shape is None:
        return None
    if shape.lora or shape.kind != "face resampler":
        return _other(shape.description)
    # Portrait adapters have the same layout and shapes as InstantID's, so only the name tells.
    found = set(words(weights.path.name))
    if found & {"portrait", "unnorm"} and not found & FACE:
        return _other("a FaceID Portrait IP-Adapter")
    proj_out = weights.tensors.get("image_proj.proj_out.weight")
    if proj_out is not None and proj_out.shape[0] == SD15_CONTEXT:
        return _other("an InstantID adapter for SD1.5, and only SDXL is supported for now")
    return Recognised(role=ADAPTER, description=shape.description, named=says_instantid(weights))


def _controlnet(weights: Weights) -> Recognised | None:
    kind = controlnet_kind(weights)
    if kind is None:
        return None
    if kind.version != "SDXL" or kind.union or kind.small or kind.purpose == "condition":
        return _other(kind.description)
    return Recognised(role=IDENTITYNET, description="an IdentityNet", named=says_instantid(weights))


def says_instantid(weights: Weights) -> bool:
    """Whether a file's metadata, its name or the names of the folders just above it contain one of the words `FACE`."""
    return bool(FACE & set(words(" ".join((*own_names(weights), *weights.path.parts[-NAMING_PARTS:])))))
