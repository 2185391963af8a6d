"""FaceID: an IP-Adapter brings a face in, mostly with a LoRA that belongs to it. It is also the way for SD1.5."""

from __future__ import annotations

from typing import Any

from lib_instantid.adapters.faceid.files import FILES
from lib_instantid.adapters.faceid.settings import FaceIDSettings
from lib_instantid.adapters.family import Family, Restored, Run, Sources
from lib_instantid.adapters.people import FACEID, Person

__all__ = ["FAMILY"]


def _begin(settings: FaceIDSettings, sources: Sources) -> Run:
    from lib_instantid.adapters.faceid.run import FaceIDRun  # torch: seconds to import

    return FaceIDRun(settings, sources)


def _restored(values: dict[str, Any], sources: Sources) -> Restored:
    del sources  # the people are restored already, by the first system that has them
    return values, ()


def _serves(person: Person, context: int | None) -> bool:
    return person.acts_by(FACEID, context)


FAMILY = Family(
    title=FACEID,
    settings=FaceIDSettings,
    wanted="add a person with a photo",
    files=FILES,
    begin=_begin,
    restored=_restored,
    serves=_serves,
)
