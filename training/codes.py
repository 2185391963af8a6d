"""All codes in memory, and batches of them: windows around the face or whole pictures, with captions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.captions import caption, traits
from training.person import make_person
from training.shapes import Shapes

WINDOW, WHOLE = 16, 24
BATCH = {WINDOW: 16, WHOLE: 8}
"""Sides of what is seen, in cells of 8 px, and how many of it at a time."""


def side_at(through: float, whole: float) -> int:
    """WINDOW, and WHOLE in the last part of the time. through: how much of it is over. whole: that part."""
    return WHOLE if through > 1 - whole else WINDOW


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """codes (B, 4, n, n); points (B, 5, 2) XY px of the window; rows: of `Codes`; size: of the window in px; corners (B, 2) XY
    px: the windows' upper left ones."""

    codes: Tensor
    points: np.ndarray
    rows: np.ndarray
    size: int
    corners: np.ndarray


class Codes:
    """All codes of some people in memory."""

    def __init__(self, run: Path, shape: Shapes, below: int = 500_000) -> None:
        """below: only of people with smaller numbers; a multiple of 100."""
        first_of = lambda path: int(path.stem.split("-")[1])  # noqa: E731
        files = sorted((run / "latents").glob("latents-*.npz"), key=first_of)
        parts = [np.load(p) for p in files if first_of(p) < below]
        join = lambda name: np.concatenate([p[name] for p in parts])  # noqa: E731
        self.code, self.points, self.number, self.style = map(join, ("code", "points", "number", "style"))
        self.index, self.mirrored = join("index"), join("mirrored")
        self.shown = [json.loads(str(text)) for text in join("shown")]
        self.traits = {int(number): traits(make_person(int(number), shape)) for number in np.unique(self.number)}

    def batch(self, window: int, r: np.random.Generator, count: int = 0) -> Batch:
        rows = r.integers(0, len(self.code), count or BATCH[window])
        codes, points, corners = [], [], []
        for row in rows:
            free = WHOLE - window
            x, y = (int(v) for v in r.integers(0, free + 1, 2))
            if free:
                x, y = np.clip(self.points[row].mean(0) / 8 - window / 2 + r.uniform(-2, 2, 2), 0, free).astype(int)
            codes.append(self.code[row, :, y : y + window, x : x + window])
            points.append(self.points[row] - (8 * x, 8 * y))
            corners.append((8 * x, 8 * y))
        return Batch(
            codes=torch.from_numpy(np.stack(codes)).float(),
            points=np.stack(points),
            rows=rows,
            size=8 * window,
            corners=np.array(corners),
        )

    def captions(self, rows: np.ndarray, r: np.random.Generator, identity: float) -> list[str]:
        return [
            caption(self.shown[row], str(self.style[row]), self.traits[int(self.number[row])], r, identity=identity)
            for row in rows
        ]
