"""InstantID: an IP-Adapter adds a face to the attentions, and IdentityNet, a ControlNet on five keypoints, adds residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_instantid.adapters.family import Family, Restored, Run, Size, Sources
from lib_instantid.adapters.instantid.files import FILES
from lib_instantid.adapters.instantid.settings import GONE, PRESETS, InstantIDSettings
from lib_instantid.adapters.people import INSTANTID, Person

if TYPE_CHECKING:
    from torch import nn

    from lib_instantid.encoders.face.head_points import Head
    from lib_instantid.encoders.face.photos import Look

__all__ = ["FAMILY"]


def _begin(settings: InstantIDSettings, sources: Sources) -> Run:
    from lib_instantid.adapters.instantid.run import InstantIDRun  # torch: seconds to import

    return InstantIDRun(settings, sources)


def _restored(values: dict[str, object], sources: Sources) -> Restored:
    from lib_instantid.adapters.instantid.record import restored

    return restored(values, sources)


def _check(unet: nn.Module) -> None:
    from lib_instantid.adapters.instantid.prepare import check_sdxl

    check_sdxl(unet)


def _place_heads(settings: InstantIDSettings, size: Size, look: Look) -> tuple[Head | None, ...]:
    from lib_instantid.adapters.instantid.placing import place_heads

    return place_heads(settings, size, look)


def _serves(person: Person, context: int | None) -> bool:
    return person.acts_by(INSTANTID, context)


FAMILY = Family(
    title=INSTANTID,
    settings=InstantIDSettings,
    wanted="add a person with a photo or a saved identity",
    files=FILES,
    begin=_begin,
    restored=_restored,
    check=_check,
    place_heads=_place_heads,
    serves=_serves,
    presets=PRESETS,
    gone=GONE,
)
