"""People, whom several systems can bring into a picture: their settings, and those that all these systems share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lib_instantid.adapters.common import Common, Entry
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
from lib_instantid.constants import MAX_PEOPLE, MAX_PHOTOS, SD15_CONTEXT
from lib_instantid.encoders.face.choose import CHOICES
from lib_instantid.errors import SettingsError

AUTOMATIC, INSTANTID, FACEID = "automatic", "InstantID", "FaceID"
System = Literal["automatic", "InstantID", "FaceID"]
FaceRegion = Literal["face", "everywhere", "mask"]
Pose = Literal["photo", "pose picture", "keypoints", "none"]

STRENGTH = Number(low=0.0, high=1.5)
FRACTION = Number(low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Who(Entry):
    """A person, given either by photos or by a saved identity."""

    photos: Sequence[PictureSource] = setting((), PictureInput(most=MAX_PHOTOS), "photos", "1 to 16 photos of the person")
    identity: str | None = setting(None, Name(of="identity"), "saved identity", "name of a saved identity, instead of photos")
    photo_keypoints: Sequence[Keypoints | None] = setting(
        (),
        Points(most=MAX_PHOTOS),
        "points in the photo",
        "five points by hand for photos in which no detector finds the face, as fractions of the photo's width and height",
    )
    face: str | int | Sequence[str | int] = setting(
        "largest",
        Choice(options=CHOICES, numbered=True),
        "chosen face",
        "which face of a photo: largest, left, right, center, or a number from the left; or a list, one for each photo",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_source()
        self._check_face()

    def _check_source(self) -> None:
        if bool(self.photos) == (self.identity is not None):
            found = "both" if self.photos else "neither"
            raise SettingsError(f"photos, identity: found {found}; give either 1 to {MAX_PHOTOS} photos or an identity.")
        if len(self.photos) > MAX_PHOTOS:
            raise SettingsError(f"photos: found {len(self.photos)}, expected at most {MAX_PHOTOS}; leave the weakest out.")
        if len(self.photo_keypoints) > len(self.photos):
            raise SettingsError(
                f"photo_keypoints: found {len(self.photo_keypoints)} entries for {len(self.photos)} photos; give one for each "
                "photo, or null for a photo whose face is to be detected."
            )
        for keypoints in self.photo_keypoints:
            if keypoints is not None:
                check_keypoints("photo_keypoints", keypoints)

    def _check_face(self) -> None:
        if isinstance(self.face, list | tuple) and len(self.face) != len(self.photos):
            raise SettingsError(
                f"face: found {len(self.face)} entries for {len(self.photos)} photos; give one for each, or one word."
            )


@dataclass(frozen=True, kw_only=True)
class Person(Who):
    """One person of the picture, given by photos or a saved identity, with a head placement."""

    system: System = setting(
        AUTOMATIC,
        Choice(options=get_args(System), labels=("as fits the checkpoint", "InstantID", "FaceID")),
        "System",
        "what brings the face in: InstantID for SDXL, or FaceID for SD1.5 and SDXL; automatic is FaceID for SD1.5 alone",
        place="advanced",
    )
    adapter_strength: float = setting(0.8, STRENGTH, "Detail", "strength of the adapter: detail of the face", place="likeness")
    identitynet_strength: float = setting(
        0.8, STRENGTH, "Fidelity", "strength of IdentityNet: fidelity and head placement", place="likeness"
    )
    lora_strength: float = setting(
        1.0,
        STRENGTH,
        "LoRA of FaceID",
        "strength of the LoRA that belongs to a FaceID adapter; less keeps more of the checkpoint's own style",
        place="advanced",
    )
    structure: float = setting(
        1.0,
        Number(low=0.0, high=2.0),
        "Structure of FaceID",
        "how much FaceID PlusV2 takes from the look of the face, beside who it is",
        place="advanced",
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

    def acts_by(self, system: str, context: int | None) -> bool:
        """Whether a system brings this person in. context: numbers of a token of the checkpoint's text, None if not known."""
        chosen = FACEID if context == SD15_CONTEXT else INSTANTID
        return system == (chosen if self.system == AUTOMATIC else self.system)

    def switched_off(self) -> Person:
        """The person without a head and of no strength, for a system that another one stands in for."""
        return dataclasses.replace(self, pose="none", adapter_strength=0.0, identitynet_strength=0.0)

    @property
    def acts(self) -> bool:
        """Whether anything of InstantID's acts for the person."""
        return bool(self.adapter_strength or self.identitynet_strength)

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
class PeopleSettings(Common):
    """The people of a generation, and the settings that all systems with people share."""

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
    face_region: FaceRegion = setting(
        "face",
        Choice(options=("face", "everywhere", "mask"), labels=("the face", "the whole picture", "a mask for each person")),
        "InstantID acts on",
        "where InstantID acts",
        place="advanced",
    )

    def check(self) -> None:
        """Raise SettingsError for settings that contradict each other."""
        check_window("adapter", self.adapter_start, self.adapter_end)
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


def check_window(name: str, start: float, end: float) -> None:
    """Raise SettingsError if a window of steps, NAME_start to NAME_end, ends before it starts."""
    if start > end:
        raise SettingsError(f"{name}_start: {start} is after {name}_end, {end}; start must not be above end.")
