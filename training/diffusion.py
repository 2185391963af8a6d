"""What both stages of diffusion training share: noise, loss, rate, and the running mean of the weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from training.codes import Batch

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

OFFSET = 0.07
"""Deviation of the noise's mean: without it the mean would tell the colours, which are the caption's to tell."""

ALPHAS = torch.cumprod(1 - torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000) ** 2, 0)


def noisy(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes with noise of random steps, the noise, and the steps."""
    steps = ((torch.arange(len(codes)) + torch.rand(len(codes))) / len(codes) * 1000).long()[torch.randperm(len(codes))]
    noise = torch.randn_like(codes) + OFFSET * torch.randn(*codes.shape[:2], 1, 1)
    kept = ALPHAS[steps][:, None, None, None]
    return kept.sqrt() * codes + (1 - kept).sqrt() * noise, noise, steps


def loss_of(answer: Tensor, noise: Tensor, steps: Tensor, batch: Batch, face: float) -> Tensor:
    """Squared error, steps weighted by clamp(SNR, 1/4, 5) / SNR, cells of the face by `face`.

    5 is arXiv 2303.09556's. 1/4 is for what only much noise decides, such as the colours of large parts: the error of the
    noise says next to nothing of it, and captions would be learned last.
    """
    ratio = ALPHAS[steps] / (1 - ALPHAS[steps])
    cells = np.arange(batch.codes.shape[-1]) * 8 + 4
    middle = batch.points.mean(1)
    reach = np.linalg.norm(batch.points[:, 0] - batch.points[:, 1], axis=1).clip(8) * 1.3
    x = abs(cells[None] - middle[:, :1]) < reach[:, None]
    y = abs(cells[None] - middle[:, 1:]) < reach[:, None] * 1.4
    weight = 1 + (face - 1) * torch.from_numpy(y[:, :, None] & x[:, None]).float()[:, None]
    error = ((answer - noise) ** 2 * weight / weight.mean((1, 2, 3), keepdim=True)).mean((1, 2, 3))
    return (error * ratio.clamp(0.25, 5) / ratio).mean()


def rate_at(through: float, highest: float) -> float:
    return highest * min(1, through / 0.02) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1, through))))


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, step: int, keep: float = 0.999) -> None:
    keep = min(keep, (1 + step) / (10 + step))
    for old, new in zip(mean.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - keep)
