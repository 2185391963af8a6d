"""From settings to people: photos → faces → identity, and where each head goes in the output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib_instantid.errors import SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.identity import Identity, combine
from lib_instantid.face.identity_files import load_identity
from lib_instantid.face.photos import PhotoFace, faces_of_photos
from lib_instantid.face.picture import read_mask
from lib_instantid.face.report import PhotoReport, report, stranger_advice
from lib_instantid.guidance.guidance import PlacedPerson
from lib_instantid.guidance.placing import Head, Size, place_heads
from lib_instantid.guidance.settings import Person, Picture, Settings

MOVED = "the head was at another one's place, so they stand side by side; place them by hand to have them elsewhere."


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedPerson:
    """A person ready for guidance. photos and reports: one per photo, none for a saved identity. advice: sentences."""

    identity: Identity
    placed: PlacedPerson
    photos: tuple[PhotoFace, ...]
    reports: tuple[PhotoReport, ...]
    advice: tuple[str, ...]


def resolve_people(settings: Settings, size: Size, analyser: Analyser, identities: Path) -> tuple[ResolvedPerson, ...]:
    """Every person of the settings, for an output of `size`. identities: the folder of saved identities.

    Raises PictureError, NoFaceFound, IdentityFileError or SettingsError, naming the person and the field.
    """
    photos = [_photos(person, number, analyser) for number, person in enumerate(settings.people, 1)]
    heads = place_heads(settings, size, analyser, lambda number: photos[number - 1])
    people = zip(settings.people, photos, heads, strict=True)
    return tuple(_resolve(*person, number, size, identities) for number, person in enumerate(people, 1))


def _resolve(
    person: Person, photos: tuple[PhotoFace, ...], head: Head | None, number: int, size: Size, identities: Path
) -> ResolvedPerson:
    field = f"people[{number}]"
    faces = [photo.face for photo in photos]
    identity = combine(faces) if person.identity is None else load_identity(person.identity, identities)
    reports = tuple(report(photo.picture, photo.face) for photo in photos)
    names = [f"{field}.photos[{i}]" for i in range(1, len(photos) + 1)]
    own_advice = tuple(f"{name}: {advice}" for name, found in zip(names, reports, strict=True) for advice in found.advice)
    moved = (f"{field}: {MOVED}",) if head and head.moved else ()
    return ResolvedPerson(
        identity=identity,
        placed=PlacedPerson(
            embedding=identity.embedding,
            keypoints=head.keypoints if head else None,
            box=head.box if head else None,
            region=_region(person.region, size, field),
        ),
        photos=photos,
        reports=reports,
        advice=own_advice + stranger_advice(faces, names) + moved,
    )


def heads_of(settings: Settings, size: Size, analyser: Analyser) -> tuple[Head | None, ...]:
    """Only where each person's head goes; None for a free one. Raises as `resolve_people`."""
    return place_heads(settings, size, analyser, lambda number: _photos(settings.people[number - 1], number, analyser))


def _photos(person: Person, number: int, analyser: Analyser) -> tuple[PhotoFace, ...]:
    return faces_of_photos(person.photos, analyser, person.face, person.photo_keypoints, f"people[{number}].photos")


def _region(region: Picture | None, size: Size, field: str) -> np.ndarray | None:
    """(height, width) mask in [0, 1], stretched to the output."""
    if region is None:
        return None
    mask = read_mask(region, f"{field}.region")
    if mask.max() == 0:
        raise SettingsError(f"{field}.region: the mask is all black; paint the person's region white.")
    resized: np.ndarray = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return resized
