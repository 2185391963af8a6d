"""Whose face a code shows: `python -m training.likeness RUN --minutes M` trains a network that tells it.

It reads a picture's code where the face lies and answers with the direction of the recogniser's embedding. `training.joint`
asks it how like the person the picture is that each step comes to, as PuLID does (arXiv 2404.16022): squared errors alone say
little of what makes a face that person's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.geometry import ARCFACE_TEMPLATE, similarity_transform
from training.adapter import References
from training.codes import WHOLE, WINDOW, Batch, Codes
from training.diffusion import ALPHAS
from training.recognisers import EMBEDDING, Residual, conv
from training.runs import Log, restore, save
from training.shapes import Shapes

CELLS = FACE_CROP // 8

LIKE = 1.0
"""What it counts beside the squared error that a picture is of another person. It counts as much where there is noise alone:
there it is decided who it becomes."""


def aligned(codes: Tensor, batch: Batch) -> Tensor:
    """(B, 4, n, n) → (B, 4, CELLS, CELLS): the face as `align` cuts it out of a picture, zero outside."""
    ways = []
    for points in batch.points:
        way = similarity_transform(np.array(ARCFACE_TEMPLATE), points)
        middle = way[:, :2] @ np.full(2, FACE_CROP / 2) + way[:, 2]
        ways.append(np.column_stack([way[:, :2] * FACE_CROP, middle * 2 - batch.size]) / batch.size)
    places = F.affine_grid(torch.from_numpy(np.stack(ways)).float(), [len(codes), 4, CELLS, CELLS], align_corners=False)
    return F.grid_sample(codes, places, align_corners=False)


class Likeness(nn.Module):
    """(B, 4, CELLS, CELLS) → (B, 512), each of length 1."""

    def __init__(self) -> None:
        super().__init__()
        wide = [Residual(64), Residual(64), conv(64, 128, 3, 2), nn.PReLU(128), Residual(128), Residual(128)]
        places = nn.Conv2d(128, 128, CELLS // 2, groups=128)
        self.layers = nn.Sequential(conv(4, 64), nn.PReLU(64), *wide, places, nn.Flatten(), nn.Linear(128, EMBEDDING))

    def forward(self, face: Tensor) -> Tensor:
        return F.normalize(self.layers(face))


def unlike(net: Likeness, batch: Batch, x: Tensor, answer: Tensor, steps: Tensor, person: Tensor) -> Tensor:
    """(B,) how much the pictures that a step comes to are of another person.

    x: noisy codes. answer: v. person: (B, 512), each of length 1.
    """
    kept = ALPHAS[steps]
    signal, noise = kept.sqrt()[:, None, None, None], (1 - kept).sqrt()[:, None, None, None]
    face = aligned(signal * x - noise * answer, batch)
    return LIKE * (1 - (net(face) * person).sum(1))


def train(run: Path, minutes: float) -> None:
    codes = Codes(run, Shapes())
    references = References(run, codes.number)
    net = Likeness()
    state, step = restore(run / "likeness.pt"), 0
    if state is not None:
        net.load_state_dict(state["model"])
        step = state["step"]
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    log, started = Log(run / "likeness.log"), time.time()
    while (through := (time.time() - started) / (minutes * 60)) < 1:
        r = np.random.default_rng((19, step))
        torch.manual_seed(int(r.integers(2**31)))
        batch = codes.batch((WINDOW, WHOLE)[step % 2], r, 64)
        face = aligned(batch.codes, batch)
        dirty = face + torch.rand(len(face), 1, 1, 1) ** 2 * torch.randn_like(face)
        loss = (1 - (net(dirty) * references.exactly(batch.rows, codes.index)).sum(1)).mean()
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * max(0.02, 1 - through)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        log(step, off=loss.item())
    save(run / "likeness.pt", model=net.state_dict(), step=step)


def likeness_of(run: Path) -> Likeness:
    net = Likeness().eval().requires_grad_(False)
    net.load_state_dict(torch.load(run / "likeness.pt", weights_only=True)["model"])
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description="Train what tells whose face a code shows.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    train(args.run, args.minutes)


if __name__ == "__main__":
    main()
