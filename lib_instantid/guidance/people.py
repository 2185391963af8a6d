"""From settings to people: photos → faces → identity, and where each head goes in the output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib_instantid.errors import SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.identity import Identity, combine
from lib_instantid.face.identity_files import load_identity
from lib_instantid.face.photos import PhotoFace, Sight, face_of_photo, faces_of_photos
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
    """Every person of the settings, for an output of `size`; see `People`."""
    return People(settings, analyser, identities).at(size)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What the sizes of the passes do not change."""

    identity: Identity
    photos: tuple[PhotoFace, ...]
    reports: tuple[PhotoReport, ...]
    advice: tuple[str, ...]


class People:
    """The people of one generation. Each photo is decoded, looked at and judged once, whatever sizes its passes have.

    identities: the folder of saved identities.
    """

    def __init__(self, settings: Settings, analyser: Analyser, identities: Path) -> None:
        self._settings = settings
        self._analyser = analyser
        self._identities = identities
        self._seen: dict[str, Sight] = {}

    def at(self, size: Size) -> tuple[ResolvedPerson, ...]:
        """Every person, for an output of `size`.

        Raises PictureError, NoFaceFound, IdentityFileError or SettingsError, naming the person and the field.
        """
        known, heads = self._known, place_heads(self._settings, size, self._look)
        numbered = enumerate(zip(self._settings.people, known, heads, strict=True), 1)
        return tuple(_resolve(*person, size, f"people[{number}]") for number, person in numbered)

    @cached_property
    def _known(self) -> tuple[_Known, ...]:
        return tuple(self._know(person, f"people[{number}]") for number, person in enumerate(self._settings.people, 1))

    def _know(self, person: Person, field: str) -> _Known:
        photos = faces_of_photos(person.photos, self._analyser, person.face, person.photo_keypoints, f"{field}.photos")
        names = [f"{field}.photos[{i}]" for i in range(1, len(photos) + 1)]
        self._seen |= {name: photo.sight for name, photo in zip(names, photos, strict=True)}
        faces = [photo.face for photo in photos]
        reports = tuple(report(photo.picture, photo.face) for photo in photos)
        each = zip(names, photos, reports, strict=True)
        advice = tuple(f"{name}: {text}" for name, photo, found in each for text in (*photo.advice, *found.advice))
        return _Known(
            identity=combine(faces) if person.identity is None else load_identity(person.identity, self._identities),
            photos=photos,
            reports=reports,
            advice=advice + stranger_advice(faces, names),
        )

    def _look(self, photo: Picture, which: str | int, points: Any, field: str) -> Sight:
        if field not in self._seen:
            self._seen[field] = face_of_photo(photo, which, points, field, self._analyser).sight
        return self._seen[field]


def _resolve(person: Person, known: _Known, head: Head | None, size: Size, field: str) -> ResolvedPerson:
    return ResolvedPerson(
        identity=known.identity,
        placed=PlacedPerson(
            embedding=known.identity.embedding,
            keypoints=head.keypoints if head else None,
            box=head.box if head else None,
            region=_region(person.region, size, field),
        ),
        photos=known.photos,
        reports=known.reports,
        advice=known.advice + ((f"{field}: {MOVED}",) if head and head.moved else ()),
    )


def _region(region: Picture | None, size: Size, field: str) -> np.ndarray | None:
    """(height, width) mask in [0, 1], stretched to the output."""
    if region is None:
        return None
    mask = read_mask(region, f"{field}.region")
    if mask.max() == 0:
        raise SettingsError(f"{field}.region: the mask is all black; paint the person's region white.")
    resized: np.ndarray = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return resized
