"""InstantID's settings: their names, ranges, defaults and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lib_instantid.adapters.family import Preset
from lib_instantid.adapters.fields import Choice, Name, Number, setting
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.people import FRACTION, PeopleSettings, check_window
from lib_instantid.conditioning.schedule import ControlMode

IdentityNetPeople = Literal["each", "together"]
GONE = {"identitynet_rows": "identitynet_rows is no longer a setting and is ignored: IdentityNet acts on both rows."}
"""Removed settings, which old requests and infotexts may name, and the sentence shown for each."""


@dataclass(frozen=True, kw_only=True)
class InstantIDSettings(PeopleSettings):
    """InstantID's part of a generation's settings."""

    identitynet_start: float = setting(
        0.0, FRACTION, "IdentityNet starts", "fraction of the steps at which IdentityNet starts", place="advanced"
    )
    identitynet_end: float = setting(
        1.0, FRACTION, "IdentityNet ends", "fraction of the steps at which IdentityNet ends", place="advanced"
    )
    face_region_grow: float = setting(
        0.0,
        Number(low=0.0, high=2.0),
        "Margin around the face",
        "margin on each side of the face box, as a part of its size",
        place="advanced",
    )
    control_mode: ControlMode = setting(
        "balanced",
        Choice(options=("balanced", "prompt", "identity"), labels=("balanced", "the prompt", "the identity")),
        "What matters more",
        "what matters more: balanced, the prompt or the identity",
        place="advanced",
    )
    identitynet_every: int = setting(
        1,
        Number(low=1, high=8, whole=True),
        "Steps that share a run of IdentityNet",
        "steps that share one run of IdentityNet; 1 is the reference, more is faster",
        place="advanced",
    )
    identitynet_people: IdentityNetPeople = setting(
        "each",
        Choice(options=("each", "together"), labels=("a run of IdentityNet for each", "one for all (faster)")),
        "Several people",
        "several people: a run of IdentityNet for each, or one for all, which is faster",
        place="advanced",
    )
    model: str | None = setting(
        None,
        Name(of=ADAPTER),
        "Adapter",
        "name of the adapter, where a WebUI has several; the first if none",
        place="advanced",
    )
    identitynet_file: str | None = setting(
        None,
        Name(of=IDENTITYNET),
        "IdentityNet",
        "name of the IdentityNet, where a WebUI has several; the first if none",
        place="advanced",
    )
    negative_noise: float = setting(
        0.0,
        FRACTION,
        "Negative noise",
        "noise in the unconditional embedding; the reference has none",
        place="advanced",
    )

    def check(self) -> None:
        """Raise SettingsError for settings that contradict each other."""
        super().check()
        check_window("identitynet", self.identitynet_start, self.identitynet_end)

    @property
    def uses_identitynet(self) -> bool:
        """Whether IdentityNet acts for anybody, and so must be loaded."""
        return any(person.identitynet_strength for person in self.people)


PRESETS = (
    Preset(name="Balanced", values={"adapter_strength": 0.8, "identitynet_strength": 0.8}),
    Preset(name="More likeness", values={"adapter_strength": 1.0, "identitynet_strength": 1.0}),
    Preset(name="More style", values={"adapter_strength": 0.6, "identitynet_strength": 0.5}),
    Preset(name="Few-step models (LCM, Lightning, Turbo)", values={"adapter_strength": 0.6, "identitynet_strength": 0.7}),
)
"""Buttons of the panel. The first sets the defaults, which are those of the reference."""
