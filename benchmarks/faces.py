"""How like each other faces are, and how far off their points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib_instantid.encoders.face.similarity import FindsFaces


def compared(references: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> dict[str, float]:
    """Means of the cosine with the own reference and with the others', and how often the own one is the nearest.

    references, found: (512,) of length 1 each; `found` is zero where a picture has no face, which is nearest to nobody.
    """
    cosines = np.stack(found) @ np.stack(references).T
    same = np.eye(len(cosines), dtype=bool)
    nearest = (cosines.argmax(axis=1) == np.arange(len(cosines))) & (cosines != 0).any(axis=1)
    return {"own": float(cosines[same].mean()), "others": float(cosines[~same].mean()), "top1": float(nearest.mean())}


def embedding_in(analyser: FindsFaces, picture: np.ndarray) -> np.ndarray:
    faces = analyser.faces(picture)
    return faces[0].embedding / np.linalg.norm(faces[0].embedding) if faces else np.zeros(512, dtype=np.float32)


def points_error(analyser: FindsFaces, picture: np.ndarray, wanted: np.ndarray) -> float | None:
    """The mean distance of the five points from the wanted ones, as a fraction of the eyes' distance in a frontal view."""
    faces = analyser.faces(picture)
    if not faces:
        return None
    size = max(np.linalg.norm(wanted[1] - wanted[0]), np.linalg.norm(wanted[3:].mean(0) - wanted[:2].mean(0)))
    return float(np.linalg.norm(faces[0].keypoints - wanted, axis=1).mean() / size)
