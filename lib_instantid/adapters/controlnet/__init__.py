"""ControlNets: a map of edges, depth, poses or the like, which the result is to have."""

from __future__ import annotations

from typing import Any

from lib_instantid.adapters import record
from lib_instantid.adapters.controlnet.files import FILES
from lib_instantid.adapters.controlnet.settings import ControlNetSettings
from lib_instantid.adapters.family import Family, Restored, Run, Sources

__all__ = ["FAMILY"]


def _begin(settings: ControlNetSettings, sources: Sources) -> Run:
    from lib_instantid.adapters.controlnet.run import ControlNetRun  # torch: seconds to import

    return ControlNetRun(settings, sources)


def _restored(values: dict[str, Any], sources: Sources) -> Restored:
    del sources
    return record.restored(values, FAMILY)


FAMILY = Family(
    title="ControlNet",
    settings=ControlNetSettings,
    wanted="add a control with a picture",
    files=FILES,
    needs_faces=False,
    begin=_begin,
    restored=_restored,
)
