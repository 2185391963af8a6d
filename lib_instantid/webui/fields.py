"""The one table of fields, in the page's order, from which the panel and the reading of its values derive.

Names, ranges, choices and defaults are those of the settings; here stands only how the page shows them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from lib_instantid.guidance.settings import FACE_WORDS, Person, Settings

Kind = Literal["switch", "files", "picture", "slider", "choice"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One component of the page. owner: the settings class that has the field of this name. advanced: out of sight at first;
    such fields stand behind the others."""

    name: str
    label: str
    kind: Kind
    owner: type
    choices: tuple[str, ...] = ()
    advanced: bool = True

    @property
    def setting(self) -> dataclasses.Field[Any]:
        return {field.name: field for field in dataclasses.fields(self.owner)}[self.name]


FIELDS: tuple[Field, ...] = (
    Field(name="enabled", label="InstantID", kind="switch", owner=Settings),
    Field(name="photos", label="Photos of the person (one is enough)", kind="files", owner=Person, advanced=False),
    Field(name="face", label="Face", kind="choice", owner=Person, choices=FACE_WORDS, advanced=False),
    Field(name="adapter_strength", label="Adapter strength (detail)", kind="slider", owner=Person, advanced=False),
    Field(name="identitynet_strength", label="IdentityNet strength (fidelity)", kind="slider", owner=Person, advanced=False),
    Field(name="pose", label="Head placement", kind="choice", owner=Person, choices=("photo", "pose picture", "none")),
    Field(name="pose_picture", label="Pose picture", kind="picture", owner=Person),
    Field(name="face_region", label="Acts on", kind="choice", owner=Settings, choices=("face", "everywhere")),
    Field(name="face_region_grow", label="Margin around the face", kind="slider", owner=Settings),
    Field(name="control_mode", label="Control mode", kind="choice", owner=Settings),
    Field(name="adapter_start", label="Adapter start", kind="slider", owner=Settings),
    Field(name="adapter_end", label="Adapter end", kind="slider", owner=Settings),
    Field(name="identitynet_start", label="IdentityNet start", kind="slider", owner=Settings),
    Field(name="identitynet_end", label="IdentityNet end", kind="slider", owner=Settings),
    Field(name="negative_noise", label="Negative noise", kind="slider", owner=Settings),
    Field(name="hires", label="Hires fix passes", kind="choice", owner=Settings),
)
