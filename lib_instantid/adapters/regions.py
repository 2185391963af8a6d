"""Reads the masks of where an entry acts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.family import Size
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.encoders.face.picture import read_mask
from lib_instantid.errors import SettingsError


def region_of(region: PictureSource | None, size: Size, field: str) -> Tensor | None:
    """(height, width) mask in [0, 1], stretched to the output; None for everywhere. Raises PictureError, SettingsError: all
    black. field: which errors name."""
    if region is None:
        return None
    mask = read_mask(region, field)
    if mask.max() == 0:
        raise SettingsError(f"{field}: the mask is all black; paint the region white.")
    return torch.from_numpy(np.ascontiguousarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), dtype=np.float32))
