"""CFG rescale: scales the result of classifier-free guidance to the contrast of the conditional prediction."""

from __future__ import annotations

import torch
from torch import Tensor


def rescaled_noise(guided: Tensor, conditional: Tensor, part: float) -> Tensor:
    """Scale guided noise to the standard deviation of the conditional noise.

    guided, conditional: (B, C, h, w) noise predictions. part: from 0, which changes nothing, to 1, which scales fully.
    returns: (B, C, h, w).
    Source: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2305.08891), section 3.4.
    """
    dimensions = tuple(range(1, guided.ndim))
    ratio = conditional.std(dim=dimensions, keepdim=True) / guided.std(dim=dimensions, keepdim=True)
    return torch.lerp(guided, guided * ratio, part)


def rescaled_denoised(x: Tensor, sigma: Tensor, guided: Tensor, conditional: Tensor, part: float) -> Tensor:
    """See `rescaled_noise`; for samplers that predict denoised latents instead of noise.

    x: (B, C, h, w) noisy latents. sigma: (B,) their noise levels. guided, conditional: (B, C, h, w) denoised latents.
    returns: (B, C, h, w) denoised latents.
    """
    sigma = sigma.reshape(-1, *(1,) * (x.ndim - 1))
    noise = rescaled_noise((x - guided) / sigma, (x - conditional) / sigma, part)
    return x - sigma * noise
