"""Checkpoint, IdentityNet and adapter, trained together: `python -m training.joint RUN --minutes M`. Goes on where it stopped.

From a vector the UNet learns who somebody is sooner than from words, and from a keypoint map where, so both are there in most
steps; in the others the checkpoint is alone and captions say who it is. `--frozen` is for a last stretch as InstantID's: the
checkpoint stays as it is. Most steps see windows of 16 x 16 cells around the face, the last ones whole pictures.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.adapter import References
from training.checkpoint import TEXT, Text, new_unet, time_ids
from training.codes import WHOLE, WINDOW, Batch, Codes
from training.diffusion import follow, loss_of, noisy, rate_at
from training.instantid import InstantID, maps_of
from training.runs import Log, restore, save
from training.shapes import Shapes

ALONE = 0.2
"""The part of the steps in which the checkpoint is alone."""

FACE = 2.5
"""What a cell of the face counts, beside another one."""


def new_model(run: Path) -> nn.ModuleDict:
    unet = new_unet()
    return nn.ModuleDict({"unet": unet, "text": Text(run), "instantid": InstantID(unet)})


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
    own = {id(parameter) for parameter in model["instantid"].parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(not frozen or id(parameter) in own)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=highest, betas=(0.9, 0.99), weight_decay=1e-3)
    if state is not None and state["frozen"] == frozen:
        optimiser.load_state_dict(state["optimiser"])
    log, started, saved = Log(run / "joint.log", 50), time.time(), time.time()
    print(f"{len(codes.code)} codes, {sum(p.numel() for p in trainable) / 1e6:.1f} M numbers are trained", flush=True)

    def keep() -> None:
        states = {"model": model.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
        save(run / "joint.pt", **states, step=step, frozen=frozen)

    while (through := (time.time() - started) / (minutes * 60)) < 1:
        r = np.random.default_rng((17, step))
        torch.manual_seed(step)
        batch = codes.batch(WHOLE if through > 1 - whole else WINDOW, r)
        errors = step_of(model, codes, references, batch, r, not frozen and r.random() < ALONE)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(through, highest)
        optimiser.zero_grad()
        errors.mean().backward()
        for net in (model["unet"], model["instantid"].identitynet):  # sizes say nothing, see `begin_with_input`
            if net.add_embedding.linear_1.weight.grad is not None:
                net.add_embedding.linear_1.weight.grad[:, TEXT:] = 0
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        step += 1
        follow(mean, model, step)
        log(step, noisy=errors[0].item(), clear=errors[1].item())
        if time.time() - saved > 120:
            keep()
            saved = time.time()
    keep()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train checkpoint, IdentityNet and adapter.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--whole", type=float, default=0.3, help="part of the time in which whole pictures are seen")
    parser.add_argument("--frozen", action="store_true", help="the checkpoint stays as it is")
    args = parser.parse_args()
    train(args.run, args.minutes, args.rate, args.whole, args.frozen)


if __name__ == "__main__":
    main()
