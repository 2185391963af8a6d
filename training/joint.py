"""Checkpoint, IdentityNet and adapter, trained together: `python -m training.joint RUN --minutes M`. Goes on where it stopped.

From a vector the UNet learns who somebody is sooner than from words, and from a keypoint map where, so both are there in most
steps; in the others the checkpoint is alone and captions say who it is. `--frozen` is for a last stretch as InstantID's: the
checkpoint stays as it is. Most steps see windows of 16 x 16 cells around the face, the last ones whole pictures.

Several processes share the work as `torchrun --nproc-per-node N -m training.joint …`: each goes its own way for a few steps,
then all take the mean of their weights, which waits for the slowest far less than a mean of each step's gradients does.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from training.adapter import References
from training.checkpoint import TEXT, Text, leave_out, new_unet, time_ids
from training.codes import WHOLE, WINDOW, Batch, Codes
from training.diffusion import follow, loss_of, noisy, rate_at
from training.instantid import InstantID, freeze_first, maps_of
from training.runs import Log, restore, save
from training.shapes import Shapes

ALONE = 0.1
"""The part of the steps in which the checkpoint is alone."""

TOGETHER = 8
"""Steps after which the processes take the mean of their weights."""

DECAY = 1e-3

FACE = 3.0
"""What a cell of the face counts, beside another one."""


def new_model(run: Path) -> nn.ModuleDict:
    unet = new_unet()
    return nn.ModuleDict({"unet": unet, "text": Text(run), "instantid": InstantID(unet)})


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


def step_of(
    model: nn.ModuleDict, codes: Codes, references: References, batch: Batch, r: np.random.Generator, alone: bool
) -> Tensor:
    """Errors of a step, of its noisier half and of the other one: (2,). alone: without IdentityNet and adapter."""
    context, pooled = model["text"](codes.captions(batch.rows, r, 0.75 if alone else 0.1))
    fate = torch.from_numpy(r.random(len(batch.rows)))  # as InstantID: no caption, no face, neither
    captioned, faced = ~((fate < 0.05) | (fate > 0.95)), fate < 0.9
    context, pooled = context * captioned[:, None, None], pooled * captioned[:, None]
    instantid = model["instantid"]
    tokens = instantid.adapter.image_proj((references.of(batch.rows, r) * faced[:, None])[:, None])
    instantid.adapter.scale(float(not alone))
    x, v, steps = noisy(batch.codes)
    added = {"text_embeds": pooled, "time_ids": time_ids(len(x))}
    residuals = {}
    if not alone:
        down, middle = instantid.identitynet(x, steps, tokens, maps_of(batch), added_cond_kwargs=added, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    answer = model["unet"](x, steps, (context, [tokens]), added_cond_kwargs=added, **residuals).sample
    errors = loss_of(answer, v, batch, FACE)
    order = steps.argsort()
    return torch.stack([errors[order[len(order) // 2 :]].mean(), errors[order[: len(order) // 2]].mean()])


def train(run: Path, minutes: float, highest: float, whole: float, frozen: bool) -> None:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references = References(run, codes.number)
    model = new_model(run)
    mean = copy.deepcopy(model)
    step, state = 0, restore(run / "joint.pt")
    if state is not None:
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
        step = state["step"]
    if frozen:
        model["unet"].requires_grad_(False)
        model["text"].requires_grad_(False)
        model["instantid"].requires_grad_(True)
    freeze_first(model["instantid"])
    for net in (model["unet"], model["instantid"].identitynet):
        leave_out(net)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=DECAY, fused=True)
    if state is not None and state["frozen"] == frozen:
        optimiser.load_state_dict(state["optimiser"])
    log, started, saved, through = Log(run / f"joint{rank or ''}.log", 50), time.time(), time.time(), 0.0

    def keep() -> None:
        states = {"model": model.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
        save(run / "joint.pt", **states, step=step, frozen=frozen)

    while through < 1:
        r = np.random.default_rng((17, rank, step))
        torch.manual_seed(int(r.integers(2**31)))
        batch = codes.batch(WHOLE if through > 1 - whole else WINDOW, r)
        errors = step_of(model, codes, references, batch, r, not frozen and r.random() < ALONE)
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


def update(model: nn.ModuleDict, optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step along the gradients, which are then gone."""
    for net in (model["unet"], model["instantid"].identitynet):  # sizes say nothing, see `begin_as_identity`
        if net.add_embedding.linear_1.weight.grad is not None:
            net.add_embedding.linear_1.weight.grad[:, TEXT:] = 0
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train checkpoint, IdentityNet and adapter.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--whole", type=float, default=0.2, help="part of the time in which whole pictures are seen")
    parser.add_argument("--frozen", action="store_true", help="the checkpoint stays as it is")
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo", timeout=timedelta(hours=1))
    train(args.run, args.minutes, args.rate, args.whole, args.frozen)


if __name__ == "__main__":
    main()
