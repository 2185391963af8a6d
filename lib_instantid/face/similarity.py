"""How like a person a picture is."""

from __future__ import annotations

from collections.abc import Sequence

from lib_instantid.face.analyser import Analyser
from lib_instantid.face.faces import Floats, Picture
from lib_instantid.face.identity import cosine

NO_FACE = "no face"
"""What stands for a person's likeness where a picture has no face."""

Similarity = Sequence[float | None]
"""One cosine per person, None where the picture has no face."""


def similarities(analyser: Analyser, picture: Picture, embeddings: Sequence[Floats]) -> tuple[float | None, ...]:
    """For each person, the cosine of the picture's most similar face; None where the picture has no face.

    picture: (H, W, 3) uint8 RGB. embeddings: (512,) raw, one per person.
    """
    faces = analyser.faces(picture)
    return tuple(max((cosine(face.embedding, own) for face in faces), default=None) for own in embeddings)


def likeness(similarity: Similarity) -> float:
    """What candidates are ordered by: the least of the people's cosines, -1 where a face is missing."""
    return min((-1.0 if value is None else value for value in similarity), default=-1.0)


def similarity_text(similarity: Similarity) -> str:
    """Person by person: "0.713; no face"."""
    return "; ".join(NO_FACE if value is None else f"{value:.3f}" for value in similarity)
