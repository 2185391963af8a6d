"""CFG rescaling against diffusers' function."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg

from lib_instantid.conditioning.cfg import rescaled_denoised, rescaled_noise


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_noise_is_rescaled_as_diffusers_does(part: float) -> None:
    guided, conditional = torch.randn(3, 4, 8, 6) * 5, torch.randn(3, 4, 8, 6)
    expected = rescale_noise_cfg(guided, conditional, guidance_rescale=part)
    assert torch.allclose(rescaled_noise(guided, conditional, part), expected, atol=1e-5)


def test_denoised_latents_are_rescaled_as_their_noise_is() -> None:
    x, sigma = torch.randn(2, 4, 8, 6) * 3, torch.tensor([2.5, 0.7])
    guided, conditional = torch.randn(2, 4, 8, 6) * 5, torch.randn(2, 4, 8, 6)
    wide = sigma[:, None, None, None]
    expected = x - wide * rescale_noise_cfg((x - guided) / wide, (x - conditional) / wide, guidance_rescale=0.6)
    assert torch.allclose(rescaled_denoised(x, sigma, guided, conditional, 0.6), expected, atol=1e-4)
