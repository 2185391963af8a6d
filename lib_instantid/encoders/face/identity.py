"""Identities: the raw embedding of one photo, or the mean of several photos' embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib_instantid.constants import EMBEDDING_SIZE, MAX_PHOTOS, RAW_NORM_MIN, STRANGER_COSINE
from lib_instantid.encoders.face.faces import Face, Floats
from lib_instantid.encoders.face.model_files import PACKAGE
from lib_instantid.errors import IdentityFileError, SettingsError


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity:
    """A person as the networks know them.

    embedding: (512,) float32, raw. name: empty until the identity is saved. photos: how many photos it was made of. model:
    the face models that made it; embeddings of different models cannot be compared.
    raises IdentityFileError: see `check_embedding`.
    """

    embedding: Floats
    name: str = ""
    photos: int = 1
    model: str = PACKAGE

    def __post_init__(self) -> None:
        check_embedding(self.embedding, f"identity {self.name!r}" if self.name else "identity")


def check_embedding(embedding: npt.NDArray[np.floating], what: str) -> None:
    """Raise IdentityFileError unless the embedding can be a raw one: (512,), finite, not zero and not normalised.

    what: the file or field that the error names.
    """
    if embedding.shape != (EMBEDDING_SIZE,):
        raise IdentityFileError(
            f"{what}: expected an embedding of {EMBEDDING_SIZE} numbers, found shape {embedding.shape}; "
            "it is not made by antelopev2, make it again from photos."
        )
    if not np.isfinite(embedding).all():
        raise IdentityFileError(f"{what}: the embedding has numbers that are not finite; make it again from photos.")
    norm = float(np.linalg.norm(embedding))
    if norm == 0:
        raise IdentityFileError(f"{what}: the embedding is all zeros, which is nobody; make it again from photos.")
    if norm < RAW_NORM_MIN:
        raise IdentityFileError(
            f"{what}: the embedding has norm {norm:.2f}, as a normalised one; InstantID needs raw embeddings "
            "(insightface's `embedding`, not `normed_embedding`), with a norm of about 10 to 30. "
            "Make it again from photos."
        )


def combine(faces: Sequence[Face], *, name: str = "", model: str = PACKAGE) -> Identity:
    """Make one identity of the faces of one person: the mean of their raw embeddings.

    Raw embeddings of clear photos are longer, so such photos count for more.
    faces: 1 to 16, one per photo. raises SettingsError: another number. IdentityFileError: see `check_embedding`.
    """
    if not 1 <= len(faces) <= MAX_PHOTOS:
        raise SettingsError(f"photos: an identity is made of 1 to {MAX_PHOTOS} photos, found {len(faces)}.")
    mean = np.stack([face.embedding for face in faces]).mean(axis=0, dtype=np.float64)
    return Identity(embedding=mean.astype(np.float32), name=name, photos=len(faces), model=model)


def cosine(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Cosine of two embeddings, (512,) each, raw or normalised: 1 for the same face, about 0 for strangers, and 0 if one of
    them is all zeros."""
    first, second = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms else 0.0


def strangers(embeddings: Sequence[npt.NDArray[np.floating]]) -> list[int]:
    """Which photos seem to show someone else: the cosine to the mean of the others is below `STRANGER_COSINE`.

    embeddings: (512,) each, one per photo. returns: indexes from 0. Both indexes if two photos differ; none for a single
    photo.
    """
    if len(embeddings) < 2:
        return []
    stacked = np.asarray(embeddings, dtype=np.float64)
    others = (stacked.sum(axis=0) - stacked) / (len(stacked) - 1)
    return [index for index, row in enumerate(stacked) if cosine(row, others[index]) < STRANGER_COSINE]
