"""Recognises ControlNets of SD1.5 and SDXL, except IdentityNet, which is none of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_instantid.weights.controlnet_kinds import controlnet_kind
from lib_instantid.weights.system_files import Recognised

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

CONTROLNET = "ControlNet"


def recognise(weights: Weights) -> Recognised | None:
    """What a ControlNet is; None for any other file. SDXL's of the full shape must say what they are for, as IdentityNet has
    the same shape."""
    kind = controlnet_kind(weights)
    if kind is None:
        return None
    could_be_identitynet = kind.version == "SDXL" and not kind.small and kind.purpose == "untold"
    usable = kind.version != "SD2" and kind.purpose != "face" and not could_be_identitynet
    return Recognised(
        role=CONTROLNET if usable else None, description=kind.description, named=usable and kind.purpose == "condition"
    )
