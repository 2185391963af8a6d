"""Reads what entries are given: who people are, and the masks of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.family import Size
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.people import Person
from lib_instantid.encoders.face.identity import Identity, combine
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.photos import PhotoFace, Photos, one_by_one
from lib_instantid.encoders.face.picture import read_mask
from lib_instantid.encoders.face.report import stranger_advice
from lib_instantid.errors import SettingsError


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPerson:
    """A person with an identity. photos: the chosen face of each photo; none for a saved identity. advice: sentences."""

    identity: Identity
    photos: tuple[PhotoFace, ...]
    advice: tuple[str, ...]

    @property
    def described(self) -> dict[str, object]:
        """What was found in the photos, for a picture's metadata."""
        return {
            "photos": [photo.digest[:16] for photo in self.photos],
            "embedding_norm": round(float(np.linalg.norm(self.identity.embedding)), 4),
            "reports": [asdict(photo.report) for photo in self.photos],
            "advice": list(self.advice),
        }


def known_people(people: Sequence[Person], photos: Photos, identities: Path) -> tuple[KnownPerson, ...]:
    """Who everyone is. identities: the folder of saved ones.

    Raises PictureError, NoFaceFound, IdentityFileError or SettingsError, naming the person and the field.
    """
    known = []
    for number, person in enumerate(people, 1):
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


def read_region(region: PictureSource | None, size: Size, field: str) -> np.ndarray | None:
    """A mask stretched to the output, (height, width) float32 from 0 to 1; None for none. field: the entry's, for errors.

    Raises PictureError, or SettingsError: the mask is all black.
    """
    if region is None:
        return None
    mask = read_mask(region, f"{field}.region")
    if mask.max() == 0:
        raise SettingsError(f"{field}.region: the mask is all black; paint the region white.")
    return np.ascontiguousarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def region_of(region: PictureSource | None, size: Size, field: str) -> Tensor | None:
    """See `read_region`, as a tensor."""
    read = read_region(region, size, field)
    return None if read is None else torch.from_numpy(read)
