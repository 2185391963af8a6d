"""A rough look at a picture that is still being sampled, without the VAE."""

from __future__ import annotations

import numpy as np
import torch

WEIGHTS = ((60.0, -60.0, 25.0, -70.0), (60.0, -5.0, 15.0, -50.0), (60.0, 10.0, -5.0, -35.0))
BIAS = (150.0, 140.0, 130.0)
"""RGB from SDXL's four latent channels. Source: diffusers' documentation, "Pipeline callbacks"."""


def rough_picture(latents: torch.Tensor) -> np.ndarray:
    """latents: (4, h, w) of SDXL. returns: (h, w, 3) uint8 RGB."""
    values = torch.einsum("rc,chw->hwr", torch.tensor(WEIGHTS), latents.detach().float().cpu()) + torch.tensor(BIAS)
    picture: np.ndarray = values.clamp(0, 255).byte().numpy()
    return picture
