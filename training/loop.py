"""The loop of the stages that learn from noise. Kept are the weights as they are, and the running mean of them.

Several processes share the work as `torchrun --nproc-per-node N -m training.STAGE …`: each goes its own way for a few steps,
then all take the mean of their weights, which waits for the slowest far less than a mean of each step's gradients does.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from training.diffusion import follow, rate_at
from training.runs import Log, restore, save

TOGETHER = 8
"""Steps after which the processes take the mean of their weights."""

DECAY = 1e-3

Step = Callable[[np.random.Generator, float], Tensor]
"""Errors of a step, of its noisier half and of the other one: (2,). Arguments: its random numbers, and the part of the time
that has passed."""


def join() -> None:
    """Meet the other processes, if `torchrun` began several."""
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo", timeout=timedelta(hours=1))


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


def learn(model: nn.Module, path: Path, step_of: Step, *, minutes: float, highest: float, **told: bool) -> None:
    """Train the weights of `model` that want a gradient, and keep the state in `path`. Goes on where it stopped.

    told: goes into the state; the optimiser begins anew if it is another than before.
    """
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    mean = copy.deepcopy(model)
    step, state = 0, restore(path)
    if state is not None:
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
        step = state["step"]
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=DECAY, fused=True)
    if state is not None and all(state[name] == value for name, value in told.items()):
        optimiser.load_state_dict(state["optimiser"])
    log = Log(path.with_name(f"{path.stem}{rank or ''}.log"), 50)
    started, saved, through = time.time(), time.time(), 0.0

    def keep() -> None:
        states = {"model": model.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
        save(path, **states, step=step, **told)

    while through < 1:
        r = np.random.default_rng((17, rank, step))
        torch.manual_seed(int(r.integers(2**31)))
        errors = step_of(r, through)
        errors.mean().backward()
        update(model, optimiser, rate_at(step, through, highest))
        step += 1
        log(step, noisy=errors[0].item(), clear=errors[1].item())
        if step % TOGETHER == 0:
            through = share(model, (time.time() - started) / (minutes * 60))
            follow(mean, model, step // TOGETHER)
            if rank == 0 and (through >= 1 or time.time() - saved > 120):
                keep()
                saved = time.time()


def update(model: nn.Module, optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step along the gradients, which are then gone."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad()
