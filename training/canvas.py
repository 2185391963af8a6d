"""A picture that is drawn layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training import shapes
from training.paint import Found, Paint
from training.person import View
from training.raster import draw, normals
from training.shapes import Floats, Ints

WALL = 1.0
"""The distance of what is behind a person. A head's middle is at 0.75."""


class Canvas:
    """A picture and the distance of each of its pixels, which is infinite where nothing is drawn yet."""

    def __init__(self, side: int, view: View) -> None:
        self._view = view
        self._side = side
        self.z = np.full((side, side), np.inf, dtype=np.float32)
        self.rgb = np.zeros((side, side, 3), dtype=np.float32)
        yaw = cv2.Rodrigues(np.array([0, 0, view.yaw]))[0]
        pitch = cv2.Rodrigues(np.array([view.pitch, 0, 0]))[0]
        roll = cv2.Rodrigues(np.array([0, view.roll, 0]))[0]
        self._head = (roll @ pitch @ yaw).astype(np.float32)
        self._body = cv2.Rodrigues(np.array([0, 0, view.yaw * 0.45]))[0].astype(np.float32)

    def turn(self, points: Floats) -> Floats:
        """The head turns about the neck; the body follows by less than half."""
        pivot = np.array([0, -0.02, 0.6], dtype=np.float32)
        away = points - pivot
        part = np.clip((points[:, 2:] - 0.49) / 0.09, 0, 1)
        part = part * part * (3 - 2 * part)
        return part * (away @ self._head.T) + (1 - part) * (away @ self._body.T) + pivot - shapes.CENTRE

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        turned = self.turn(points)
        distance = turned[:, 1] + 0.75
        focal = self._side * 2.05 * self._view.scale
        x = turned[:, 0] / distance * focal + self._side * self._view.place[0]
        y = -turned[:, 2] / distance * focal + self._side * self._view.place[1]
        return np.stack([x, y], axis=1).astype(np.float32), distance.astype(np.float32)

    def layer(self, points: Floats, faces: Ints, base: Floats, extra: Floats | None, paint: Callable[[Found], Paint]) -> None:
        """Draw a mesh where it is nearer than what is there."""
        xy, distance = self.project(points)
        normal = normals(self.turn(points), faces)
        values = np.concatenate([base, normal] + ([] if extra is None else [extra]), axis=1).astype(np.float32)
        z = np.full_like(self.z, np.inf)
        out = np.zeros((*z.shape, values.shape[1]), dtype=np.float32)
        draw(xy, distance, faces, values, z, out)
        seen = np.flatnonzero((z < self.z).ravel())
        found = out.reshape(-1, values.shape[1])[seen]
        known = {"base": found[:, :3], "normal": found[:, 3:6], "extra": found[:, 6:]}
        colour, there, shine = paint(known)
        shaded = colour * self._light(known["normal"], shine)[:, None]
        seen, shaded = seen[there], shaded[there]
        self.z.ravel()[seen] = z.ravel()[seen]
        self.rgb.reshape(-1, 3)[seen] = shaded

    def depth(self, size: int) -> np.ndarray:
        """(size, size) uint8: one over the distance, as ControlNets know it. White is the nearest, black is `WALL`."""
        near = 1 / np.minimum(self.z, WALL) - 1 / WALL
        whole = cv2.resize(near / near.max(), (size, size), interpolation=cv2.INTER_AREA)
        return np.clip(whole * 255 + 0.5, 0, 255).astype(np.uint8)

    def _light(self, normal: Floats, shine: float) -> Floats:
        normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6)
        normal = np.where(normal[:, 1:2] > 0, -normal, normal)
        light = np.array(self._view.light, dtype=np.float32)
        half = light + np.array([0, -1, 0], dtype=np.float32)
        half /= np.linalg.norm(half)
        diffuse = np.clip(normal @ light, 0, 1)
        return self._view.bright * (0.46 + 0.6 * diffuse + shine * np.clip(normal @ half, 0, 1) ** 14)
