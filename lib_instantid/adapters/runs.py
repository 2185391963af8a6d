"""Starts the systems of one generation and joins their conditionings."""

from __future__ import annotations

from collections.abc import Sequence

from lib_instantid.adapters import FAMILIES
from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Run, Size, Sources
from lib_instantid.conditioning.parts import Conditioning


def begin_runs(settings: Common, sources: Sources) -> tuple[Run, ...]:
    """A run of each system that has entries in the settings; none if the settings are off."""
    if not settings.enabled:
        return ()
    return tuple(family.begin(settings, sources) for family in FAMILIES if family.acts(settings, sources.context_size))


def joined(settings: Common, runs: Sequence[Run], size: Size) -> Conditioning:
    """The conditioning of all runs together, for a pass of this size."""
    each = [run.conditioning(size) for run in runs]
    return Conditioning(
        parts=tuple(part for one in each for part in one.parts),
        size=size,
        cfg_rescale=float(settings.cfg_rescale),
        checks=tuple(check for one in each for check in one.checks),
    )
