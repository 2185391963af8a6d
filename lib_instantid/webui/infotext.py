"""Settings as one value of the infotext, and back: what makes a picture again, without anything biometric.

The value is JSON of the object that the API takes, without what is at its default. Photos and masks stand as short hashes:
they are recognised when they are given again, and cannot be restored. A saved identity stands by name, with a hash of its
embedding, so that another one of that name is noticed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import IdentityFileError, SettingsError
from lib_instantid.face.faces import short_hash
from lib_instantid.face.identity_files import load_identity
from lib_instantid.face.keypoints import pixels_to_fractions
from lib_instantid.face.picture import read_picture
from lib_instantid.guidance.people import ResolvedPerson
from lib_instantid.guidance.placing import Size
from lib_instantid.guidance.settings import GONE, Person, Settings, settings_from_dict
from lib_instantid.webui.pictures import BY_HASH

KEY = "InstantID"
"""The infotext's key of the value."""

SWAPPED_QUOTES = str.maketrans("\"'", "'\"")
"""The WebUIs put the value in double quotes and a backslash before each inside: JSON with the two kinds of quotes swapped
stays short and readable. Done twice, it is undone."""

NOT_OF_ONE_PICTURE = ("enabled", "people", "best_of", "only_best")
"""A picture has its own seed, whatever candidates were made beside it."""

DIGITS = 5
"""Of keypoints that were measured: a hundredth of a pixel. What a person gave stays as given."""


def infotext_of(settings: Settings, people: Sequence[ResolvedPerson], size: Size, identitynet: str | None = None) -> str:
    """The value for the settings of one picture. people: those of the settings, placed in an output of `size`. identitynet:
    the name of the one that acts, None if none does."""
    pairs = zip(settings.people, people, strict=True)
    values = {
        "people": [_written(person, resolved, settings, size) for person, resolved in pairs],
        **_changed(settings, (*NOT_OF_ONE_PICTURE, "identitynet_file")),
        **({"identitynet_file": identitynet} if identitynet is not None else {}),
    }
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).translate(SWAPPED_QUOTES)


def _changed(settings: Any, left_out: Sequence[str]) -> dict[str, Any]:
    """The fields that are not at their default."""
    own = {field.name: field.default for field in dataclasses.fields(settings) if field.name not in left_out}
    return {name: getattr(settings, name) for name, default in own.items() if getattr(settings, name) != default}


def _written(person: Person, resolved: ResolvedPerson, settings: Settings, size: Size) -> dict[str, Any]:
    values = _changed(person, ("photos", "photo_keypoints", "pose_picture", "keypoints", "region"))
    if person.photos:
        values["photos"] = [short_hash(photo.picture) for photo in resolved.photos]
    else:
        values["embedding"] = short_hash(resolved.identity.embedding)
    if person.photo_keypoints:
        values["photo_keypoints"] = [None if points is None else _numbers(points) for points in person.photo_keypoints]
    if person.pose == "keypoints":
        values["keypoints"] = _numbers(person.keypoints)
    elif resolved.placed.keypoints is not None:
        values["keypoints"] = pixels_to_fractions(resolved.placed.keypoints, *size).astype(float).round(DIGITS).tolist()
    if person.pose == "pose picture" and person.pose_picture is not None:
        values["pose_picture"] = short_hash(read_picture(person.pose_picture))
    if settings.face_region == "mask" and resolved.placed.region is not None:
        values["region"] = short_hash(resolved.placed.region)
    return values


def _numbers(points: Any) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in points]


def settings_from_infotext(
    text: str, identities: Path, identitynets: Callable[[], Sequence[str]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The object of the API, and a sentence for each thing that could not be restored.

    A person of photos comes with their hashes alone, which a page that has the photos knows, and with the keypoints that were
    used: the same photo makes the same picture, and pose "keypoints" keeps the head in its place with another one. A pose
    picture is replaced by its keypoints.
    identities: the folder of saved ones. identitynets: names of those that are there.
    A text that is none of ours, or was changed, gives no settings and one sentence.
    """
    try:
        values = _read(text)
        lost = [GONE[name] for name in GONE if values.pop(name, None) is not None]
        numbered = enumerate(values["people"], 1)
        restored = {**values, "people": [_restored(person, f"people[{i}]", identities, lost) for i, person in numbered]}
        _check(restored, values["people"])
        lost += _without_its_identitynet(restored, identitynets)
    except SettingsError as error:
        return {}, (f"InstantID's settings in the infotext cannot be read: {error}",)
    return restored, tuple(lost)


def _without_its_identitynet(restored: dict[str, Any], identitynets: Callable[[], Sequence[str]]) -> list[str]:
    """Another WebUI's file may have another name here."""
    name = restored.get("identitynet_file")
    there = identitynets() if name is not None else ()
    if name is None or name in there:
        return []
    del restored["identitynet_file"]
    return [f"identitynet_file: {name!r} is not here; {f'{there[0]!r} is used' if there else 'no IdentityNet is'}."]


def _read(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text.translate(SWAPPED_QUOTES))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"it is not as InstantID writes it ({error}).") from error
    people = values.get("people") if isinstance(values, dict) else None
    if not people or not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise SettingsError("the people are missing; it was cut off or changed.")
    if not all(isinstance(person.get("photos", []), list) for person in people):
        raise SettingsError("photos: expected a list of hashes.")
    return values


def _restored(person: dict[str, Any], field: str, identities: Path, lost: list[str]) -> dict[str, Any]:
    values = dict(person)
    photos, pose_picture, region = (values.pop(name, None) for name in ("photos", "pose_picture", "region"))
    embedding = values.pop("embedding", None)
    if "keypoints" in values:
        values.setdefault("pose", "photo")  # the points say where the photo's face was
    if photos:
        values["photos"] = [f"{BY_HASH}{photo}" for photo in photos]
        lost.append(_lost_photos(field, photos, values.get("pose", "photo")))
    if pose_picture is not None:
        values["pose"] = "keypoints"
        lost.append(
            f'{field}.pose_picture: {pose_picture} cannot be restored, and pose "keypoints" with its five points stands '
            'instead; for exactly the same face region add it again and choose pose "pose picture".'
        )
    if region is not None:
        lost.append(f"{field}.region: the mask {region} cannot be restored; add it again.")
    if "identity" in values:
        lost += _about_identity(values["identity"], embedding, field, identities)
    return values


def _lost_photos(field: str, photos: list[Any], pose: Any) -> str:
    which = ", ".join(map(str, photos))
    advice = ' With another photo of the person, pose "keypoints" keeps the head where it was.' if pose == "photo" else ""
    return f"{field}.photos: {which} cannot be restored; add {'it' if len(photos) == 1 else 'them'} again.{advice}"


def _about_identity(name: Any, embedding: Any, field: str, identities: Path) -> list[str]:
    try:
        found = short_hash(load_identity(name, identities).embedding)
    except (IdentityFileError, SettingsError) as error:
        return [f"{field}.identity: {error}"]
    return [] if found == embedding else [f"{field}.identity: {name!r} is another one now than when the picture was made."]


def _check(restored: dict[str, Any], written: list[dict[str, Any]]) -> None:
    """Raise SettingsError unless these would be settings with the lost pictures in place."""
    people = [
        {**person, "photos": own.get("photos", []), "region": own.get("region")}
        for person, own in zip(restored["people"], written, strict=True)
    ]
    settings_from_dict({**restored, "people": people})
