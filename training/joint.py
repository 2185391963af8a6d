"""Checkpoint, IdentityNet and adapter, trained together: `python -m training.joint RUN --minutes M`. Goes on where it stopped.

From a vector the UNet learns who somebody is sooner than from words, and from a keypoint map where, so both are there in most
steps; in the others the checkpoint is alone and captions say who it is. `--frozen` is for a last stretch as InstantID's: the
checkpoint stays as it is. Most steps see windows of 16 x 16 cells around the face, the last ones whole pictures.

Several processes share the work as `torchrun --nproc-per-node N -m training.joint …`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.adapter import References
from training.checkpoint import Text, new_unet, pass_over_sizes, time_ids
from training.codes import Batch, Codes, side_at
from training.diffusion import ALPHAS, halves, heard, loss_of, noisy, onward
from training.instantid import InstantID, freeze_first, maps_of
from training.likeness import Likeness, unlike
from training.loop import Loop, join
from training.shapes import Shapes

ALONE = 0.1
"""The part of the steps in which the checkpoint is alone."""

DRAWN = 0.2
"""What likeness counts in a picture of another style, beside a photo: with as much, sketches became photos."""

OWN = slice(0, None, 2)
"""Of a batch, what goes on from where the model itself comes to, see `onward`."""


def new_model(run: Path) -> nn.ModuleDict:
    unet = new_unet()
    return nn.ModuleDict({"unet": unet, "text": Text(run), "instantid": InstantID(unet)})


def step_of(
    model: nn.ModuleDict,
    codes: Codes,
    references: References,
    batch: Batch,
    r: np.random.Generator,
    alone: bool,
    likeness: Likeness | None,
) -> Tensor:
    """Errors of a step, of its noisier half and of the other one: (2,). alone: without IdentityNet and adapter."""
    context, pooled = model["text"](codes.captions(batch.rows, r, 0.75 if alone else 0.1))
    captioned, faced = heard(len(batch.rows), r)
    context, pooled = context * captioned[:, None, None], pooled * captioned[:, None]
    instantid = model["instantid"]
    tokens = instantid.adapter.image_proj((references.of(batch.rows, r) * faced[:, None])[:, None])
    instantid.adapter.scale(float(not alone))
    maps = maps_of(batch)

    def answer_to(x: Tensor, steps: Tensor, rows: slice) -> Tensor:
        added = {"text_embeds": pooled[rows], "time_ids": time_ids(len(x))}
        residuals = {}
        if not alone:
            down, middle = instantid.identitynet(x, steps, tokens[rows], maps[rows], added_cond_kwargs=added, return_dict=False)
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return model["unet"](x, steps, (context[rows], [tokens[rows]]), added_cond_kwargs=added, **residuals).sample.float()

    x, v, steps = noisy(batch.codes)
    weights = torch.ones(len(x))
    if not alone:
        with torch.no_grad():
            found = onward(x[OWN], answer_to(x[OWN], steps[OWN], OWN), steps[OWN], batch.codes[OWN])
        x[OWN], v[OWN], steps[OWN] = found
        weights[OWN] = 1 - ALPHAS[steps[OWN]]
    answer = answer_to(x, steps, slice(None))
    errors = weights * loss_of(answer, v, batch)
    if likeness is not None and not alone:
        drawn = torch.from_numpy(np.where(codes.style[batch.rows] == "photo", 1.0, DRAWN)).float()
        errors = errors + faced * drawn * unlike(likeness, batch, x, answer, steps, codes.number[batch.rows])
    return halves(errors, steps)


def freeze_checkpoint(model: nn.ModuleDict) -> None:
    own = set(model["instantid"].adapter.ip_adapter.parameters())  # a part of the UNet, too
    for weight in (*model["unet"].parameters(), *model["text"].parameters()):
        weight.requires_grad_(weight in own)


def train(run: Path, minutes: float, highest: float, whole: float, frozen: bool, asked: bool) -> None:
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references = References(run, codes.number)
    model = new_model(run)
    loop = Loop(run / "joint.pt", model, frozen=frozen)
    identitynet = model["instantid"].identitynet
    for net in (model["unet"], identitynet):
        pass_over_sizes(net)
    freeze_first(identitynet)
    if frozen:
        freeze_checkpoint(model)
    likeness = Likeness(run, np.unique(codes.number)) if asked else None

    def errors_of(r: np.random.Generator, through: float) -> Tensor:
        batch = codes.batch(side_at(through, whole), r)
        return step_of(model, codes, references, batch, r, not frozen and r.random() < ALONE, likeness)

    loop.run(errors_of, 17, minutes, highest)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train checkpoint, IdentityNet and adapter.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--whole", type=float, default=0.2, help="part of the time in which whole pictures are seen")
    parser.add_argument("--frozen", action="store_true", help="the checkpoint stays as it is")
    parser.add_argument("--likeness", action="store_true", help="also learn from `training.likeness` whose face it is")
    args = parser.parse_args()
    join()
    train(args.run, args.minutes, args.rate, args.whole, args.frozen, args.likeness)


if __name__ == "__main__":
    main()
