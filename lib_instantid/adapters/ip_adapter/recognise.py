"""Recognises IP-Adapters that take pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_instantid.adapters.tower_files import recognise_tower
from lib_instantid.weights.ip_adapters import adapter_shape
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

IP_ADAPTER = "IP-Adapter"


def recognise(weights: Weights) -> Recognised | None:
    """What an IP-Adapter or a vision tower is; None for any other file."""
    shape = adapter_shape(weights.tensors)
    if shape is None:
        return recognise_tower(weights)
    usable = shape.kind in ("plain", "plus", "full")
    return Recognised(role=IP_ADAPTER if usable else None, description=shape.description, named=usable)
