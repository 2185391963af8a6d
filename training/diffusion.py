"""What training of the diffusion shares: noise, loss, rate, and the running mean of the weights.

What is predicted is v = sqrt(a) noise - sqrt(1 - a) picture, and the last step is noise alone (arXiv 2305.08891). The noise
itself says next to nothing of the picture where there is much of it, and there colours and heads are decided: with the noise
as what is predicted 7,800 steps were no better there than 240 with v.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.codes import Batch

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULER = {
    **BETAS,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
"""diffusers' configuration of a scheduler for what is trained here."""


def _alphas() -> Tensor:
    """(1000,) what is left of the picture's variance at each step: SDXL's, moved so that the last one is 0."""
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    roots = torch.cumprod(1 - betas, 0).sqrt()
    return (((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2).float()


ALPHAS = _alphas()


def noisy(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes with noise, their v, and the steps. Much noise is drawn more often: density ~ step ** 1.5."""
    places = (torch.arange(len(codes)) + torch.rand(len(codes))) / len(codes)
    steps = (places**0.4 * 1000).long().clamp(max=999)[torch.randperm(len(codes))]
    noise = torch.randn_like(codes)
    kept = ALPHAS[steps][:, None, None, None]
    return kept.sqrt() * codes + (1 - kept).sqrt() * noise, kept.sqrt() * noise - (1 - kept).sqrt() * codes, steps


def told(x: Tensor, answer: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The picture and the noise that an answer v says are in x."""
    kept = ALPHAS[steps][:, None, None, None]
    return kept.sqrt() * x - (1 - kept).sqrt() * answer, (1 - kept).sqrt() * x + kept.sqrt() * answer


def onward(x: Tensor, answer: Tensor, steps: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a sampler goes from x: with less noise, their v towards the true codes, and the steps.

    What a model makes of true codes with noise says little of what it makes of its own: each step's errors were left to the
    next, and likeness fell from 0.38 at step 699 to 0.26 at the end. answer: the model's v at x.
    """
    picture, noise = told(x, answer, steps)
    less = (steps * (0.1 + 0.8 * torch.rand(len(steps)))).long()
    kept = ALPHAS[less][:, None, None, None]
    x = kept.sqrt() * picture + (1 - kept).sqrt() * noise
    return x, (kept.sqrt() * x - codes) / (1 - kept).sqrt(), less


FACE = 3.0
"""What a cell of the face counts, beside another one."""


def loss_of(answer: Tensor, v: Tensor, batch: Batch) -> Tensor:
    """(B,) squared error."""
    cells = np.arange(batch.codes.shape[-1]) * 8 + 4
    middle = batch.points.mean(1)
    reach = np.linalg.norm(batch.points[:, 0] - batch.points[:, 1], axis=1).clip(8) * 1.3
    x = abs(cells[None] - middle[:, :1]) < reach[:, None]
    y = abs(cells[None] - middle[:, 1:]) < reach[:, None] * 1.4
    weight = 1 + (FACE - 1) * torch.from_numpy(y[:, :, None] & x[:, None]).float()[:, None]
    return ((answer - v) ** 2 * weight / weight.mean((1, 2, 3), keepdim=True)).mean((1, 2, 3))


def halves(errors: Tensor, steps: Tensor) -> Tensor:
    """(2,) means of the errors (B,) of the noisier half of a batch and of the other one."""
    order = steps.argsort()
    return torch.stack([errors[order[len(order) // 2 :]].mean(), errors[order[: len(order) // 2]].mean()])


def heard(count: int, r: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(count,) whether a caption is there, and whether a face or picture is. Source: InstantID and IP-Adapter, which leave out
    each alone, and both, in 5 % of the steps."""
    fate = torch.from_numpy(r.random(count))
    return ~((fate < 0.05) | (fate > 0.95)), fate < 0.9


def rate_at(step: int, through: float, highest: float) -> float:
    """Up for 100 steps, steady until half of the time, then straight down."""
    return highest * min(1, (step + 1) / 100) * max(0.01, min(1, 2 - 2 * through))


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, step: int, keep: float = 0.95) -> None:
    keep = min(keep, (1 + step) / (10 + step))
    for old, new in zip(mean.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - keep)
