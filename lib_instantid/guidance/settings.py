"""Everything a person can set: names, ranges and defaults, each once.

A field's metadata holds its range or choices; validation, the command line and the panel derive from it.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, SupportsFloat, get_args

from PIL import Image

from lib_instantid.errors import SettingsError

Picture = Path | str | bytes | Image.Image
"""A path, the bytes of a picture file, or a Pillow picture."""

Keypoints = Sequence[Sequence[float]]
"""Five (x, y) pairs, as fractions of a picture's width and height: eyes, nose, mouth corners; viewer's left first."""

FaceRegion = Literal["face", "everywhere", "mask"]
ControlMode = Literal["balanced", "prompt", "identity"]
HiresPasses = Literal["both", "first pass", "second pass"]
IdentityNetPeople = Literal["each", "together"]
Pose = Literal["photo", "pose picture", "keypoints", "none"]
FACE_WORDS = ("largest", "left", "right", "center")
GONE = {"identitynet_rows": "identitynet_rows is no longer a setting and is ignored: IdentityNet acts on both rows."}
"""Settings of earlier versions, which old requests and infotexts may name, and what is said of each."""

MAX_PEOPLE = 4
MAX_PHOTOS = 16


def _number(default: float, low: float, high: float, help: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "help": help})


def _choice(default: str, options: Any, help: str) -> Any:
    return field(default=default, metadata={"options": get_args(options), "help": help})


def _other(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person of the picture: from photos or a saved identity, with a head placement."""

    photos: Sequence[Picture] = _other((), "1 to 16 photos of the person")
    identity: str | None = _other(None, "name of a saved identity, instead of photos")
    photo_keypoints: Sequence[Keypoints | None] = _other(
        (), "five points by hand for photos in which no detector finds the face, as fractions of the photo's width and height"
    )
    face: str | int | Sequence[str | int] = _other(
        "largest",
        "which face of a photo: largest, left, right, center, or a number from the left; or a list, one for each photo",
    )
    adapter_strength: float = _number(0.8, 0.0, 1.5, "strength of the adapter: detail of the face")
    identitynet_strength: float = _number(0.8, 0.0, 1.5, "strength of IdentityNet: fidelity and head placement")
    pose: Pose = _choice("photo", Pose, "where the head is placed from")
    pose_picture: Picture | None = _other(None, "picture whose face places the head")
    keypoints: Keypoints | None = _other(
        None,
        "five points (eyes, nose, mouth corners; viewer's left first) as fractions of the output's width and height",
    )
    region: Picture | None = _other(None, "mask picture of the person's region, white inside")

    def __post_init__(self) -> None:
        _check_fields(self)
        self._check_source()
        self._check_face()
        self._check_pose()

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
                _check_keypoints("photo_keypoints", keypoints)

    def _check_face(self) -> None:
        faces: Sequence[Any] = self.face if isinstance(self.face, list | tuple) else [self.face]
        for face in faces:
            if isinstance(face, bool) or not (face in FACE_WORDS or (str(face).isdecimal() and int(face) >= 1)):
                raise SettingsError(
                    f"face: found {face!r}, expected {', '.join(FACE_WORDS)} or a number from 1, counted from the left."
                )
        if faces is self.face and len(faces) != len(self.photos):
            raise SettingsError(
                f"face: found {len(faces)} entries for {len(self.photos)} photos; give one for each, or one word."
            )

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
            _check_keypoints("keypoints", self.keypoints)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One generation's settings."""

    enabled: bool = _other(False, "whether InstantID acts")
    people: Sequence[Person] = _other((), "1 to 4 people")
    adapter_start: float = _number(0.0, 0.0, 1.0, "fraction of the steps at which the adapter starts")
    adapter_end: float = _number(1.0, 0.0, 1.0, "fraction of the steps at which the adapter ends")
    identitynet_start: float = _number(0.0, 0.0, 1.0, "fraction of the steps at which IdentityNet starts")
    identitynet_end: float = _number(1.0, 0.0, 1.0, "fraction of the steps at which IdentityNet ends")
    face_region: FaceRegion = _choice("face", FaceRegion, "where InstantID acts")
    face_region_grow: float = _number(0.0, 0.0, 2.0, "margin on each side of the face box, as a part of its size")
    control_mode: ControlMode = _choice("balanced", ControlMode, "what matters more: balanced, the prompt or the identity")
    identitynet_every: int = _number(1, 1, 8, "steps that share one run of IdentityNet; 1 is the reference, more is faster")
    identitynet_people: IdentityNetPeople = _choice(
        "each", IdentityNetPeople, "several people: a run of IdentityNet for each, or one for all, which is faster"
    )
    identitynet_file: str | None = _other(None, "name of the IdentityNet, where a WebUI has several; the first if none")
    negative_noise: float = _number(0.0, 0.0, 1.0, "noise in the unconditional embedding; the reference has none")
    hires: HiresPasses = _choice("both", HiresPasses, "passes of the hires fix in which InstantID acts")
    cfg_rescale: float = _number(0.0, 0.0, 1.0, "how far the guided noise is scaled back to the conditional one's contrast")
    report_similarity: bool = _other(False, "measure how like the person each picture is")
    best_of: int = _number(1, 1, 8, "make so many candidates and order them by likeness")
    only_best: bool = _other(False, "return only the most like of the candidates")

    def __post_init__(self) -> None:
        _check_fields(self)
        if len(self.people) > MAX_PEOPLE or not all(isinstance(person, Person) for person in self.people):
            raise SettingsError(f"people: found {len(self.people)} people, expected 1 to {MAX_PEOPLE} of type Person.")
        if self.enabled and not self.people:
            raise SettingsError("people: empty; add a person with a photo or a saved identity, or turn InstantID off.")
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

    @property
    def uses_identitynet(self) -> bool:
        """Whether it acts for anyone; where it does not, it need not be loaded."""
        return any(person.identitynet_strength for person in self.people)


def settings_from_dict(values: Mapping[str, object]) -> Settings:
    """Settings from plain values, as an API or a file gives them. Unknown names are errors; those `GONE` warn.

    What needs another setting implies it where that is not named: points or a pose picture their pose, a region the face
    region "mask". Raises SettingsError that names the field, as in `people[1].face`.
    """
    for name in GONE.keys() & values.keys():
        warnings.warn(GONE[name], stacklevel=2)
    own = {name: value for name, value in values.items() if name not in GONE}
    people = own.pop("people", ())
    if not isinstance(people, Sequence) or isinstance(people, str):
        raise SettingsError(f"people: found {type(people).__name__}, expected a list of people.")
    built = tuple(_person(value, i) for i, value in enumerate(people, 1))
    implied = {"face_region": "mask"} if any(person.region is not None for person in built) else {}
    return _build(Settings, {**implied, **own, "people": built})


def _person(value: object, number: int) -> Person:
    if not isinstance(value, Mapping):
        raise SettingsError(f"people[{number}]: found {type(value).__name__}, expected an object with photos or identity.")
    try:
        return _build(Person, {"pose": _implied_pose(value), **value})
    except SettingsError as error:
        raise SettingsError(f"people[{number}].{error}") from error


def _implied_pose(person: Mapping[str, object]) -> str:
    """Points or a pose picture mean that pose; a saved identity alone has no photo to place the head as in."""
    given = [pose for pose in ("keypoints", "pose picture") if person.get(pose.replace(" ", "_")) is not None]
    if len(given) > 1 and "pose" not in person:
        raise SettingsError(
            'pose: missing, and keypoints and a pose picture are given; say which: "keypoints" or "pose picture".'
        )
    return given[0] if given else "none" if person.get("identity") is not None else "photo"


def _build(kind: type[Any], values: Mapping[str, object]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}.")
    return kind(**values)


def _check_fields(settings: Any) -> None:
    """Types, ranges and choices, from the fields' metadata."""
    for setting in dataclasses.fields(settings):
        value = getattr(settings, setting.name)
        for problem in _problems(setting, value):
            raise SettingsError(f"{setting.name}: found {value!r}, expected {problem}.")


def _problems(setting: dataclasses.Field[Any], value: Any) -> Iterator[str]:
    limits = setting.metadata
    if "low" in limits:
        whole = setting.type == "int"
        a_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (a_number and limits["low"] <= value <= limits["high"]):
            yield f"a {'whole ' if whole else ''}number from {limits['low']} to {limits['high']}"
    elif "options" in limits and value not in limits["options"]:
        yield "one of " + ", ".join(f'"{option}"' for option in limits["options"])
    elif setting.type == "bool" and not isinstance(value, bool):
        yield "true or false"
    elif setting.type == "str | None" and not isinstance(value, str | None):
        yield "a name"
    elif setting.type.startswith("Sequence") and (isinstance(value, str | bytes) or not isinstance(value, Sequence)):
        yield "a list"


def _check_keypoints(name: str, keypoints: Any) -> None:
    try:
        if not all(isinstance(v, SupportsFloat) and not isinstance(v, bool) for point in keypoints for v in point):
            raise TypeError("not a number")
        points = [(float(x), float(y)) for x, y in keypoints]
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{name}: found {keypoints!r}, expected five pairs of numbers.") from error
    if len(points) != 5 or not all(math.isfinite(v) for point in points for v in point):
        raise SettingsError(f"{name}: found {len(points)} points, expected five pairs of finite numbers.")
    if all(not (0 <= x <= 1 and 0 <= y <= 1) for x, y in points):
        raise SettingsError(
            f"{name}: all five lie outside the picture (the first is {points[0]}); expected fractions of its "
            "width and height, from 0 to 1, not pixels."
        )
