"""FaceID's settings: their names, ranges, defaults and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lib_instantid.adapters.faceid.recognise import FACEID_ADAPTER
from lib_instantid.adapters.fields import Choice, Name, setting
from lib_instantid.adapters.people import PeopleSettings

Version = Literal["by its name", "Plus", "PlusV2"]


@dataclass(frozen=True, kw_only=True)
class FaceIDSettings(PeopleSettings):
    """FaceID's part of a generation's settings."""

    faceid_model: str | None = setting(
        None,
        Name(of=FACEID_ADAPTER, none="the first that fits"),
        "FaceID",
        "name of the FaceID adapter, where a WebUI has several; the first that fits the checkpoint if none",
        place="advanced",
    )
    faceid_version: Version = setting(
        "by its name",
        Choice(options=("by its name", "Plus", "PlusV2")),
        "Version of FaceID Plus",
        "whether a FaceID Plus is the first or the second version, which only its name tells",
        place="advanced",
    )
