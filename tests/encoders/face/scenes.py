"""Pictures in which the stand-in detector sees known faces."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lib_instantid.constants import EMBEDDING_SIZE
from lib_instantid.encoders.face.faces import Face, Picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def squares(width: int, height: int, places: Sequence[tuple[int, int, int]], colour: tuple[int, int, int] = RED) -> Picture:
    """Squares (left, top, side) px on black, (height, width, 3) RGB."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for left, top, side in places:
        picture[top : top + side, left : left + side] = colour
    return picture


DIM = squares(640, 480, [(400, 300, 80)], (45, 0, 0))
"""A square that is too dark to be a face, (480, 640, 3) RGB."""


def as_png(picture: Picture) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def random_scene(seed: int) -> Picture:
    """A dark, uneven picture of random size; by turns without a face, with one and with up to four, of all three grids."""
    stream = np.random.RandomState(seed)
    width, height = stream.randint(60, 1400, size=2)
    picture = stream.randint(0, 50, size=(height, width, 3)).astype(np.uint8)
    fit = 640 / max(width, height)  # pixels of the detector's canvas per pixel
    for _ in range((0, 1, stream.randint(2, 5))[seed % 3]):
        stride = (32, 32, 16, 8)[stream.randint(4)]
        colour = np.array({32: RED, 16: GREEN, 8: BLUE}[stride])
        side = max(2, int(stride * stream.uniform(1.6, 3.4) / fit))
        left, top = stream.randint(0, max(1, width - side)), stream.randint(0, max(1, height - side))
        place = picture[top : top + side, left : left + side]
        place[:] = np.clip(colour * stream.uniform(0.85, 1) + stream.randint(0, 25, size=place.shape), 0, 255)
    return picture


def a_face(
    *,
    box: tuple[float, float, float, float] = (0, 0, 200, 200),
    embedding: np.ndarray | None = None,
    score: float = 0.9,
) -> Face:
    """A face that no picture is needed for."""
    left, top, right, bottom = box
    inside = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)])
    return Face(
        box=np.array(box, dtype=np.float32),
        keypoints=(inside * (right - left, bottom - top) + (left, top)).astype(np.float32),
        score=score,
        embedding=somebody(0) if embedding is None else embedding,
    )


def somebody(seed: int) -> np.ndarray:
    """(512,) float32: the raw embedding of a person, norm about 22; different seeds are strangers."""
    return np.random.RandomState(seed).standard_normal(EMBEDDING_SIZE).astype(np.float32)
