"""Moves points and boxes along with a picture that is turned, cropped or resized.

Coordinates are XY in pixels. In `Placement` they are continuous: the first pixel covers 0 to 1, so a size is also a
coordinate, and doubling a picture doubles every coordinate. With `similarity_transform` whole numbers are the middles of
pixels, as in insightface and OpenCV's warpAffine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.errors import SettingsError

Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.floating]

ARCFACE_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""(5, 2) XY: where eyes, nose and mouth corners lie in the 112 x 112 crop that ArcFace was trained on.
Source: insightface, `utils/face_align.py` (arcface_dst)."""


def similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> Matrix:
    """The rotation, uniform scale and shift, without mirroring, that bring source closest to target.

    source, target: (N, 2) XY, N at least 2. Computes in float32 if both are float32, otherwise in float64: insightface
    aligns float32 points in float32 (through skimage), and equal results need the same rounding errors (up to 3e-4 px).
    returns: (2, 3) float64, to be applied to columns (x, y, 1).
    raises SettingsError: all source points are one point.
    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, equations 34
    to 43.
    """
    start, end = np.asarray(source), np.asarray(target)
    if not start.dtype == end.dtype == np.float32:
        start, end = start.astype(np.float64), end.astype(np.float64)
    start_mean, end_mean = start.mean(axis=0), end.mean(axis=0)
    a, b = start - start_mean, end - end_mean
    spread = a.var(axis=0).sum()
    if spread == 0:
        raise SettingsError("keypoints: all points are at the same place; give the five points of one face.")
    u, singular, v = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = (u * signs) @ v
    scale = singular @ signs / spread
    return np.column_stack([scale * rotation, end_mean - scale * (rotation @ start_mean)]).astype(np.float64)


def transform_points(matrix: Matrix, points: npt.ArrayLike) -> Matrix:
    """Apply a (2, 3) matrix to (N, 2) points XY. returns: (N, 2) float64 XY."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def align(picture: Picture, keypoints: npt.ArrayLike, side: int = FACE_CROP) -> Picture:
    """Cut out a face as ArcFace takes it, turned and scaled so that the keypoints lie on `ARCFACE_TEMPLATE`.

    picture: (H, W, 3) uint8. keypoints: (5, 2) XY px of the picture. side: of the crop in px, a multiple of ArcFace's, on which
    the template is scaled. returns: (side, side, 3) uint8 in the picture's channel order, black outside the picture.
    raises SettingsError: all points are one point. Source: insightface, `utils/face_align.py` (norm_crop).
    """
    template = np.array(ARCFACE_TEMPLATE, dtype=np.float32) * np.float32(side / FACE_CROP)
    matrix = similarity_transform(keypoints, template)
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderValue=0), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Maps source pixels to output pixels: scales the picture, then moves the crop window's corner to the origin.

    scale_x, scale_y: output pixels per source pixel. left, top: the window's corner in the scaled picture, px.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float

    def points(self, points: npt.ArrayLike) -> Floats:
        """(N, 2) XY in source pixels -> (N, 2) float32 XY in output pixels."""
        moved = np.asarray(points, dtype=np.float64) * (self.scale_x, self.scale_y) - (self.left, self.top)
        return moved.astype(np.float32)

    def box(self, box: npt.ArrayLike) -> Floats:
        """(4,) x1 y1 x2 y2 in source pixels -> (4,) float32 in output pixels; may extend beyond the edges."""
        return self.points(np.asarray(box).reshape(2, 2)).reshape(4)

    def inverse(self) -> Placement:
        """The placement that maps output pixels back to source pixels."""
        return Placement(
            scale_x=1 / self.scale_x,
            scale_y=1 / self.scale_y,
            left=-self.left / self.scale_x,
            top=-self.top / self.scale_y,
        )


def crop_and_resize(source: tuple[int, int], target: tuple[int, int], keep: npt.ArrayLike | None = None) -> Placement:
    """Scale a picture until it covers the target, and crop it to the target's size.

    source, target: (width, height) px.
    keep: (4,) x1 y1 x2 y2 in source pixels, or None. The crop is in the middle, but moves just far enough to contain this
    box, or as much of it as fits.
    raises SettingsError: a size is not positive.
    """
    if min(*source, *target) < 1:
        raise SettingsError(f"width and height must be at least 1, found {source} for the picture and {target} for the output.")
    scale = max(target[0] / source[0], target[1] / source[1])
    scaled = [max(target[axis], round(source[axis] * scale)) for axis in (0, 1)]
    scales = [scaled[axis] / source[axis] for axis in (0, 1)]
    starts = [(scaled[axis] - target[axis]) // 2 for axis in (0, 1)]
    if keep is not None:
        box = np.asarray(keep, dtype=np.float64).reshape(2, 2) * scales
        starts = [_include(starts[axis], scaled[axis], target[axis], *box[:, axis]) for axis in (0, 1)]
    return Placement(scale_x=scales[0], scale_y=scales[1], left=starts[0], top=starts[1])


def _include(start: int, length: int, window: int, low: float, high: float) -> int:
    """The start, nearest to `start`, of a window that contains low to high. A whole pixel, so that the crop is a slice of the
    resized picture."""
    earliest, latest = sorted((high - window, low))
    if start < earliest:
        start = math.ceil(earliest)
    elif start > latest:
        start = math.floor(latest)
    return min(max(start, 0), length - window)


def square_around(picture: Picture, box: npt.ArrayLike, margin: float) -> Picture:
    """Cut out a square around a box, as far as it lies in the picture. picture: (H, W, 3) uint8. box: (4,) x1 y1 x2 y2 px.
    margin: on each side, as a part of the box's longer side."""
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    half = max(x2 - x1, y2 - y1) * (0.5 + margin)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    cut = picture[max(0, round(y - half)) : max(1, round(y + half)), max(0, round(x - half)) : max(1, round(x + half))]
    return np.ascontiguousarray(cut)


def apply_placement(picture: Picture, placement: Placement, target: tuple[int, int]) -> Picture:
    """Resize and crop a picture by the placement that `crop_and_resize` returned.

    picture: (H, W, 3) uint8. target: (width, height) px, as given to `crop_and_resize`.
    returns: (height, width, 3) uint8, in the picture's channel order. Point p of the picture is now at
    `placement.points(p)`.
    """
    height, width = picture.shape[:2]
    scaled = (round(width * placement.scale_x), round(height * placement.scale_y))
    shrinks = scaled[0] < width or scaled[1] < height
    resized = cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    left, top = round(placement.left), round(placement.top)
    return np.array(resized[top : top + target[1], left : left + target[0]], dtype=np.uint8)
