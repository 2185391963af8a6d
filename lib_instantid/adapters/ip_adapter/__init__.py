"""IP-Adapter: pictures as prompts. Tokens of a picture's features are added to the cross-attentions."""

from __future__ import annotations

from typing import Any

from lib_instantid.adapters import record
from lib_instantid.adapters.family import Family, Restored, Run, Sources
from lib_instantid.adapters.ip_adapter.files import FILES
from lib_instantid.adapters.ip_adapter.settings import IPAdapterSettings

__all__ = ["FAMILY"]


def _begin(settings: IPAdapterSettings, sources: Sources) -> Run:
    from lib_instantid.adapters.ip_adapter.run import IPAdapterRun  # torch: seconds to import

    return IPAdapterRun(settings, sources)


def _restored(values: dict[str, Any], sources: Sources) -> Restored:
    del sources
    return record.restored(values, FAMILY)


FAMILY = Family(
    title="IP-Adapter",
    settings=IPAdapterSettings,
    wanted="add a picture as a prompt",
    files=FILES,
    needs_faces=False,
    begin=_begin,
    restored=_restored,
)
