"""What a picture shows of its caption: wall, clothes, glasses and style. What tells them has seen drawn people with numbers
below 1,000,000, which nobody is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from lib_instantid.encoders.face.geometry import align
from training import styles
from training.people import COLOURS, Renderer, make_view

FIRST, COUNT = 999_000, 120
"""The people who are drawn to learn from."""

CORNER, STRIP = 24, 10
"""Of a picture of 192 pixels: side of the corners that show the wall, and height of the strip below that shows clothes."""

EYES = slice(40, 66)
"""The rows of an aligned face in which glasses are."""


class Seen:
    """Tells what a picture shows. pictures: (H, W, 3) uint8 RGB. points: (5, 2) XY px."""

    def __init__(self, renderer: Renderer, size: int) -> None:
        faces, worn, drawn = [], [], []
        for number in range(FIRST, FIRST + COUNT):
            person = renderer.person(number)
            for glasses in ("none", ("round", "square")[number % 2]):
                view = replace(make_view(1, person), hat="none", glasses=glasses)
                picture, points = renderer.render(person, view, size)
                faces.append(_eyes(picture, points))
                worn.append(glasses != "none")
            drawn.append(picture)
        self._glasses = _line_between(np.stack(faces), np.array(worn))
        kinds = [name for _ in drawn for name in styles.STYLES]
        shades = np.stack([_shades(styles.apply(name, picture)) for picture in drawn for name in styles.STYLES])
        self._styles = {name: _line_between(shades, np.array([kind == name for kind in kinds])) for name in styles.STYLES}

    def glasses(self, picture: np.ndarray, points: np.ndarray) -> bool:
        line, middle = self._glasses
        return bool(_eyes(picture, points) @ line > middle)

    def style(self, picture: np.ndarray) -> str:
        shades = _shades(picture)
        return max(self._styles, key=lambda name: float(shades @ self._styles[name][0] - self._styles[name][1]))


def wall(picture: np.ndarray) -> str:
    """The named colour nearest to that of the two upper corners."""
    return _named([picture[:CORNER, :CORNER], picture[:CORNER, -CORNER:]])


def clothes(picture: np.ndarray, points: np.ndarray) -> str:
    """The named colour nearest to that of the lowest rows, below the face."""
    apart = float(np.linalg.norm(points[1] - points[0]))
    left, right = np.clip(points[:, 0].mean() + np.array([-1.5, 1.5]) * apart, 0, picture.shape[1]).astype(int)
    return _named([picture[-STRIP:, left : max(right, left + 1)]])


def _named(parts: Sequence[np.ndarray]) -> str:
    colour = np.median(np.concatenate([part.reshape(-1, 3) for part in parts]), axis=0)
    return min(COLOURS, key=lambda name: float(np.linalg.norm(np.array(COLOURS[name]) - colour)))


def _eyes(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) how strongly brightness changes around the eyes."""
    grey = cv2.cvtColor(align(picture, points), cv2.COLOR_RGB2GRAY).astype(np.float32)
    steep = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[EYES]
    return cv2.resize(steep, (28, 8), interpolation=cv2.INTER_AREA).ravel() / 100


def _line_between(examples: np.ndarray, those: np.ndarray) -> tuple[np.ndarray, float]:
    """The direction that tells some examples (N, n) from the others by ridge regression, and the value half way."""
    middle = examples.mean(axis=0)
    apart = examples - middle
    line = np.linalg.solve(apart.T @ apart + np.eye(apart.shape[1]), apart.T @ (those - those.mean()))
    return line, float(middle @ line + 0.5 - those.mean())


def _shades(picture: np.ndarray) -> np.ndarray:
    """(n,) how often each brightness, each saturation and each step from pixel to pixel is there."""
    saturation = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    steep = np.log1p(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)))
    parts = [np.histogram(values, 12, (0, top))[0] for values, top in ((grey, 256), (saturation, 256), (steep, 7))]
    return np.sqrt(np.concatenate(parts) / grey.size)
