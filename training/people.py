"""Pictures of people: `python -m training.people NUMBER OUT.png [--view V] [--size S]`.

Numbers below 1,000,000 may be trained on, those above are kept for measuring.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from training import shapes
from training.background import background
from training.canvas import Canvas
from training.person import COLOURS, Person, View, make_person, make_view
from training.raster import normals
from training.shapes import Floats, Shapes
from training.skin import skin
from training.worn import worn


class Renderer:
    """Pictures of people. Keeps the shape of the person it drew last."""

    def __init__(self) -> None:
        self.shape = Shapes()
        self._last: tuple[int, Floats] | None = None

    def person(self, number: int) -> Person:
        return make_person(number, self.shape)

    def _head(self, person: Person) -> Floats:
        if self._last is None or self._last[0] != person.number:
            self._last = person.number, self.shape.head(person.phenotype, person.changes)
        return self._last[1]

    def render(self, person: Person, view: View, size: int = 192) -> tuple[np.ndarray, Floats]:
        """(size, size, 3) uint8 RGB, and the five points (5, 2) XY px, eyes, nose, mouth corners, viewer's left first."""
        canvas, points = self._drawn(person, view, size * 2)
        behind = background(view, size, np.random.default_rng(view.seed))
        picture = cv2.resize(behind, (size * 2, size * 2), interpolation=cv2.INTER_NEAREST)
        covered = np.isfinite(canvas.z)
        picture[covered] = canvas.rgb[covered]
        picture = np.clip(picture * (1 + view.warm * np.array([1, 0, -1])), 0, 255).astype(np.float32)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8), points / 2

    def depth(self, person: Person, view: View, size: int = 192) -> np.ndarray:
        """(size, size) uint8, see `Canvas.depth`: of what `render` draws."""
        return self._drawn(person, view, size * 2)[0].depth(size)

    def _drawn(self, person: Person, view: View, side: int) -> tuple[Canvas, Floats]:
        """Everything but the background, and the five points (5, 2) XY px."""
        canvas, shape, head = Canvas(side, view), self.shape, self._head(person)
        moved = head + view.smile * shape.actions["smile"] + view.mouth * shape.actions["open"]
        moved = moved + view.brows * shape.actions["brows"] + view.blink * shape.actions["blink"]
        affine = shapes.fit(shape.base, head)
        normal = normals(moved, shape.faces)
        cloth = np.clip((0.53 - shape.base[:, 2]) / 0.02, 0, 1)[:, None]
        moved = moved + normal * cloth * {"shirt": 0.004, "sweater": 0.01, "jacket": 0.012}[view.clothes]
        extra = np.stack([shape.lips, shape.eyes], axis=1)
        canvas.layer(moved, shape.faces, shape.base, extra, lambda f: skin(f, person, view))
        for mesh, paint in worn(shape, person, view, moved, normal, affine):
            canvas.layer(mesh.points, mesh.faces, mesh.base, None, paint)
        points = np.array([canvas.project(moved[mark].mean(0)[None])[0][0] for mark in shape.marks])
        return canvas, points.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a person by number.")
    parser.add_argument("number", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--view", type=int, default=0)
    parser.add_argument("--size", type=int, default=192)
    args = parser.parse_args()
    renderer = Renderer()
    person = renderer.person(args.number)
    picture, _ = renderer.render(person, make_view(args.view, person), args.size)
    cv2.imwrite(str(args.out), picture[..., ::-1])


__all__ = ["COLOURS", "Person", "Renderer", "View", "make_person", "make_view"]

if __name__ == "__main__":
    main()
