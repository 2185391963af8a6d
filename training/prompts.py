"""FaceID or IP-Adapter, for a checkpoint that stays as it is: `python -m training.prompts faceid|ip_adapter DATA RUN
--minutes M`. Goes on where it stopped.

FaceID learns from embeddings of other pictures of the same person, IP-Adapter from the shown picture itself. Both begin with
the key and value layers of InstantID's adapter: with the UNet's own layers IP-Adapter had learnt nothing that showed after
2,500 steps. Most steps see windows of 16 x 16 cells around the face, the last ones whole pictures. Several processes can
share the work, see `training.loop`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.adapter import References
from training.checkpoint import part, time_ids, trained
from training.codes import Codes, side_at
from training.diffusion import halves, heard, loss_of, noisy
from training.faceid import FaceID
from training.ip_adapter import IPAdapter, Shown, Teacher
from training.likeness import Likeness, unlike
from training.loop import Loop, join
from training.shapes import Shapes

KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {"faceid": FaceID, "ip_adapter": IPAdapter}

TAUGHT = 0.3
"""The part of the time in which IP-Adapter's tokens learn from their teacher alone."""


UNCAPTIONED = 0.5
"""The part of IP-Adapter's steps without a caption, in which the picture alone tells the colours of wall and clothes."""


def train(kind: str, data: Path, run: Path, minutes: float, highest: float, whole: float) -> None:
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references, likeness = References(run, codes.number), Likeness(run, np.unique(codes.number))
    unet, text, found = trained(run)
    unet.requires_grad_(False)
    text.requires_grad_(False)
    model, state = KINDS[kind](unet), run / f"{kind}.pt"
    instantid = part(found, "instantid.adapter.")
    new = not state.is_file()
    if new:
        begin(model, instantid, references)
    loop = Loop(state, model)
    shown, teacher = (None, None) if kind == "faceid" else (Shown(data, codes), Teacher(instantid, references, codes))

    def errors_of(r: np.random.Generator, through: float) -> Tensor:
        taught = new and teacher is not None and through < TAUGHT
        batch = codes.batch(side_at(r.random() if taught else through, whole), r)
        context, pooled = text(codes.captions(batch.rows, r, 0.1))
        captioned, there = heard(len(batch.rows), r)
        if shown is not None:
            captioned &= torch.from_numpy(r.random(len(batch.rows)) >= UNCAPTIONED)
        tokens = model(references.of(batch.rows, r) if shown is None else shown.of(batch), there)
        missed = 0 if teacher is None else there * teacher.missed(model, tokens, batch)
        if taught:
            return missed.mean().expand(2)
        x, v, steps = noisy(batch.codes)
        added = {"text_embeds": pooled * captioned[:, None], "time_ids": time_ids(len(x))}
        answer = unet(x, steps, (context * captioned[:, None, None], [tokens]), added_cond_kwargs=added).sample
        errors = loss_of(answer, v, batch) + missed
        return halves(errors + there * unlike(likeness, batch, x, answer, steps, codes.number[batch.rows]), steps)

    loop.run(errors_of, 17, minutes, highest)


def begin(model: nn.Module, instantid: dict[str, Tensor], references: References) -> None:
    """Begin as InstantID's adapter, as far as that is like it."""
    if isinstance(model, FaceID):
        model.begin_as_instantid(instantid, references.all)
    else:
        model.adapter.begin_as(part(instantid, "ip_adapter."))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train FaceID or IP-Adapter.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--whole", type=float, default=0.2, help="part of the time in which whole pictures are seen")
    args = parser.parse_args()
    join()
    train(args.kind, args.data, args.run, args.minutes, args.rate, args.whole)


if __name__ == "__main__":
    main()
