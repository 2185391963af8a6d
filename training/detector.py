"""The detector: where faces are and their five points, with antelopev2's inputs and outputs (SCRFD)."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import styles
from training.recognisers import conv
from training.runs import Log, load_pictures, restore, save

CANVAS = 160
"""Side of what the detector is trained on: a quarter of antelopev2's canvas, for it first takes means of 4 x 4 pixels."""

STRIDES = (8, 16, 32)
LARGEST = (11, 26, 1000)
"""The widest face that each stride is for, in pixels of `CANVAS`."""


class Detector(nn.Module):
    """SCRFD's outputs: per stride two scores, 2 x 4 distances and 2 x 10 offsets a cell, in strides."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 24, 40, 56, 64, 64)
        self.stem = nn.Sequential(conv(3, widths[0], 3, 1), nn.ReLU())
        self.steps = nn.ModuleList()
        for before, after in pairwise(widths):
            body = _Body(after) if after > widths[1] else nn.Identity()
            self.steps.append(nn.Sequential(conv(before, after, 3, 2), nn.ReLU(), body))
        self.sides = nn.ModuleList([conv(width, 48, 1) for width in widths[1:]])
        inner = (16, 48, 48)
        self.heads = nn.ModuleList(
            [nn.Sequential(conv(48, w, 1), nn.ReLU(), conv(w, w, 3), nn.ReLU(), conv(w, w, 3), nn.ReLU()) for w in inner]
        )
        self.out = nn.ModuleList([nn.Conv2d(w, 30, 1) for w in inner])
        for layer in self.out:
            nn.init.constant_(layer.bias[:2], -4)

    def maps(self, small: Tensor) -> list[Tensor]:
        """small: (B, 3, H / 4, W / 4) → (B, 30, h, w) per stride: scores as logits."""
        h, found = self.stem(small), []
        for step in self.steps:
            h = step(h)
            found.append(h)
        total = self.sides[4](found[4])
        maps = []
        for i in (3, 2, 1, 0):
            total = F.interpolate(total, size=found[i].shape[2:], mode="nearest") + self.sides[i](found[i])
            if i < 3:
                maps.append(self.out[i](self.heads[i](total)))
        return maps[::-1]

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) → antelopev2's nine outputs."""
        maps = self.maps(F.avg_pool2d(picture, 4))
        parts = [(m[:, :2], m[:, 2:10], m[:, 10:]) for m in maps]
        rows = lambda m, k: m.permute(0, 2, 3, 1).reshape(-1, k)  # noqa: E731
        return (*(rows(p[0], 1).sigmoid() for p in parts), *(rows(p[1], 4) for p in parts), *(rows(p[2], 10) for p in parts))


class _Body(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def box_of(points: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2: a box around the face of five points."""
    middle = points.mean(0)
    size = max(np.linalg.norm(points[1] - points[0]), 0.9 * np.linalg.norm(points[3:].mean(0) - points[:2].mean(0)))
    return np.array([*(middle - (1.05 * size, 1.45 * size)), *(middle + (1.05 * size, 1.3 * size))])


def scene(pictures: list, points: np.ndarray, r: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A canvas with one to three people: the picture and each face's five points, px of `CANVAS`."""
    canvas = np.empty((CANVAS, CANVAS, 3), dtype=np.uint8)
    canvas[:] = r.integers(0, 256, 3)
    faces: list[np.ndarray] = []
    if r.random() < 0.3:
        noise = cv2.resize(r.integers(0, 256, (int(r.integers(2, 40)),) * 2 + (3,), dtype=np.uint8), (CANVAS, CANVAS))
        canvas = noise
    if r.random() < 0.5:
        places = [(0, 0, CANVAS)]
    else:
        side = CANVAS // 2
        places = [(x, y, int(side * r.uniform(0.4, 1))) for x in (0, side) for y in (0, side) if r.random() < 0.7]
    for x, y, side in places:
        i = int(r.integers(len(pictures)))
        picture = np.asarray(pictures[i])
        if r.random() < 0.2:
            picture = styles.apply(list(styles.STYLES)[r.integers(1, 5)], picture)
        own = points[i].copy()
        if side == CANVAS:
            zoom, (dx, dy) = r.uniform(0.5, 1.35), r.uniform(-0.18, 0.18, 2)
        else:
            zoom, dx, dy = r.uniform(0.9, 1.2), 0.0, 0.0
        scale = side / picture.shape[0] * zoom
        matrix = np.array([[scale, 0, side * (0.5 - zoom / 2 + dx)], [0, scale, side * (0.5 - zoom / 2 + dy)]])
        moved = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        own = own @ matrix[:, :2].T + matrix[:, 2]
        if r.random() < 0.5:
            moved, own = moved[:, ::-1], np.stack([side - own[:, 0], own[:, 1]], 1)[[1, 0, 2, 4, 3]]
        canvas[y : y + side, x : x + side] = moved
        if (own > 1).all() and (own < side - 1).all():
            faces.append(own + (x, y))
    if r.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), r.uniform(0.3, 1.2))
    return np.clip(canvas * r.uniform(0.6, 1.15) + r.normal(0, r.uniform(0, 6), canvas.shape), 0, 255).astype(np.uint8), faces


def targets(faces: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per stride: (h, w) 1 at cells of a face, -1 where it does not matter, and (14, h, w) distances and offsets."""
    found = []
    for stride, low, high in zip(STRIDES, (0, *LARGEST[:-1]), LARGEST, strict=True):
        cell = stride / 4
        n = int(CANVAS / cell)
        score, numbers = np.zeros((n, n), dtype=np.float32), np.zeros((14, n, n), dtype=np.float32)
        y, x = np.mgrid[:n, :n] * cell
        for points in faces:
            box = box_of(points)
            width = box[2] - box[0]
            middle = points.mean(0)
            near = np.maximum(abs(x - middle[0]), abs(y - middle[1]))
            if low < width <= high:
                hit = near <= max(0.75 * cell, 0.14 * width)
                score[hit] = 1
                sides = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
                offsets = np.stack([points[k // 2, k % 2] - (x, y)[k % 2] for k in range(10)])
                numbers[:, hit] = (np.concatenate([sides, offsets]) / cell)[:, hit]
                score[(near <= max(1.6 * cell, 0.25 * width)) & (score == 0)] = -1
            elif low * 0.7 < width <= high * 1.4:
                score[(near <= 0.3 * width) & (score == 0)] = -1
        found.append((score, numbers))
    return found


def train_detector(data: Path, run: Path, steps: int, minutes: float) -> None:
    pictures, views = load_pictures(data, below=500_000)
    picture = [p for chunk in pictures for p in chunk]
    points = np.concatenate([v["points"] for v in views])
    net = Detector()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    step, state = 0, restore(run / "detector.pt")
    if state is not None:
        net.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, started, batch, first = Log(run / "detector.log", 50), time.time(), 16, step
    while step < steps and time.time() - started < minutes * 60:
        r = np.random.default_rng((5, step))
        scenes = [scene(picture, points, r) for _ in range(batch)]
        x = torch.from_numpy(np.stack([s[0] for s in scenes])).permute(0, 3, 1, 2).float()
        through = max((step - first) / max(1, steps - first), (time.time() - started) / (minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * max(0.02, 1 - through)
        wanted = [targets(s[1]) for s in scenes]
        scores, boxes, marks = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for i, maps in enumerate(net.maps((x - 127.5) / 128)):
            score = torch.from_numpy(np.stack([w[i][0] for w in wanted]))
            number = torch.from_numpy(np.stack([w[i][1] for w in wanted]))
            hit, counted = score == 1, score >= 0
            for anchor in range(2):
                logit = maps[:, anchor]
                chance = logit.sigmoid()
                focal = torch.where(hit, (1 - chance) ** 2 * -F.logsigmoid(logit), 0.75 * chance**2 * -F.logsigmoid(-logit))
                scores = scores + focal[counted].sum()
                if hit.any():
                    own = torch.cat([maps[:, 2 + 4 * anchor : 6 + 4 * anchor], maps[:, 10 + 10 * anchor : 20 + 10 * anchor]], 1)
                    error = (own - number).abs().permute(0, 2, 3, 1)[hit] / number[:, :4].mean(1)[hit][:, None].clamp(min=0.5)
                    boxes, marks = boxes + error[:, :4].sum(), marks + error[:, 4:].sum()
        count = max(1, sum(int((w[0] == 1).sum()) for s in wanted for w in s)) * 2
        loss = (scores + boxes + 2 * marks) / count
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        log(step, score=scores.item() / count, box=boxes.item() / count / 4, marks=marks.item() / count / 10)
        if step % 200 == 0:
            save(run / "detector.pt", model=net.state_dict(), optimiser=optimiser.state_dict(), step=step)
    save(run / "detector.pt", model=net.state_dict(), optimiser=optimiser.state_dict(), step=step)
