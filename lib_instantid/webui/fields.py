"""The one table of fields: how the page shows what can be set.

Names, ranges, choices and defaults are those of the settings; here stand only labels and places. A setting of another kind,
such as photos or keypoints, has a control of its own in the page.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from lib_instantid.guidance.settings import Person, Settings

Kind = Literal["slider", "choice", "switch"]
Place = Literal["likeness", "placement", "advanced"]

STEP = 0.05


@dataclass(frozen=True, kw_only=True)
class Field:
    """One control. owner: the settings class that has the field of this name. labels: of the choices, in their order."""

    name: str
    label: str
    kind: Kind
    owner: type
    place: Place = "advanced"
    labels: tuple[str, ...] = ()

    @property
    def setting(self) -> dataclasses.Field[Any]:
        return {field.name: field for field in dataclasses.fields(self.owner)}[self.name]

    def for_page(self) -> dict[str, Any]:
        """Plain values, from which the page builds the control."""
        limits = self.setting.metadata
        whole = self.setting.type == "int"
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.kind,
            "owner": self.owner.__name__,
            "place": self.place,
            "help": limits["help"],
            "default": self.setting.default,
            **({"low": limits["low"], "high": limits["high"], "step": 1 if whole else STEP} if self.kind == "slider" else {}),
            **({"options": list(zip(limits["options"], self.labels, strict=True))} if self.kind == "choice" else {}),
        }


FIELDS: tuple[Field, ...] = (
    Field(name="adapter_strength", label="Detail", kind="slider", owner=Person, place="likeness"),
    Field(name="identitynet_strength", label="Fidelity", kind="slider", owner=Person, place="likeness"),
    Field(
        name="pose",
        label="Head placement",
        kind="choice",
        owner=Person,
        place="placement",
        labels=("as in the photo", "as in a pose picture", "by hand", "free"),
    ),
    Field(
        name="face_region",
        label="InstantID acts on",
        kind="choice",
        owner=Settings,
        labels=("the face", "the whole picture", "a mask for each person"),
    ),
    Field(name="face_region_grow", label="Margin around the face", kind="slider", owner=Settings),
    Field(
        name="control_mode",
        label="What matters more",
        kind="choice",
        owner=Settings,
        labels=("balanced", "the prompt", "the identity"),
    ),
    Field(
        name="hires",
        label="Hires fix",
        kind="choice",
        owner=Settings,
        labels=("both passes", "first pass only", "second pass only"),
    ),
    Field(name="adapter_start", label="Adapter starts", kind="slider", owner=Settings),
    Field(name="adapter_end", label="Adapter ends", kind="slider", owner=Settings),
    Field(name="identitynet_start", label="IdentityNet starts", kind="slider", owner=Settings),
    Field(name="identitynet_end", label="IdentityNet ends", kind="slider", owner=Settings),
    Field(name="identitynet_every", label="Steps that share a run of IdentityNet", kind="slider", owner=Settings),
    Field(
        name="identitynet_people",
        label="Several people",
        kind="choice",
        owner=Settings,
        labels=("a run of IdentityNet for each", "one for all (faster)"),
    ),
    Field(name="negative_noise", label="Negative noise", kind="slider", owner=Settings),
    Field(name="cfg_rescale", label="CFG rescale", kind="slider", owner=Settings),
    Field(name="best_of", label="Best of", kind="slider", owner=Settings),
    Field(name="only_best", label="Keep only the best", kind="switch", owner=Settings),
    Field(name="report_similarity", label="Measure the likeness of each picture", kind="switch", owner=Settings),
)


def table_for_page() -> list[dict[str, Any]]:
    return [field.for_page() for field in FIELDS]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Strengths that a button sets, for a person."""

    name: str
    adapter_strength: float
    identitynet_strength: float


PRESETS: tuple[Preset, ...] = (
    Preset(name="Balanced", adapter_strength=0.8, identitynet_strength=0.8),
    Preset(name="More likeness", adapter_strength=1.0, identitynet_strength=1.0),
    Preset(name="More style", adapter_strength=0.6, identitynet_strength=0.5),
    Preset(name="Few-step models (LCM, Lightning, Turbo)", adapter_strength=0.6, identitynet_strength=0.7),
)
"""The first has the settings' defaults, which are the reference's."""
