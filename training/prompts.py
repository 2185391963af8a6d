"""FaceID or IP-Adapter, for a checkpoint that stays as it is: `python -m training.prompts faceid|ip_adapter DATA RUN
--minutes M`. Goes on where it stopped.

FaceID learns from embeddings of other pictures of the same person, IP-Adapter from the shown picture itself. Most steps see
windows of 16 x 16 cells around the face, the last ones whole pictures. Several processes can share the work, see
`training.loop`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.adapter import References
from training.checkpoint import time_ids, trained
from training.codes import Batch, Codes, side_at
from training.diffusion import halves, heard, loss_of, noisy
from training.faceid import FaceID
from training.ip_adapter import IPAdapter, Shown
from training.likeness import Likeness, unlike
from training.loop import Loop, join
from training.shapes import Shapes

Given = Callable[[Batch, np.random.Generator], Tensor]
"""What the model makes tokens of, for each entry of a batch."""

KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {"faceid": FaceID, "ip_adapter": IPAdapter}


def given_to(references: References | None, data: Path, codes: Codes) -> Given:
    if references is not None:
        return lambda batch, r: references.of(batch.rows, r)
    shown = Shown(data, codes)
    return lambda batch, _r: shown.of(batch)


def train(kind: str, data: Path, run: Path, minutes: float, highest: float, whole: float) -> None:
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references = References(run, codes.number) if kind == "faceid" else None
    likeness = Likeness(run, np.unique(codes.number)) if references else None
    given = given_to(references, data, codes)
    unet, text, _ = trained(run)
    unet.requires_grad_(False)
    text.requires_grad_(False)
    model = KINDS[kind](unet)
    loop = Loop(run / f"{kind}.pt", model)

    def errors_of(r: np.random.Generator, through: float) -> Tensor:
        batch = codes.batch(side_at(through, whole), r)
        context, pooled = text(codes.captions(batch.rows, r, 0.1))
        captioned, there = heard(len(batch.rows), r)
        tokens = model(given(batch, r), there)
        x, v, steps = noisy(batch.codes)
        added = {"text_embeds": pooled * captioned[:, None], "time_ids": time_ids(len(x))}
        answer = unet(x, steps, (context * captioned[:, None, None], [tokens]), added_cond_kwargs=added).sample
        errors = loss_of(answer, v, batch)
        if references is not None:
            errors = errors + there * unlike(likeness, batch, x, answer, steps, codes.number[batch.rows])
        return halves(errors, steps)

    loop.run(errors_of, 17, minutes, highest)


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
