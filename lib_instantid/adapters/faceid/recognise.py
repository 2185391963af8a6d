"""Recognises FaceID's weight files. The face recogniser is known by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lib_instantid.weights.controlnet_kinds import own_names
from lib_instantid.weights.ip_adapters import adapter_shape
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

FACEID_ADAPTER = "FaceID"
FACE_RECOGNISER = "FaceID recogniser"
RECOGNISER_FILE = "w600k_r50.onnx"
PACKAGE = "buffalo_l"

ANTELOPE = "antelopev2"
"""The word in a name or in metadata that marks an adapter as trained with the other face models."""


def recognise(weights: Weights) -> Recognised | None:
    """What a FaceID adapter is; None for any other file."""
    shape = adapter_shape(weights.tensors)
    if shape is None:
        return None
    if shape.kind in ("faceid", "faceid plus", "portrait"):
        return Recognised(role=FACEID_ADAPTER, description=shape.description, named=True)
    # one Portrait adapter has the layout and the shapes of InstantID's, so only the name tells
    if shape.kind == "face resampler" and re.search("portrait|unnorm", said_of(weights)):
        return Recognised(role=FACEID_ADAPTER, description="a FaceID Portrait IP-Adapter", named=True)
    return None


def by_antelope(weights: Weights) -> bool:
    """Whether an adapter says that it was trained with antelopev2; the released ones were trained with buffalo_l."""
    return ANTELOPE in said_of(weights)


def said_of(weights: Weights) -> str:
    """A file's name and what its metadata call the model, in lower case."""
    return " ".join((*own_names(weights), weights.path.name)).lower()
