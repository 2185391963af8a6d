"""InstantID's settings: their names, ranges, defaults and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Preset
from lib_instantid.adapters.fields import (
    Choice,
    Entries,
    Keypoints,
    Name,
    Number,
    PictureInput,
    PictureSource,
    Points,
    check_keypoints,
    setting,
)
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.who import Who
from lib_instantid.conditioning.schedule import ControlMode
from lib_instantid.constants import MAX_PEOPLE
from lib_instantid.errors import SettingsError

FaceRegion = Literal["face", "everywhere", "mask"]
IdentityNetPeople = Literal["each", "together"]
Pose = Literal["photo", "pose picture", "keypoints", "none"]
GONE = {"identitynet_rows": "identitynet_rows is no longer a setting and is ignored: IdentityNet acts on both rows."}
"""Removed settings, which old requests and infotexts may name, and the sentence shown for each."""

STRENGTH = Number(low=0.0, high=1.5)
FRACTION = Number(low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Person(Who):
    """One person of the picture, given by photos or a saved identity, with a head placement."""

    adapter_strength: float = setting(0.8, STRENGTH, "Detail", "strength of the adapter: detail of the face", place="likeness")
    identitynet_strength: float = setting(
        0.8, STRENGTH, "Fidelity", "strength of IdentityNet: fidelity and head placement", place="likeness"
    )
    pose: Pose = setting(
        "photo",
        Choice(
            options=("photo", "pose picture", "keypoints", "none"),
            labels=("as in the photo", "as in a pose picture", "by hand", "free"),
        ),
        "Head placement",
        "where the head is placed from",
        place="placement",
    )
    pose_picture: PictureSource | None = setting(None, PictureInput(), "pose picture", "picture whose face places the head")
    keypoints: Keypoints | None = setting(
        None,
        Points(),
        "points placed by hand",
        "five points (eyes, nose, mouth corners; viewer's left first) as fractions of the output's width and height",
    )
    region: PictureSource | None = setting(None, PictureInput(), "mask", "mask picture of the person's region, white inside")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_pose()

    def varied(self, values: Mapping[str, Any]) -> Person:
        """The person with other values. Another identity or photo replaces the old one, but the head stays where the old photo
        placed it."""
        given = dict(values)
        identity = given.get("identity")
        if "photos" in given or identity is not None:
            face = self.face if isinstance(self.face, str | int) else "largest"
            given = {"face": face, "photo_keypoints": (), "photos": (), "identity": None, **given}
        if identity is not None and self.pose == "photo" and "pose" not in given:
            given |= {"pose": "pose picture", "pose_picture": self.photos[0]}
        return dataclasses.replace(self, **given)

    def _check_pose(self) -> None:
        if self.pose == "pose picture" and self.pose_picture is None:
            raise SettingsError('pose_picture: missing; pose "pose picture" needs one, or choose another pose.')
        if self.pose == "keypoints" and self.keypoints is None:
            raise SettingsError('keypoints: missing; pose "keypoints" needs five points, or choose another pose.')
        if self.pose == "photo" and not self.photos:
            raise SettingsError(
                'pose: "photo" needs a photo, and a saved identity has none; choose "pose picture", "keypoints" or "none".'
            )
        if self.keypoints is not None:
            check_keypoints("keypoints", self.keypoints)

    @staticmethod
    def implied(given: Mapping[str, object]) -> dict[str, object]:
        """The pose, if it was not given: that of given keypoints or a given pose picture; else "none" for a saved identity,
        which has no photo to place the head, and "photo" for photos. Raises SettingsError: both were given."""
        found = [pose for pose in ("keypoints", "pose picture") if given.get(pose.replace(" ", "_")) is not None]
        if len(found) > 1 and "pose" not in given:
            raise SettingsError(
                'pose: missing, and keypoints and a pose picture are given; say which: "keypoints" or "pose picture".'
            )
        return {"pose": found[0] if found else "none" if given.get("identity") is not None else "photo"}


@dataclass(frozen=True, kw_only=True)
class InstantIDSettings(Common):
    """InstantID's part of a generation's settings."""

    people: Sequence[Person] = setting(
        (),
        Entries(of=Person, most=MAX_PEOPLE, title="person", needs="photos or identity"),
        "people",
        f"1 to {MAX_PEOPLE} people",
    )
    adapter_start: float = setting(
        0.0, FRACTION, "Adapter starts", "fraction of the steps at which the adapter starts", place="advanced"
    )
    adapter_end: float = setting(
        1.0, FRACTION, "Adapter ends", "fraction of the steps at which the adapter ends", place="advanced"
    )
    identitynet_start: float = setting(
        0.0, FRACTION, "IdentityNet starts", "fraction of the steps at which IdentityNet starts", place="advanced"
    )
    identitynet_end: float = setting(
        1.0, FRACTION, "IdentityNet ends", "fraction of the steps at which IdentityNet ends", place="advanced"
    )
    face_region: FaceRegion = setting(
        "face",
        Choice(options=("face", "everywhere", "mask"), labels=("the face", "the whole picture", "a mask for each person")),
        "InstantID acts on",
        "where InstantID acts",
        place="advanced",
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
        for name in ("adapter", "identitynet"):
            start, end = getattr(self, f"{name}_start"), getattr(self, f"{name}_end")
            if start > end:
                raise SettingsError(f"{name}_start: {start} is after {name}_end, {end}; start must not be above end.")
        for number, person in enumerate(self.people, 1):
            if self.face_region == "mask" and person.region is None:
                raise SettingsError(
                    f'people[{number}].region: missing; face_region "mask" needs a mask for each person, '
                    'or choose "face" or "everywhere".'
                )

    @staticmethod
    def implied(people: Sequence[Person]) -> dict[str, object]:
        """The face region, if it was not given: "mask" if a person has a region."""
        return {"face_region": "mask"} if any(person.region is not None for person in people) else {}

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
