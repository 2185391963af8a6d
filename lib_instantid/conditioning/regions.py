"""Makes masks of where each person's conditioning acts, in output pixels, and scales them to the UNet's smaller grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib_instantid.errors import SettingsError, UnsupportedModel


def grown_box(box: np.ndarray, part: float) -> np.ndarray:
    """Move each side of a box outwards by `part` of the box's width or height. box: (4,) x1 y1 x2 y2. returns: the same."""
    x1, y1, x2, y2 = box
    dx, dy = part * (x2 - x1), part * (y2 - y1)
    return np.array([x1 - dx, y1 - dy, x2 + dx, y2 + dy])


def box_region(box: np.ndarray, width: int, height: int) -> Tensor:
    """Make a hard-edged (height, width) float32 mask, 1 inside the box, 0 outside.

    box: (4,) x1 y1 x2 y2 px. width, height: of the picture, px. Raises SettingsError: the box lies outside the picture.
    Source: InstantID gradio_demo/app.py, `control_mask`.
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
    """A (height, width) float32 mask for each person: 1 where that face's centre is the nearest, else 0.

    centres: (2,) XY px each. width, height: of the picture, px. Every pixel belongs to exactly one person.
    """
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distances = torch.stack([(x - float(cx)) ** 2 + (y - float(cy)) ** 2 for cx, cy in centres])
    nearest = distances.argmin(dim=0)
    return tuple((nearest == i).float() for i in range(len(centres)))


def on_features(region: Tensor, height: int, width: int) -> Tensor:
    """Scale a mask (H, W) to (1, 1, height, width) for residuals. Bilinear, as in InstantID's reference."""
    return F.interpolate(region[None, None], (height, width), mode="bilinear")


def attention_mask(
    regions: Sequence[Tensor | None], tokens: Sequence[int], latent_height: int, latent_width: int, count: int
) -> Tensor:
    """Which tokens each cell attends to, in one attention to the tokens of several people. returns: (count, all tokens) bool.

    A cell attends to the people whose region contains it, or to all people if no region does.
    regions: (H, W) per person, None for everywhere. tokens: number of tokens per person. count: cells of the attention.
    Raises UnsupportedModel: see `on_tokens`.
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
    """Scale a mask (H, W) to (1, count, 1) for an attention over `count` cells. Nearest neighbour, as in the reference.

    latent_height, latent_width: size of the latents in cells. The UNet's grids are this size, halved repeatedly and rounded
    up. Raises UnsupportedModel: none of them has `count` cells.
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
