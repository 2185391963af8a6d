"""Finds each person's identity in the photos of the settings, and the place of each head in the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.instantid.placing import Size, place_heads
from lib_instantid.adapters.instantid.prepare import PlacedPerson
from lib_instantid.adapters.instantid.settings import InstantIDSettings, Person
from lib_instantid.encoders.face.head_points import Head
from lib_instantid.encoders.face.identity import Identity, combine
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.photos import Look, PhotoFace, Photos, one_by_one
from lib_instantid.encoders.face.picture import read_mask
from lib_instantid.encoders.face.report import stranger_advice
from lib_instantid.errors import SettingsError

MOVED = "the head was at another one's place, so they stand side by side; place them by hand to have them elsewhere."


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPerson:
    """A person with an identity. photos: the chosen face of each photo; none for a saved identity. advice: sentences."""

    identity: Identity
    photos: tuple[PhotoFace, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedPerson(KnownPerson):
    """A person with an identity and a place in an output."""

    placed: PlacedPerson


def known_people(settings: InstantIDSettings, photos: Photos, identities: Path) -> tuple[KnownPerson, ...]:
    """Who everyone is. identities: the folder of saved ones.

    Raises PictureError, NoFaceFound, IdentityFileError or SettingsError, naming the person and the field.
    """
    known = []
    for number, person in enumerate(settings.people, 1):
        field, found = f"people[{number}].photos", []
        for photo, which, points, name in one_by_one(person.photos, person.face, person.photo_keypoints, field):
            found.append(photos.see(photo, points, name).meant(which, name))
        known.append(_known(person, found, field, identities))
    return tuple(known)


def _known(person: Person, photos: Sequence[PhotoFace], field: str, identities: Path) -> KnownPerson:
    names = [f"{field}[{i}]" for i in range(1, len(photos) + 1)]
    faces = [photo.face for photo in photos]
    advice = tuple(f"{name}: {text}" for name, photo in zip(names, photos, strict=True) for text in photo.advice)
    return KnownPerson(
        identity=combine(faces) if person.identity is None else load_identity(person.identity, identities),
        photos=tuple(photos),
        advice=advice + stranger_advice(faces, names),
    )


def placed_people(
    settings: InstantIDSettings, known: Sequence[KnownPerson], size: Size, look: Look
) -> tuple[ResolvedPerson, ...]:
    """The known people with their places in an output of `size`. known: one per person of the settings. Errors: see
    `known_people`."""
    each = zip(settings.people, known, place_heads(settings, size, look), strict=True)
    return tuple(_placed(*person, size, f"people[{number}]") for number, person in enumerate(each, 1))


def _placed(person: Person, known: KnownPerson, head: Head | None, size: Size, field: str) -> ResolvedPerson:
    return ResolvedPerson(
        identity=known.identity,
        photos=known.photos,
        advice=known.advice + ((f"{field}: {MOVED}",) if head and head.moved else ()),
        placed=PlacedPerson(
            embedding=known.identity.embedding,
            keypoints=head.keypoints if head else None,
            box=head.box if head else None,
            region=_region(person.region, size, field),
        ),
    )


def _region(region: PictureSource | None, size: Size, field: str) -> np.ndarray | None:
    """(height, width) mask in [0, 1], stretched to the output."""
    if region is None:
        return None
    mask = read_mask(region, f"{field}.region")
    if mask.max() == 0:
        raise SettingsError(f"{field}.region: the mask is all black; paint the person's region white.")
    resized: np.ndarray = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return resized
