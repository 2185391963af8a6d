"""Settings of a generation that belong to no system."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lib_instantid.adapters.fields import Choice, Number, Switch, check_fields, setting

HiresPasses = Literal["both", "first pass", "second pass"]


@dataclass(frozen=True, kw_only=True)
class Common:
    """The settings that all systems share. `Settings` adds each system's own."""

    enabled: bool = setting(False, Switch(), "Use InstantID", "whether InstantID acts", traced=False)
    hires: HiresPasses = setting(
        "both",
        Choice(
            options=("both", "first pass", "second pass"),
            labels=("both passes", "first pass only", "second pass only"),
        ),
        "Hires fix",
        "passes of the hires fix in which InstantID acts",
        place="advanced",
    )
    cfg_rescale: float = setting(
        0.0,
        Number(low=0.0, high=1.0),
        "CFG rescale",
        "how far the guided noise is scaled back to the conditional one's contrast",
        place="advanced",
    )
    best_of: int = setting(
        1,
        Number(low=1, high=8, whole=True),
        "Best of",
        "make so many candidates and order them by likeness",
        place="advanced",
        traced=False,
    )
    only_best: bool = setting(
        False, Switch(), "Keep only the best", "return only the most like of the candidates", place="advanced", traced=False
    )
    report_similarity: bool = setting(
        False,
        Switch(),
        "Measure the likeness of each picture",
        "measure how like the person each picture is",
        place="advanced",
    )

    def check(self) -> None:
        """Raise SettingsError for values that contradict each other."""

    @staticmethod
    def implied(entries: Sequence[Any]) -> dict[str, object]:
        """Values that these entries imply for settings that were not given."""
        del entries
        return {}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a system's list, for example a person."""

    def __post_init__(self) -> None:
        check_fields(self)

    @staticmethod
    def implied(given: Mapping[str, object]) -> dict[str, object]:
        """Values that the given settings imply for settings that were not given."""
        del given
        return {}

    @staticmethod
    def spelled(text: str) -> Mapping[str, object] | None:
        """The settings that a text in a system's own short spelling gives, for a command line; None if it is none."""
        del text
        return None

    def varied(self, values: Mapping[str, object]) -> Entry:
        """The entry with other values, for an X/Y/Z plot. One picture replaces a whole list of pictures."""
        return dataclasses.replace(self, **values)
