"""Measures how similar the faces of a picture are to given people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lib_instantid.encoders.face.faces import Face, Floats, Picture
from lib_instantid.encoders.face.identity import cosine

NO_FACE = "no face"
"""Written instead of a cosine if a picture has no face."""

Similarity = Sequence[float | None]
"""One cosine per person, each None if the picture has no face."""


class FindsFaces(Protocol):
    """An analyser, or what remembers its work."""

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """See `Analyser.faces`."""


def similarities(analyser: FindsFaces, picture: Picture, embeddings: Sequence[Floats]) -> tuple[float | None, ...]:
    """For each person, the cosine of the picture's most similar face; None where the picture has no face.

    picture: (H, W, 3) uint8 RGB. embeddings: (512,) raw, one per person. raises PictureError: see `Analyser.faces`.
    """
    faces = analyser.faces(picture)
    return tuple(max((cosine(face.embedding, own) for face in faces), default=None) for own in embeddings)


def likeness(similarity: Similarity) -> float:
    """The value by which candidate pictures are ordered: the smallest of the people's cosines; -1 if there is no face."""
    return min((-1.0 if value is None else value for value in similarity), default=-1.0)


def similarity_text(similarity: Similarity) -> str:
    """The cosines as text, person by person: "0.713; no face"."""
    return "; ".join(NO_FACE if value is None else f"{value:.3f}" for value in similarity)
