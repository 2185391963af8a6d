"""Maps for ControlNets: drawn by preprocessors of our own or the host's, and fitted to the output."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from lib_instantid.encoders.face.faces import Floats, Picture

Size = tuple[int, int]
"""Width and height in pixels."""

Fit = Literal["crop", "pad", "stretch"]

AS_IT_IS, CANNY, BLUR, GREY, INPAINT, KEYPOINTS = OWN = ("as it is", "canny", "blur", "grey", "inpaint", "keypoints")
"""The preprocessors that every host has."""


def scaled(picture: Picture, size: Size, fit: Fit) -> Picture:
    """Scale a picture so that it covers an output of `size` ("crop"), fits into it ("pad"), or has its size ("stretch").

    picture: (H, W, 3) uint8. A picture that has the output's size is unchanged.
    """
    height, width = picture.shape[:2]
    ratios = size[0] / width, size[1] / height
    if fit == "stretch":
        target = size
    else:
        ratio = max(ratios) if fit == "crop" else min(ratios)
        bound = max if fit == "crop" else min
        target = bound(size[0], round(width * ratio)), bound(size[1], round(height * ratio))
    if target == (width, height):
        return picture
    shrinks = target[0] < width or target[1] < height
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (max(1, target[0]), max(1, target[1])), interpolation=way), dtype=np.uint8)


def placed(drawn: Picture, size: Size) -> Picture:
    """Crop or pad a scaled map to the output, alike on both sides. Padding is black. returns: (height, width, 3) uint8."""
    width, height = size
    top, left = ((drawn.shape[0] - height) // 2, (drawn.shape[1] - width) // 2)
    cut = drawn[max(0, top) : max(0, top) + height, max(0, left) : max(0, left) + width]
    above, before = max(0, -top), max(0, -left)
    below, after = height - cut.shape[0] - above, width - cut.shape[1] - before
    return np.ascontiguousarray(np.pad(cut, ((above, below), (before, after), (0, 0))))


def canny(picture: Picture, low: int, high: int) -> Picture:
    """White edges on black. low, high: thresholds of the hysteresis, 0 to 255. Source: lllyasviel/ControlNet, `CannyDetector`,
    which gives the picture's three channels to cv2 at once."""
    return _three(np.asarray(cv2.Canny(picture, low, high), dtype=np.uint8))


def grey(picture: Picture) -> Picture:
    """The picture's luminance in three equal channels."""
    return _three(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8))


def blurred(picture: Picture, sigma: float) -> Picture:
    """The picture with a Gaussian blur. sigma: in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)


def without(picture: Picture, mask: Floats, marked: float) -> Floats:
    """A picture as a hint from 0 to 1, whose pixels inside a mask are `marked`. picture: (H, W, 3). mask: (H, W) from 0 to 1.

    marked: -1 for a ControlNet of SD1.5. Source: lllyasviel/ControlNet-v1-1-nightly, gradio_inpaint.py. 0 for a Union. Source:
    README of xinsir/controlnet-union-sdxl-1.0.
    """
    hint = as_hint(picture)
    hint[mask > 0.5] = marked
    return hint


def as_hint(picture: Picture) -> Floats:
    """uint8 from 0 to 255 → float32 from 0 to 1."""
    return np.asarray(picture / np.float32(255), dtype=np.float32)


def _three(channel: Picture) -> Picture:
    return np.repeat(channel[:, :, None], 3, axis=2)
