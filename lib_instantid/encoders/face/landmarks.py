"""Finds 68 landmarks in 3D (with 1k3d68, the optional third model of antelopev2) and computes the head's pose from them.

Source of the mathematics: insightface 2.1, `model_zoo/landmark.py` and `utils/transform.py` (MIT).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.faces import Floats, HeadPose, Picture
from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE
from lib_instantid.encoders.face.sessions import Network

SIDE = 192
"""Side of the square crop that the model takes, in pixels."""

MARGIN = 1.5
"""Side of the crop, as a multiple of the longer side of the face box."""

LANDMARKS = 68
"""Number of landmarks. The model returns 1103 points, of which the last 68 are the landmarks."""


def find_landmarks(network: Network, picture: Picture, box: Floats) -> Floats:
    """Landmarks of one face.

    picture: (H, W, 3) uint8 RGB. box: (4,) x1 y1 x2 y2 px of the picture.
    returns: (68, 3) float32 XYZ px, z towards the viewer, in the order of `MEAN_SHAPE`.
    raises BadModelFile: the network does not run.
    """
    scale = SIDE / (float(max(box[2] - box[0], box[3] - box[1])) * MARGIN)
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], dtype=np.float64)
    corner = SIDE / 2 - centre * scale
    matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    crop = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderValue=0)
    blob = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)  # the model itself normalises its input
    points = network.run(blob)[0].reshape(-1, 3)[-LANDMARKS:].astype(np.float64) * (SIDE // 2)
    points[:, :2] += SIDE // 2 - corner
    return (points / scale).astype(np.float32)


def head_pose(landmarks: npt.NDArray[np.floating]) -> HeadPose:
    """The rotation from the average face to these landmarks, in degrees about X (pitch), Y (yaw) and Z (roll).

    landmarks: (68, 3) XYZ in any unit. An affine map is fitted by least squares. The rows of the rotation are the first two
    rows of that map, scaled to unit length, and their cross product.
    """
    mean = np.column_stack([np.array(MEAN_SHAPE), np.ones(LANDMARKS)])
    affine = np.linalg.lstsq(mean, np.asarray(landmarks, dtype=np.float64), rcond=None)[0].T
    right, down = (row / np.linalg.norm(row) for row in affine[:2, :3])
    forward = np.cross(right, down)
    return HeadPose(
        pitch=math.degrees(math.atan2(forward[1], forward[2])),
        yaw=math.degrees(math.atan2(-forward[0], math.hypot(right[0], down[0]))),
        roll=math.degrees(math.atan2(down[0], right[0])),
    )
