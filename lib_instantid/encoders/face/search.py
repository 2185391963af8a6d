"""Repeats the detection on other canvases if no face was found, as SCRFD misses faces that fill the picture.

A known fault of the detector with five points (SthPhoenix, InsightFace-REST #74). It finds a large face in a smaller canvas,
and a face that extends beyond the picture's edges if there is black around the picture.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lib_instantid.encoders.face.faces import Picture
from lib_instantid.encoders.face.scrfd import Detections, fit

Size = tuple[int, int]
Detect = Callable[[Picture, Size], Detections]

SIZES = (640, 512, 384, 320, 256, 192)
"""Sides of the canvases to try, in order, px. The detector was made for 640, which insightface uses."""

BORDERED_SIZES = (640, 384, 256)
"""Sides of the canvases to try last, px: the picture is in the middle, half as wide and high as the canvas."""


def first_size(fixed: Size | None) -> Size:
    """(width, height) of the first canvas to try, px. fixed: the only size that the detector takes, or None."""
    return fixed or (SIZES[0], SIZES[0])


def search(picture: Picture, detect: Detect, fixed: Size | None = None) -> Detections:
    """The faces of the first attempt that finds any, in pixels of the picture; empty if no attempt does.

    picture: (H, W, 3) uint8, in the channel order that `detect` takes. detect: one attempt, on a canvas of a given
    (width, height). fixed: the only size that the detector takes, or None.
    """
    found = detect(picture, first_size(fixed))
    for size in [] if fixed else [(side, side) for side in SIZES[1:]]:
        if len(found):
            return found
        found = detect(picture, size)
    for size in [fixed] if fixed else [(side, side) for side in BORDERED_SIZES]:
        if len(found):
            return found
        found = _detect_bordered(picture, detect, size)
    return found


def _detect_bordered(picture: Picture, detect: Detect, size: Size) -> Detections:
    width, height = fit(picture, (size[0] // 2, size[1] // 2))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    canvas = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return detect(canvas, size).moved(left, top, height / picture.shape[0])
