"""ControlNet Union: one network for several kinds of hints, its tasks.

Source of the mathematics: diffusers 0.42 `controlnet_union.py`, with one hint for each run; the tests compare the results with
theirs. The parameters have the names of the released files, misspelt ones included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.networks.blocks import sinusoidal
from lib_instantid.networks.controlnet import ControlNet, PreparedHint, Shape, TwoLinear

TASKS = "task_embedding"
"""The parameter that only a Union has: an embedding for each task."""

QUICK = 1.702
"""The constant of QuickGELU, x · sigmoid(1.702 x)."""


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """The sizes of what a Union has besides. count: of its tasks. width: numbers of a task's embedding. layers: of attention.
    numbers: for each task, in the embedding of the task that acts."""

    count: int
    width: int
    layers: int
    numbers: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Tasks:
        """Read the sizes off the shapes of the weights. Raises KeyError: one is missing."""
        count, width = weights[TASKS].shape
        layers = {name.split(".")[1] for name in weights if name.startswith("transformer_layes.")}
        numbers = weights["control_add_embedding.linear_1.weight"].shape[1] // count
        return cls(count=count, width=width, layers=len(layers), numbers=numbers)


class FusionLayer(nn.Module):
    """A layer of attention for one token, which attends to itself: to its value. QuickGELU stands between the last two layers.

    The parameters that are no module's `weight` follow the input's device and dtype, as Forge leaves them where they are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, num_heads=1)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, width * 4), "c_proj": nn.Linear(width * 4, width)})

    def forward(self, x: Tensor) -> Tensor:
        """x (1, C) → the same shape."""
        of_value = slice(2 * x.shape[1], None)
        weight, bias = self.attn.in_proj_weight[of_value], self.attn.in_proj_bias[of_value]
        x = x + self.attn.out_proj(F.linear(self.ln_1(x), weight.to(x), bias.to(x)))
        inner = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](inner * torch.sigmoid(QUICK * inner))


class ControlNetUnion(ControlNet):
    """A ControlNet of several tasks. Every hint needs one."""

    def __init__(self, shape: Shape, tasks: Tasks) -> None:
        super().__init__(shape)
        first = shape.channels[0]
        self.tasks = tasks
        self.task_embedding = nn.Parameter(torch.empty(tasks.count, tasks.width))
        self.transformer_layes = nn.ModuleList([FusionLayer(tasks.width) for _ in range(tasks.layers)])
        self.spatial_ch_projs = nn.Linear(tasks.width, first)
        self.control_add_embedding = TwoLinear(tasks.numbers * tasks.count, first * 4)

    @torch.no_grad()
    def prepare_hint(self, hint: Tensor, task: int | None = None) -> PreparedHint:
        """See `ControlNet.prepare_hint`. Each channel of the features is shifted, by the attention over their mean.

        In the reference the latents take part in that attention, but without effect: there the rows of a call attend to one
        another, and what is used is of the hint alone, which is the same in all rows.
        """
        assert task is not None, "the hint of a Union has a task"
        plain = super().prepare_hint(hint).features
        fused = plain.mean(dim=(2, 3)) + self.task_embedding[task].to(plain)
        for layer in self.transformer_layes:
            fused = layer(fused)
        acting = torch.zeros(self.tasks.count, device=plain.device)
        acting[task] = 1.0
        return PreparedHint(
            features=plain + self.spatial_ch_projs(fused)[:, :, None, None],
            time=self.control_add_embedding(sinusoidal(acting, self.tasks.numbers).flatten()[None].to(plain)),
        )
