"""Paints what is behind a person."""

from __future__ import annotations

import numpy as np

from training.paint import smooth
from training.person import COLOURS, View


def background(view: View, side: int, r: np.random.Generator) -> np.ndarray:
    """(side, side, 3) float32 RGB from 0 to 255."""
    colour = np.clip(np.array(COLOURS[view.background]) + r.normal(0, 8, 3), 0, 255)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    shade = np.ones((side, side), dtype=np.float32)
    if view.pattern == "gradient":
        a = r.uniform(0, 2 * np.pi)
        shade = 1 + 0.35 * (np.cos(a) * (x - 0.5) + np.sin(a) * (y - 0.5))
    elif view.pattern == "wall":
        shade = np.where(y > r.uniform(0.6, 0.85) + 0.1 * r.normal() * (x - 0.5), 0.72, 1.0) * (1.05 - 0.15 * x)
    elif view.pattern == "spots":
        for _ in range(9):
            cx, cy, radius = r.uniform(0, 1), r.uniform(0, 1), r.uniform(0.04, 0.14)
            shade = shade + r.uniform(-0.25, 0.25) * (1 - smooth(np.hypot(x - cx, y - cy), radius, 0.03))
    elif view.pattern == "stripes":
        a = r.uniform(0, np.pi)
        shade = 1 + 0.12 * np.sign(np.sin((np.cos(a) * x + np.sin(a) * y) * r.uniform(20, 45)))
    return np.clip(colour * shade[..., None], 0, 255).astype(np.float32)
