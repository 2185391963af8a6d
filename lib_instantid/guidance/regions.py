"""Where each person's guidance acts: masks in output pixels, and the same masks on smaller grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib_instantid.errors import SettingsError, UnsupportedModel


def grown_box(box: np.ndarray, part: float) -> np.ndarray:
    """box (4,) x1 y1 x2 y2; each side moves outwards by `part` of the box's width or height."""
    x1, y1, x2, y2 = box
    dx, dy = part * (x2 - x1), part * (y2 - y1)
    return np.array([x1 - dx, y1 - dy, x2 + dx, y2 + dy])


def box_region(box: np.ndarray, width: int, height: int) -> Tensor:
    """Hard-edged (height, width) float32 mask, 1 inside the box. Source: InstantID gradio_demo/app.py, `control_mask`.

    Raises SettingsError if nothing of the box lies inside the picture.
    """
    x1, y1, x2, y2 = (int(v) for v in box)
    region = torch.zeros(height, width)
    region[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = 1.0
    if not region.any():
        raise SettingsError(
            f"face_region: the face box {x1}, {y1}, {x2}, {y2} lies outside the {width}×{height} picture; "
            "place the head inside it."
        )
    return region


def nearest_person(centres: Sequence[np.ndarray], width: int, height: int) -> tuple[Tensor, ...]:
    """A (height, width) mask for each person: the pixels nearer to that face's centre than to the others'.

    centres: (2,) XY in pixels each. Every pixel belongs to exactly one person.
    """
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distances = torch.stack([(x - float(cx)) ** 2 + (y - float(cy)) ** 2 for cx, cy in centres])
    nearest = distances.argmin(dim=0)
    return tuple((nearest == i).float() for i in range(len(centres)))


def on_features(region: Tensor, height: int, width: int) -> Tensor:
    """(H, W) mask → (1, 1, height, width), bilinear as the reference scales it for IdentityNet's residuals."""
    return F.interpolate(region[None, None], (height, width), mode="bilinear")


def attention_mask(
    regions: Sequence[Tensor | None], tokens: Sequence[int], latent_height: int, latent_width: int, count: int
) -> Tensor:
    """Several people's tokens, one after another, in one attention over `count` cells → (count, all tokens) bool.

    A cell attends to the people whose region, (H, W) or None for everywhere, holds it, and to all where nobody's does.
    """
    held = [
        torch.ones(count, 1, dtype=torch.bool)
        if region is None
        else on_tokens(region.cpu(), latent_height, latent_width, count)[0] > 0
        for region in regions
    ]
    own = torch.cat([mask.expand(-1, size) for mask, size in zip(held, tokens, strict=True)], dim=1)
    return own | ~own.any(dim=1, keepdim=True)


def on_tokens(region: Tensor, latent_height: int, latent_width: int, count: int) -> Tensor:
    """(H, W) mask → (1, count, 1) for attention over `count` cells, nearest as the reference does.

    The grid follows from the latents' size: each downsampling halves it, rounding up. Raises UnsupportedModel if no such
    grid has `count` cells.
    """
    height, width = latent_height, latent_width
    while height * width > count and (height, width) != (1, 1):
        height, width = -(-height // 2), -(-width // 2)
    if height * width != count:
        raise UnsupportedModel(
            f"face_region: cross-attention sees {count} cells, which fit no level of {latent_height}×{latent_width} latents "
            '(tokens are merged there). Turn token merging off for cross-attention, or set face_region to "everywhere".'
        )
    return F.interpolate(region[None, None], (height, width), mode="nearest").reshape(1, count, 1)
