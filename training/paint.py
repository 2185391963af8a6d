"""What the layers of a picture are painted with."""

from __future__ import annotations

import numpy as np

from training.shapes import Floats

Found = dict[str, Floats]
"""What a layer knows of each of its pixels: base (N, 3), normal (N, 3), extra (N, A)."""

Paint = tuple[np.ndarray, np.ndarray, float]
"""Colour (N, 3), where there is something (N,), and how much it shines."""


def painted(found: Found, colour: np.ndarray, shine: float = 0.0) -> Paint:
    """One colour (3,) everywhere."""
    count = len(found["base"])
    return np.tile(colour, (count, 1)), np.ones(count, dtype=bool), shine


def smooth(value: Floats, edge: float, width: float) -> Floats:
    """0 below the edge, 1 above it, over `width`."""
    part = np.clip((value - edge) / width + 0.5, 0, 1)
    return part * part * (3 - 2 * part)
