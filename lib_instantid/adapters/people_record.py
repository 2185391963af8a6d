"""People in an infotext.

Photos and masks are recorded as short hashes. A saved identity is recorded by name and by a hash of its embedding, which shows
if another identity has that name later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_instantid.adapters.family import Restored, Sources
from lib_instantid.adapters.fields import Keypoints
from lib_instantid.adapters.known import KnownPerson
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.record import BY_HASH, changed
from lib_instantid.encoders.face.faces import HASH_DIGITS, short_hash
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.errors import IdentityFileError, SettingsError


def recorded_person(person: Person, known: KnownPerson) -> dict[str, object]:
    """Who a person is, and the person's plain settings, for the infotext."""
    values = changed(person)
    if person.photos:
        values["photos"] = [photo.digest[:HASH_DIGITS] for photo in known.photos]
    else:
        values["embedding"] = short_hash(known.identity.embedding)
    if person.photo_keypoints:
        values["photo_keypoints"] = [None if points is None else plain_points(points) for points in person.photo_keypoints]
    return values


def plain_points(points: Keypoints) -> list[list[float]]:
    """Points as numbers for JSON, not rounded."""
    return [[float(x), float(y)] for x, y in points]


def restored_people(values: Mapping[str, Any], sources: Sources) -> Restored:
    """Turn the people of an infotext into settings for the API.

    Photos are only restored as hashes, which a page replaces if it still has the photos. The keypoints that were used are
    restored too, so that with another photo pose "keypoints" keeps the head in its place. A pose picture is replaced by its
    keypoints. Raises SettingsError: the photos are not a list.
    """
    lost: list[str] = []
    people = [_restored(person, f"people[{i}]", sources, lost) for i, person in enumerate(values["people"], 1)]
    return {**values, "people": people}, tuple(lost)


def _restored(person: dict[str, Any], field: str, sources: Sources, lost: list[str]) -> dict[str, Any]:
    if not isinstance(person.get("photos", []), list):
        raise SettingsError("photos: expected a list of hashes.")
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
        lost += _about_identity(values["identity"], embedding, field, sources)
    return values


def _lost_photos(field: str, photos: list[str], pose: object) -> str:
    which = ", ".join(map(str, photos))
    advice = ' With another photo of the person, pose "keypoints" keeps the head where it was.' if pose == "photo" else ""
    return f"{field}.photos: {which} cannot be restored; add {'it' if len(photos) == 1 else 'them'} again.{advice}"


def _about_identity(name: str, embedding: object, field: str, sources: Sources) -> list[str]:
    try:
        found = short_hash(load_identity(name, sources.identities).embedding)
    except (IdentityFileError, SettingsError) as error:
        return [f"{field}.identity: {error}"]
    return [] if found == embedding else [f"{field}.identity: {name!r} is another one now than when the picture was made."]
