"""The loop by which checkpoint, IdentityNet and ControlNets are trained: it goes on where it stopped, and keeps the mean of the
weights.

Several processes may share the work: each goes its own way for a few steps, then all take the mean of their weights, which
waits for the slowest far less than a mean of each step's gradients does.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from training.diffusion import follow, rate_at
from training.runs import Log, restore, save

TOGETHER = 8
"""Steps after which the processes take the mean of their weights."""

DECAY = 1e-3
SAVED = 120
"""Seconds after which the state is written again."""

ErrorsOf = Callable[[np.random.Generator, float], Tensor]
"""One step's errors, (2,): of its noisier half and of the other one. It is given its random numbers and how much of the time is
over, 0 to 1."""


class Loop:
    """Trains a model. Whatever of it is to be frozen must be frozen before `run`."""

    def __init__(self, path: Path, model: nn.Module, **told: Any) -> None:
        """Give the model the weights of the state at `path`, if there is one. told: plain values that are kept in the state;
        where they are others than in it, the optimiser begins anew."""
        self._path, self._model, self._told = path, model, told
        self._mean = copy.deepcopy(model)
        self._step, self._optimiser = 0, None
        state = restore(path)
        if state is not None:
            model.load_state_dict(state["model"])
            self._mean.load_state_dict(state["mean"])
            self._step = state["step"]
            if all(state[name] == value for name, value in told.items()):
                self._optimiser = state["optimiser"]

    def run(self, errors_of: ErrorsOf, seed: int, minutes: float, highest: float) -> None:
        """Train for some minutes. highest: of the rates, see `rate_at`."""
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        trained = [weight for weight in self._model.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=DECAY, fused=True)
        if self._optimiser is not None:
            optimiser.load_state_dict(self._optimiser)
        log = Log(self._path.with_name(f"{self._path.stem}{rank or ''}.log"), 50)
        started = saved = time.time()
        through = 0.0
        while through < 1:
            r = np.random.default_rng((seed, rank, self._step))
            torch.manual_seed(int(r.integers(2**31)))
            with quicker():
                errors = errors_of(r, through)
            errors.mean().backward()
            update(trained, optimiser, rate_at(self._step, through, highest))
            self._step += 1
            log(self._step, noisy=errors[0].item(), clear=errors[1].item())
            if self._step % TOGETHER == 0:
                through = share(self._model, (time.time() - started) / (minutes * 60))
                follow(self._mean, self._model, self._step // TOGETHER)
                if rank == 0 and (through >= 1 or time.time() - saved > SAVED):
                    self._keep(optimiser)
                    saved = time.time()

    def _keep(self, optimiser: torch.optim.Optimizer) -> None:
        states = {"model": self._model, "mean": self._mean, "optimiser": optimiser}
        save(self._path, **{name: own.state_dict() for name, own in states.items()}, step=self._step, **self._told)


def join() -> None:
    """Meet the other processes, if `torchrun` began several."""
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo", timeout=timedelta(hours=1))


@contextmanager
def quicker() -> Iterator[None]:
    """Layers are computed in bfloat16. Attention, which is slower in it on a CPU, is not."""
    attention = functional.scaled_dot_product_attention

    def whole(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), **options)

    functional.scaled_dot_product_attention = whole
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        functional.scaled_dot_product_attention = attention


def update(trained: list[nn.Parameter], optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step along the gradients, which are then gone."""
    nn.utils.clip_grad_norm_(trained, 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad()


@torch.no_grad()
def share(model: nn.Module, through: float) -> float:
    """Give every process the mean of all processes' weights, and return that of `through`."""
    if not distributed.is_initialized():
        return through
    weights = [*model.parameters(), torch.tensor([through])]
    whole = torch.cat([weight.flatten() for weight in weights])
    distributed.all_reduce(whole)
    whole /= distributed.get_world_size()
    for weight, new in zip(weights, whole.split([weight.numel() for weight in weights]), strict=True):
        weight.copy_(new.view_as(weight))
    return weights[-1].item()
