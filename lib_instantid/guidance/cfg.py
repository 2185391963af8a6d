"""Classifier-free guidance scaled back to the contrast of the conditional prediction."""

from __future__ import annotations

import torch
from torch import Tensor


def rescaled_noise(guided: Tensor, conditional: Tensor, part: float) -> Tensor:
    """guided, conditional: (B, C, h, w) noise predictions. part: 0 leaves the guided one, 1 gives it the other's deviation.

    Source: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2305.08891), section 3.4.
    """
    dimensions = tuple(range(1, guided.ndim))
    ratio = conditional.std(dim=dimensions, keepdim=True) / guided.std(dim=dimensions, keepdim=True)
    return torch.lerp(guided, guided * ratio, part)


def rescaled_denoised(x: Tensor, sigma: Tensor, guided: Tensor, conditional: Tensor, part: float) -> Tensor:
    """The same where a sampler works with denoised latents instead of noise. x: (B, C, h, w) noisy. sigma: (B,)."""
    sigma = sigma.reshape(-1, *(1,) * (x.ndim - 1))
    noise = rescaled_noise((x - guided) / sigma, (x - conditional) / sigma, part)
    return x - sigma * noise
