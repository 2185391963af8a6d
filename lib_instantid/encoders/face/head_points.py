"""Gives the five keypoints depths, so that a head can be turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.faces import Floats
from lib_instantid.encoders.face.geometry import Points
from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE

SHARE = 0.15
"""Distance from the eyes to the mouth of the average head, as a fraction of the output's shorter side. The whole face then
takes about half of that side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The place of a head in the output. keypoints: (5, 2) float32 XY px. box: (4,) float32 x1 y1 x2 y2 px. depths: (5,)
    float32 px, how far each point stands out towards the viewer. by_hand: whether a person placed the head. moved: whether
    the head was moved sideways because another head had the same place."""

    keypoints: np.ndarray
    box: np.ndarray
    depths: np.ndarray
    by_hand: bool = False
    moved: bool = False


def five_of(landmarks: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners of a face. landmarks: (68, 3) XYZ. returns: (5, 3) XYZ in the same unit, the
    viewer's left first."""
    points = np.asarray(landmarks, dtype=np.float64)
    return np.array([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


def depths_of(keypoints: Points, landmarks: Floats | None) -> Floats:
    """How far each of five points stands out towards the viewer.

    keypoints: (5, 2) XY px. landmarks: (68, 3) XYZ of the same face in any unit, or None for the average face.
    returns: (5,) float32 in the keypoints' pixels, with mean 0.
    """
    model = five_of(MEAN_SHAPE if landmarks is None else landmarks)
    depths = (model[:, 2] - model[:, 2].mean()) * _spread(keypoints) / max(_spread(model[:, :2]), 1e-6)
    return depths.astype(np.float32)


def average_head(width: int, height: int) -> Floats:
    """Keypoints of the average face, frontal, in the middle of an output. width, height: of the output, px. returns: (5, 2)
    float32 XY px."""
    five = five_of(MEAN_SHAPE)[:, :2]
    scale = SHARE * min(width, height) / (five[3:, 1].mean() - five[:2, 1].mean())
    return ((five - five.mean(axis=0)) * scale + (width / 2, height / 2)).astype(np.float32)


def _spread(points: npt.NDArray[np.floating]) -> float:
    return float(np.linalg.norm(points - points.mean(axis=0)))
