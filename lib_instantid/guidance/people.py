"""From settings to people: photos → faces → identity, and where each head goes in the output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib_instantid.errors import SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.geometry import crop_and_resize
from lib_instantid.face.heads import depths_of
from lib_instantid.face.identity import Identity, combine
from lib_instantid.face.identity_files import load_identity
from lib_instantid.face.keypoints import box_from_keypoints, fractions_to_pixels
from lib_instantid.face.photos import PhotoFace, faces_of_photos
from lib_instantid.face.picture import read_mask
from lib_instantid.face.report import PhotoReport, report, stranger_advice
from lib_instantid.guidance.guidance import PlacedPerson
from lib_instantid.guidance.settings import Person, Picture, Settings

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedPerson:
    """A person ready for guidance. photos and reports: one per photo, none for a saved identity. advice: sentences."""

    identity: Identity
    placed: PlacedPerson
    photos: tuple[PhotoFace, ...]
    reports: tuple[PhotoReport, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Where a head goes in the output. keypoints: (5, 2) float32 XY px. box: (4,) float32 x1 y1 x2 y2 px. depths: (5,) float32
    px, how far each point stands out towards the viewer."""

    keypoints: np.ndarray
    box: np.ndarray
    depths: np.ndarray


def resolve_people(settings: Settings, size: Size, analyser: Analyser, identities: Path) -> tuple[ResolvedPerson, ...]:
    """Every person of the settings, for an output of `size`. identities: the folder of saved identities.

    Raises PictureError, NoFaceFound, IdentityFileError or SettingsError, naming the person and the field.
    """
    return tuple(_resolve(settings, number, size, analyser, identities) for number in range(1, len(settings.people) + 1))


def _resolve(settings: Settings, number: int, size: Size, analyser: Analyser, identities: Path) -> ResolvedPerson:
    person, field = settings.people[number - 1], f"people[{number}]"
    photos = _photos(person, number, analyser)
    faces = [photo.face for photo in photos]
    identity = combine(faces) if person.identity is None else load_identity(person.identity, identities)
    head = _place(settings, number, size, photos, analyser)
    reports = tuple(report(photo.picture, photo.face) for photo in photos)
    names = [f"{field}.photos[{i}]" for i in range(1, len(photos) + 1)]
    own_advice = tuple(f"{name}: {advice}" for name, found in zip(names, reports, strict=True) for advice in found.advice)
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
        advice=own_advice + stranger_advice(faces, names),
    )


def place_heads(settings: Settings, size: Size, analyser: Analyser) -> tuple[Head | None, ...]:
    """Only where each person's head goes; None for a free one. Raises as `resolve_people`."""
    return tuple(
        _place(settings, number, size, _photos(person, number, analyser) if person.pose == "photo" else (), analyser)
        for number, person in enumerate(settings.people, 1)
    )


def _photos(person: Person, number: int, analyser: Analyser) -> tuple[PhotoFace, ...]:
    return faces_of_photos(person.photos, analyser, person.face, person.photo_keypoints, f"people[{number}].photos")


def _place(settings: Settings, number: int, size: Size, photos: tuple[PhotoFace, ...], analyser: Analyser) -> Head | None:
    """From what the person's pose names."""
    person = settings.people[number - 1]
    if person.pose == "none":
        return None
    if person.pose == "keypoints":
        assert person.keypoints is not None  # the settings have checked it
        keypoints = fractions_to_pixels(person.keypoints, *size)
        return Head(keypoints=keypoints, box=box_from_keypoints(keypoints), depths=depths_of(keypoints, None))
    source = photos[0] if person.pose == "photo" else _posed_face(settings, number, analyser)
    placement = crop_and_resize(source.size, size, keep=source.face.box)
    keypoints = placement.points(source.face.keypoints)
    return Head(keypoints=keypoints, box=placement.box(source.face.box), depths=depths_of(keypoints, source.face.landmarks))


def _posed_face(settings: Settings, number: int, analyser: Analyser) -> PhotoFace:
    """The face of the pose picture: the largest, or, where people share the picture, theirs from left to right."""
    person = settings.people[number - 1]
    assert person.pose_picture is not None  # the settings have checked it
    sharing = [i for i, other in enumerate(settings.people, 1) if other.pose_picture == person.pose_picture]
    which = "largest" if len(sharing) == 1 else sharing.index(number) + 1
    return faces_of_photos([person.pose_picture], analyser, which, field=f"people[{number}].pose_picture")[0]


def _region(region: Picture | None, size: Size, field: str) -> np.ndarray | None:
    """(height, width) mask in [0, 1], stretched to the output."""
    if region is None:
        return None
    mask = read_mask(region, f"{field}.region")
    if mask.max() == 0:
        raise SettingsError(f"{field}.region: the mask is all black; paint the person's region white.")
    resized: np.ndarray = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return resized
