"""Describes one face in one picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class HeadPose:
    """The direction of the head, in degrees; 0, 0, 0 is frontal. The signs are those of insightface."""

    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """One face. Coordinates are in pixels of the picture in which it was found; "left" is the viewer's left.

    box: (4,) float32, x1 y1 x2 y2; may extend beyond the picture's edges.
    keypoints: (5, 2) float32 XY: left eye, right eye, nose, left and right mouth corner.
    score: the detector's confidence, 0 to 1; 1 for points placed by hand.
    embedding: (512,) float32, raw as ArcFace returns it, never normalised.
    landmarks: (68, 3) float32 XYZ, or None where the landmark model is not installed.
    pose: the head's pose, or None where `landmarks` is None.
    """

    box: Floats
    keypoints: Floats
    score: float
    embedding: Floats
    landmarks: Floats | None = None
    pose: HeadPose | None = None

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, XY in pixels."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2


HASH_DIGITS = 8
"""Hex digits by which a picture or an embedding is recognised, and nothing else is known of it."""


def short_hash(array: npt.NDArray[Any]) -> str:
    """By which an array is recognised: the first `HASH_DIGITS` of its SHA-256."""
    return digest_of(array)[:HASH_DIGITS]


def digest_of(array: npt.NDArray[Any]) -> str:
    """The SHA-256 of an array's numbers, hexadecimal."""
    return hashlib.sha256(array.tobytes()).hexdigest()
