"""How like a person a picture is."""

from __future__ import annotations

from collections.abc import Sequence

from lib_instantid.face.analyser import Analyser
from lib_instantid.face.faces import Floats, Picture
from lib_instantid.face.identity import cosine


def similarities(analyser: Analyser, picture: Picture, embeddings: Sequence[Floats]) -> tuple[float | None, ...]:
    """For each person, the cosine of the picture's most similar face; None where the picture has no face.

    picture: (H, W, 3) uint8 RGB. embeddings: (512,) raw, one per person.
    """
    faces = analyser.faces(picture)
    return tuple(max((cosine(face.embedding, own) for face in faces), default=None) for own in embeddings)
