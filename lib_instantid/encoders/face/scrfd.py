"""SCRFD, the face detector of antelopev2: finds boxes, scores and five points of the faces in a picture.

Source of the mathematics: insightface 2.1, `model_zoo/scrfd.py` (MIT); the tests compare every number with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.encoders.face.sessions import Network

STRIDES = (8, 16, 32)
ANCHORS = 2
"""Anchors per cell of each stride's grid, both at the cell's corner."""

MEAN, SCALE = 127.5, 128.0
"""Pixel values are reduced by MEAN and divided by SCALE before they enter the network."""

SCORE_MIN = 0.5
OVERLAP_MAX = 0.4
"""SCORE_MIN: lowest score of a face. OVERLAP_MAX: if two boxes share a larger fraction of their union than this, only the
better one stays. Both are insightface's defaults."""

LIKELY_MIN = 0.2
"""Lowest score of an area that resembles a face, where none reaches `SCORE_MIN`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """N faces, best first. boxes (N, 4) x1 y1 x2 y2, scores (N,), keypoints (N, 5, 2) XY; float32, px."""

    boxes: Floats
    scores: Floats
    keypoints: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def moved(self, left: float, top: float, scale: float) -> Detections:
        """Move every coordinate p to (p - (left, top)) / scale: from a canvas back to the picture that was pasted into it.

        left, top: the picture's corner in the canvas, px. scale: canvas pixels per picture pixel.
        """
        corner, ratio = np.array((left, top), dtype=np.float32), np.float32(scale)
        boxes = (self.boxes.reshape(-1, 2, 2) - corner) / ratio
        return Detections(boxes=boxes.reshape(-1, 4), scores=self.scores, keypoints=(self.keypoints - corner) / ratio)


def detect(network: Network, picture: Picture, size: tuple[int, int], score_min: float = SCORE_MIN) -> Detections:
    """Find faces in a picture that is shrunk or enlarged into the top left corner of a black canvas.

    picture: (H, W, 3) uint8 RGB. size: (width, height) of the canvas, multiples of 32.
    score_min: lowest score of a face. returns: faces, in pixels of the picture. raises BadModelFile: the network does not run.
    """
    width, height = fit(picture, size)
    canvas = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    canvas[:height, :width] = cv2.resize(picture, (width, height))
    blob = (canvas.astype(np.float32) - np.float32(MEAN)) / np.float32(SCALE)
    outputs = network.run(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))
    found = _decode(outputs, size, score_min).moved(0, 0, height / picture.shape[0])
    return _suppress(found)  # after `moved`: the pixel that `_suppress` adds to each side is one of the photo's


def fit(picture: Picture, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) in px of a picture (H, W, 3) scaled to fit into size (width, height); rounded as in insightface, at
    least 1."""
    ratio = picture.shape[0] / picture.shape[1]
    if ratio > size[1] / size[0]:
        return max(1, int(size[1] / ratio)), size[1]
    return size[0], max(1, int(size[0] * ratio))


def _decode(outputs: list[Floats], size: tuple[int, int], score_min: float) -> Detections:
    """Three arrays of scores, three of boxes, three of points, one per stride -> the faces that reach `score_min`, best first.

    Boxes come as distances from the anchor to the four sides, points as offsets from the anchor; both in units of the stride.
    """
    boxes, scores, keypoints = [], [], []
    for index, stride in enumerate(STRIDES):
        score, sides, offsets = (outputs[index + part * len(STRIDES)].reshape(-1, k) for part, k in enumerate((1, 4, 10)))
        kept = np.flatnonzero(score[:, 0] >= score_min)
        anchors = _anchors(size, stride)[kept]
        distances = sides[kept] * stride
        boxes.append(np.concatenate([anchors - distances[:, :2], anchors + distances[:, 2:]], axis=1))
        scores.append(score[kept, 0])
        keypoints.append(anchors[:, None] + offsets[kept].reshape(-1, 5, 2) * stride)
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    return Detections(boxes=np.concatenate(boxes)[order], scores=every[order], keypoints=np.concatenate(keypoints)[order])


def _anchors(size: tuple[int, int], stride: int) -> Floats:
    """The anchors of one stride's grid: (N, 2) XY px, row by row, each place `ANCHORS` times."""
    y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
    places = np.stack([x, y], axis=-1).reshape(-1, 2) * stride
    return np.repeat(places, ANCHORS, axis=0).astype(np.float32)


def _suppress(found: Detections) -> Detections:
    """Keep the best of the boxes that overlap. As in insightface, a box from x1 to x2 counts as x2 - x1 + 1 pixels wide."""
    start, end = found.boxes[:, :2], found.boxes[:, 2:]
    areas = (end - start + 1).prod(axis=1)
    waiting, kept = np.arange(len(found)), []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        kept.append(best)
        common = (np.minimum(end[best], end[rest]) - np.maximum(start[best], start[rest]) + 1).clip(min=0).prod(axis=1)
        waiting = rest[common / (areas[best] + areas[rest] - common) <= OVERLAP_MAX]
    order = np.array(kept, dtype=np.intp)
    return Detections(boxes=found.boxes[order], scores=found.scores[order], keypoints=found.keypoints[order])
