"""The optimiser of the diffusion: Muon for the 3 x 3 convolutions, AdamW for the rest.

What a convolution reads has a mean, along which its answer is steep: AdamW swings to and fro there while other directions
hardly learn. Muon (https://kellerjordan.github.io/posts/muon) moves a matrix, here (out, in x 3 x 3), by about the orthogonal
matrix that is nearest to its gradient's running mean, so that all directions learn at one pace. The size of a move is brought
to AdamW's, so that both share one rate (arXiv 2502.16982).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 1e-3


class Muon(torch.optim.Optimizer):
    """Takes the weights of convolutions."""

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        super().__init__(weights, {"lr": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if not self.state[weight]:
                    self.state[weight]["mean"] = torch.zeros_like(weight)
                mean = self.state[weight]["mean"].lerp_(weight.grad, 0.05)
                move = orthogonal(weight.grad.lerp(mean, 0.95).flatten(1))
                weight.mul_(1 - group["lr"] * DECAY)
                weight.add_(move.view_as(weight), alpha=-group["lr"] * 0.2 * max(move.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest (half) orthogonal matrix: singular values become 0.7 to 1.2, by five Newton-Schulz steps."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Optimiser:
    """Both, as one."""

    def __init__(self, model: nn.Module) -> None:
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        inner = {name for name, weight in trained.items() if weight.ndim == 4 and weight.shape[-1] == 3}
        inner = {name for name in inner if not name.endswith(("conv_in.weight", "conv_out.weight"))}
        rest = [weight for name, weight in trained.items() if name not in inner]
        adam = torch.optim.AdamW(rest, betas=(0.9, 0.99), weight_decay=DECAY, fused=True)
        self._parts = (Muon(trained[name] for name in trained if name in inner), adam)

    def step(self, rate: float) -> None:
        """One step along the gradients, which are then gone."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)
