"""Checks the five keypoints of a face and draws the map of them that IdentityNet takes as its hint."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from lib_instantid.constants import (
    KEYPOINT_COLOURS,
    KEYPOINT_RADIUS,
    KEYPOINTS,
    LIMB_BRIGHTNESS,
    LIMB_HALF_WIDTH,
    LIMBS,
)
from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.encoders.face.geometry import Points, similarity_transform, transform_points
from lib_instantid.encoders.face.head_points import five_of
from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE
from lib_instantid.errors import SettingsError

MIRRORED = 0.2
"""Fraction of the distance from the eyes to the mouth. Two points that lie farther than this on each other's side are
exchanged; points nearer than this may be those of a profile."""

FARTHEST = 100_000
"""Largest coordinate of a keypoint, in pixels. Nothing farther out would be visible, and OpenCV's integers would overflow."""


def check_keypoints(points: npt.ArrayLike, name: str = "keypoints") -> Points:
    """Return five points as an array, after checking them.

    points: (5, 2) XY, in any unit. name: the field that errors name. returns: (5, 2) XY in the same unit, of the given float
    dtype, or float64 if the points were not floats.
    raises SettingsError: another shape, not numbers, not finite, or a coordinate beyond `FARTHEST`.
    """
    try:
        array = np.asarray(points)
        if array.dtype.kind != "f":
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{name}: expected five points [x, y], found {points!r:.80}; give ten numbers.") from error
    if array.shape != (KEYPOINTS, 2):
        raise SettingsError(
            f"{name}: expected five points [x, y] (eyes, nose, mouth corners, the viewer's left first), "
            f"found an array of shape {array.shape}."
        )
    if not np.isfinite(array).all() or np.abs(array).max() > FARTHEST:
        raise SettingsError(f"{name}: every coordinate must be a finite number within ±{FARTHEST}, found {array.tolist()}.")
    return array


def check_order(points: npt.ArrayLike, name: str) -> None:
    """Raise SettingsError if left and right are exchanged, because such points cannot be aligned with a face.

    points: (5, 2) XY px of the photo. A profile, in which the eyes are at one place, passes. name: the field that errors
    name. Also raises SettingsError for what `check_keypoints` refuses.
    """
    left, right, _, mouth_left, mouth_right = check_keypoints(points, name).astype(np.float64)
    across, mouth, down = right - left, mouth_right - mouth_left, (mouth_left + mouth_right - left - right) / 2
    wide = MIRRORED * float(down @ down)
    if across[0] * down[1] - across[1] * down[0] < -wide or across @ mouth < -MIRRORED * wide:
        raise SettingsError(
            f"{name}: left and right are exchanged, these points are mirrored; expected left eye, right eye, nose, left and "
            "right corner of the mouth, left being the viewer's left."
        )


def draw_keypoints(points: npt.ArrayLike, width: int, height: int) -> Picture:
    """Draw five points as IdentityNet was trained to see them: four sticks to the nose, then five discs.

    points: (5, 2) XY px of the output; eyes, nose, mouth corners, the viewer's left first.
    width, height: of the output, px.
    returns: (height, width, 3) uint8 RGB on black.
    raises SettingsError: see `check_keypoints`.
    Source: InstantID, gradio_demo/app.py, `draw_kps`. Every pixel is equal, so coordinates are rounded towards zero as there.
    """
    found = check_keypoints(points)
    sticks = black_map(width, height)
    for start, end in LIMBS:
        cv2.fillConvexPoly(sticks, _stick(found[[start, end]]), KEYPOINT_COLOURS[start])
    canvas = (sticks * LIMB_BRIGHTNESS).astype(np.uint8)
    for (x, y), colour in zip(found, KEYPOINT_COLOURS, strict=True):
        cv2.circle(canvas, (int(x), int(y)), KEYPOINT_RADIUS, colour, -1)
    return canvas


def _stick(ends: Points) -> npt.NDArray[np.int32]:
    """(2, 2) XY px of a stick's ends -> (N, 2) XY px, the outline of an ellipse between them."""
    x, y = ends[:, 0], ends[:, 1]
    length = ((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2) ** 0.5
    angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
    centre = (int(np.mean(x)), int(np.mean(y)))
    outline = cv2.ellipse2Poly(centre, (int(length / 2), LIMB_HALF_WIDTH), int(angle), 0, 360, 1)
    return np.asarray(outline, dtype=np.int32)


def black_map(width: int, height: int) -> Picture:
    """A keypoint map without any points: (height, width, 3) uint8 zeros. width, height: px."""
    return np.zeros((height, width, 3), dtype=np.uint8)


def fractions_to_pixels(fractions: npt.ArrayLike, width: int, height: int) -> Floats:
    """(5, 2) XY as fractions of width and height -> (5, 2) float32 XY px. width, height: px. raises SettingsError: see
    `check_keypoints`."""
    pixels = check_keypoints(fractions).astype(np.float64) * (width, height)
    return check_keypoints(pixels).astype(np.float32)


def pixels_to_fractions(points: npt.ArrayLike, width: int, height: int) -> Floats:
    """(5, 2) XY px -> (5, 2) float32 XY as fractions of width and height. width, height: px. raises SettingsError: see
    `check_keypoints`."""
    return (check_keypoints(points).astype(np.float64) / (width, height)).astype(np.float32)


def box_from_keypoints(points: npt.ArrayLike) -> Floats:
    """Estimate the face box of points placed by hand, for which there is no box of a detector.

    The average face (`MEAN_SHAPE`) is fitted to the points by its own eyes, nose and mouth corners; the box encloses its 68
    landmarks and its forehead. The forehead is added because the landmarks end at the brows, but a detector's box at the
    hairline. It is taken to be as high as the part of the face from the brows to the base of the nose.

    points: (5, 2) XY px. returns: (4,) float32 x1 y1 x2 y2 px.
    raises SettingsError: see `check_keypoints`, or the face would be narrower than a pixel.
    """
    mean = np.array(MEAN_SHAPE)[:, :2]
    brows, nose_base = mean[17:27], mean[33]
    five = five_of(MEAN_SHAPE)[:, :2]
    third = nose_base[1] - brows[:, 1].mean()
    outline = np.concatenate([mean, brows - (0, third)])
    placed = transform_points(similarity_transform(five, check_keypoints(points)), outline)
    box = np.concatenate([placed.min(axis=0), placed.max(axis=0)]).astype(np.float32)
    if box[2] - box[0] < 1:
        raise SettingsError("keypoints: all points are at the same place; give the five points of one face.")
    return box
