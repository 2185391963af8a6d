"""Five points with depth, so that a head can be turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib_instantid.face.faces import Floats
from lib_instantid.face.geometry import Points
from lib_instantid.face.mean_shape import MEAN_SHAPE

SHARE = 0.15
"""Of the output's shorter side: from the eyes to the mouth of the average head. The face is then about half of it."""


def five_of(landmarks: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners of 68 landmarks. landmarks: (68, 3) XYZ. returns: (5, 3)."""
    points = np.asarray(landmarks, dtype=np.float64)
    return np.array([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


def depths_of(keypoints: Points, landmarks: Floats | None) -> Floats:
    """How far each of five points stands out towards the viewer.

    keypoints: (5, 2) XY px, at any scale. landmarks: (68, 3) XYZ of the same face at its own scale, or None: the average face.
    returns: (5,) float32 px in the keypoints' scale; their mean is 0.
    """
    model = five_of(MEAN_SHAPE if landmarks is None else landmarks)
    depths = (model[:, 2] - model[:, 2].mean()) * _spread(keypoints) / max(_spread(model[:, :2]), 1e-6)
    return depths.astype(np.float32)


def average_head(width: int, height: int) -> Floats:
    """The average face, looking ahead from the middle of an output of this size. returns: (5, 2) float32 XY px."""
    five = five_of(MEAN_SHAPE)[:, :2]
    scale = SHARE * min(width, height) / (five[3:, 1].mean() - five[:2, 1].mean())
    return ((five - five.mean(axis=0)) * scale + (width / 2, height / 2)).astype(np.float32)


def _spread(points: npt.NDArray[np.floating]) -> float:
    return float(np.linalg.norm(points - points.mean(axis=0)))
