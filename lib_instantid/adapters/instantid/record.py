"""InstantID's settings in an infotext.

Photos and masks are recorded as short hashes. A saved identity is recorded by name and by a hash of its embedding, which shows
if another identity has that name later. The keypoints recorded are those that were used, however the head was placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lib_instantid.adapters.family import Restored, Sources
from lib_instantid.adapters.fields import Keypoints
from lib_instantid.adapters.instantid.people import ResolvedPerson
from lib_instantid.adapters.instantid.placing import Size, pose_picture
from lib_instantid.adapters.instantid.recognise import IDENTITYNET
from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.record import BY_HASH, changed, recorded_own
from lib_instantid.encoders.face.faces import HASH_DIGITS, short_hash
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.keypoints import pixels_to_fractions
from lib_instantid.encoders.face.photos import Look
from lib_instantid.errors import IdentityFileError, SettingsError

DIGITS = 5
"""Decimals of detected keypoints, about a hundredth of a pixel. Points placed by hand are not rounded."""


def recorded(
    settings: InstantIDSettings, people: Sequence[ResolvedPerson], size: Size, identitynet: str | None, look: Look
) -> dict[str, Any]:
    """InstantID's settings for the infotext. people: those of the settings, placed in an output of `size`. identitynet: the
    name of the IdentityNet in use, or None. look: see `place_heads`."""
    own = recorded_own(settings, InstantIDSettings, ["identitynet_file"])
    net = {} if identitynet is None else {"identitynet_file": identitynet}
    each = [_person(settings, number, resolved, size, look) for number, resolved in enumerate(people, 1)]
    return {"people": each, **own, **net}


def _person(settings: InstantIDSettings, number: int, resolved: ResolvedPerson, size: Size, look: Look) -> dict[str, object]:
    person = settings.people[number - 1]
    values = changed(person)
    if person.photos:
        values["photos"] = [photo.digest[:HASH_DIGITS] for photo in resolved.photos]
    else:
        values["embedding"] = short_hash(resolved.identity.embedding)
    if person.photo_keypoints:
        values["photo_keypoints"] = [None if points is None else _numbers(points) for points in person.photo_keypoints]
    if person.pose == "keypoints" and person.keypoints is not None:
        values["keypoints"] = _numbers(person.keypoints)
    elif resolved.placed.keypoints is not None:
        values["keypoints"] = pixels_to_fractions(resolved.placed.keypoints, *size).astype(float).round(DIGITS).tolist()
    if person.pose == "pose picture":
        values["pose_picture"] = look(*pose_picture(settings.people, number)).digest[:HASH_DIGITS]
    if settings.face_region == "mask" and resolved.placed.region is not None:
        values["region"] = short_hash(resolved.placed.region)
    return values


def _numbers(points: Keypoints) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in points]


def restored(values: dict[str, Any], sources: Sources) -> Restored:
    """Turn InstantID's part of an infotext into settings for the API.

    Photos are only restored as hashes, which a page replaces if it still has the photos. The keypoints that were used are
    restored too, so that with another photo pose "keypoints" keeps the head in its place. A pose picture is replaced by its
    keypoints. Raises SettingsError: the photos are not a list.
    """
    lost: list[str] = []
    people = [_restored(person, f"people[{i}]", sources, lost) for i, person in enumerate(values["people"], 1)]
    found = {**values, "people": people}
    name = found.get("identitynet_file")
    there = sources.names(IDENTITYNET) if name is not None else ()
    if name is not None and name not in there:  # another WebUI's file may have another name here
        del found["identitynet_file"]
        used = f"{there[0]!r} is used" if there else "no IdentityNet is"
        lost.append(f"identitynet_file: {name!r} is not here; {used}.")
    return found, tuple(lost)


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
