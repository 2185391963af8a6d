"""InstantID's settings in an infotext. The keypoints recorded are those that were used, however the head was placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lib_instantid.adapters.family import Restored, Sources
from lib_instantid.adapters.instantid.people import ResolvedPerson
from lib_instantid.adapters.instantid.placing import Size, pose_picture
from lib_instantid.adapters.instantid.recognise import IDENTITYNET
from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.people_record import plain_points, recorded_person, restored_people
from lib_instantid.adapters.record import recorded_own
from lib_instantid.encoders.face.faces import HASH_DIGITS, short_hash
from lib_instantid.encoders.face.keypoints import pixels_to_fractions
from lib_instantid.encoders.face.photos import Look

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
    values = recorded_person(person, resolved)
    if person.pose == "keypoints" and person.keypoints is not None:
        values["keypoints"] = plain_points(person.keypoints)
    elif resolved.placed.keypoints is not None:
        values["keypoints"] = pixels_to_fractions(resolved.placed.keypoints, *size).astype(float).round(DIGITS).tolist()
    if person.pose == "pose picture":
        values["pose_picture"] = look(*pose_picture(settings.people, number)).digest[:HASH_DIGITS]
    if settings.face_region == "mask" and resolved.placed.region is not None:
        values["region"] = short_hash(resolved.placed.region)
    return values


def restored(values: dict[str, Any], sources: Sources) -> Restored:
    """Turn InstantID's part of an infotext into settings for the API. Errors: see `restored_people`."""
    found, told = restored_people(values, sources)
    name = found.get("identitynet_file")
    there = sources.names(IDENTITYNET) if name is not None else ()
    if name is None or name in there:
        return found, told
    del found["identitynet_file"]  # another WebUI's file may have another name here
    used = f"{there[0]!r} is used" if there else "no IdentityNet is"
    return found, (*told, f"identitynet_file: {name!r} is not here; {used}.")
