"""Whose face a picture shows: what training asks of each picture that a step comes to, as PuLID does (arXiv 2404.16022).

The face is decoded and shown to the recogniser itself, and to the critic, in another light and place each time. A network that
read codes instead was deceived (by it the pictures had 0.56 of 0.68, by the recogniser 0.38 of 0.70), and so is the recogniser
if it is asked alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.geometry import ARCFACE_TEMPLATE, similarity_transform
from training.codes import Batch
from training.diffusion import told
from training.recognisers import NEW
from training.vae import SCALE, costly, leave_out

FACE_CELLS = 18
"""Side of the window of a code in which a face is decoded: of 16, the group norms of the decoder tell."""

ASKED = ("recogniser", "critic")

LIKE = 10.0
"""What it counts beside the squared error that a picture is of another person. It counts as much where there is noise alone:
there it is decided who it becomes."""


class Likeness(nn.Module):
    """How like a person of the training the faces of codes are, by networks that learnt to tell these people."""

    def __init__(self, run: Path, numbers: np.ndarray) -> None:
        """numbers: of the people that the networks learnt, in order."""
        super().__init__()
        self.vae = AutoencoderKL.from_pretrained(run / "vae")
        leave_out(costly(self.vae))
        self._row = {int(number): row for row, number in enumerate(numbers)}
        self.networks, self._people = nn.ModuleList(), []
        for kind in ASKED:
            state = torch.load(run / f"{kind}.pt", weights_only=True)  # centres: a direction for each person
            self.networks.append(NEW[kind]())
            self.networks[-1].load_state_dict(state["model"])
            self._people.append(F.normalize(state["centres"]))
        self.eval().requires_grad_(False)

    def forward(self, codes: Tensor, batch: Batch, numbers: np.ndarray) -> Tensor:
        """(B,) the mean cosine with the people of these numbers. codes: (B, 4, n, n)."""
        windows, points = around_faces(codes, batch)
        faces = varied(aligned(self.vae.decode(windows / SCALE).sample, points))
        rows = [self._row[int(number)] for number in numbers]
        cosines = [
            (F.normalize(net(faces)) * people[rows]).sum(1) for net, people in zip(self.networks, self._people, strict=True)
        ]
        return torch.stack(cosines).mean(0)


def around_faces(codes: Tensor, batch: Batch) -> tuple[Tensor, np.ndarray]:
    """The windows (B, 4, m, m) in which the faces lie, m at most FACE_CELLS, and the points there (B, 5, 2) XY px."""
    side = min(FACE_CELLS, codes.shape[-1])
    corners = (batch.points.mean(1) / 8 - side / 2).round().clip(0, codes.shape[-1] - side).astype(int)
    windows = [code[:, y : y + side, x : x + side] for code, (x, y) in zip(codes, corners, strict=True)]
    return torch.stack(windows), batch.points - 8 * corners[:, None]


def aligned(pictures: Tensor, points: np.ndarray) -> Tensor:
    """(B, 3, n, n) → (B, 3, FACE_CROP, FACE_CROP): the face as `align` cuts it out. points (B, 5, 2) XY px."""
    size, ways = pictures.shape[-1], []
    for own in points:
        way = similarity_transform(np.array(ARCFACE_TEMPLATE), own)
        middle = way[:, :2] @ np.full(2, FACE_CROP / 2) + way[:, 2]
        ways.append(np.column_stack([way[:, :2] * FACE_CROP, middle * 2 - size]) / size)
    places = F.affine_grid(torch.from_numpy(np.stack(ways)).float(), [len(ways), 3, FACE_CROP, FACE_CROP], align_corners=False)
    return F.grid_sample(pictures, places, align_corners=False)


def varied(faces: Tensor) -> Tensor:
    """Faces (B, 3, FACE_CROP, FACE_CROP) as the networks learnt to know them: mirrored, in another light, coarse."""
    if torch.rand(()) < 0.5:
        side = int(torch.randint(40, 100, ()))
        faces = F.interpolate(F.interpolate(faces, size=side, mode="area"), size=FACE_CROP, mode="bilinear")
    light = 0.75 + 0.45 * torch.rand(len(faces), 1, 1, 1)
    faces = (faces + 1) * light - 1 + 0.06 * torch.rand(len(faces), 1, 1, 1) * torch.randn_like(faces)
    return torch.where(torch.rand(len(faces), 1, 1, 1) < 0.5, faces, faces.flip(3))


def unlike(likeness: Likeness, batch: Batch, x: Tensor, answer: Tensor, steps: Tensor, numbers: np.ndarray) -> Tensor:
    """(B,) how much the pictures that a step comes to are not of the people of these numbers.

    x: noisy codes. answer: v. Points are a little off, so that no small detail at its exact place pays.
    """
    picture, _ = told(x, answer, steps)
    apart = np.linalg.norm(batch.points[:, 1] - batch.points[:, 0], axis=1)[:, None, None]
    off = torch.randn(batch.points.shape).numpy() * 0.05 * apart
    return LIKE * (1 - likeness(picture, replace(batch, points=batch.points + off), numbers))
