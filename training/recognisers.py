"""The recogniser, the critic and the judge: a face as 512 numbers, as antelopev2's.

Each is of another architecture. The critic is asked beside the recogniser in training, and is not shipped. The judge is trained
on other people; nothing is ever conditioned on it or trained with it.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.encoders.face.geometry import align
from training import styles
from training.runs import Log, load_pictures, restore, save

EMBEDDING = 512
PEOPLE = {"recogniser": (0, 500_000), "critic": (0, 500_000), "judge": (500_000, 1_000_000)}
MARGIN, SHARPNESS = 0.3, 22.0


def conv(before: int, after: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.act = conv(width, width), conv(width, width), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.first(x)))


class Separable(nn.Module):
    """An inverted residual, as in MobileFaceNet."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        inner = before * 3
        self.expand = nn.Sequential(conv(before, inner, 1), nn.ReLU())
        self.deep = nn.Sequential(conv(inner, inner, 5, stride, inner), nn.ReLU())
        self.shrink = conv(inner, after, 1)
        self.same = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = self.shrink(self.deep(self.expand(x)))
        return x + y if self.same else y


def _head(width: int) -> list[nn.Module]:
    """Weights of each place of the last map, then 512 numbers of about unit deviation: a norm of about 22."""
    places = nn.Conv2d(width, width, 7, groups=width)
    return [conv(width, width, 1), nn.PReLU(width), places, nn.Flatten(), nn.Linear(width, EMBEDDING)]


def new_recogniser() -> nn.Sequential:
    widths, depths = (16, 32, 64, 128), (0, 1, 2, 2)
    layers: list[nn.Module] = []
    before = 3
    for width, depth in zip(widths, depths, strict=True):
        layers += [conv(before, width, 3, 2), nn.PReLU(width), *(Residual(width) for _ in range(depth))]
        before = width
    return nn.Sequential(*layers, *_head(before), nn.BatchNorm1d(EMBEDDING, affine=False))


def new_critic() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width, depth in ((16, 1), (32, 1), (64, 2), (112, 2)):
        for _ in range(depth):
            layers += [conv(before, width), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *_head(before), nn.BatchNorm1d(EMBEDDING, affine=False))


def new_judge() -> nn.Sequential:
    layers = [conv(3, 16, 5, 2), nn.ReLU(), Separable(16, 24, 2), Separable(24, 24), Separable(24, 48, 2), Separable(48, 48)]
    layers += [Separable(48, 80, 2), Separable(80, 80), Separable(80, 80)]
    return nn.Sequential(*layers, *_head(80), nn.BatchNorm1d(EMBEDDING, affine=False))


NEW = {"recogniser": new_recogniser, "critic": new_critic, "judge": new_judge}


def crop(picture: np.ndarray, points: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """(112, 112, 3) uint8: aligned by points that are a little off, in another light, or as a small or drawn picture."""
    spread = np.linalg.norm(points[1] - points[0]) * 0.035
    if r.random() < 0.12:
        picture = styles.apply(("pencil sketch", "oil painting", "line art", "poster")[r.integers(4)], picture)
    found = align(picture, points + r.normal(0, spread, (5, 2)))
    if r.random() < 0.4:
        small = int(r.integers(32, 100))
        found = cv2.resize(cv2.resize(found, (small, small), interpolation=cv2.INTER_AREA), (112, 112))
    if r.random() < 0.5:
        found = np.clip(found * r.uniform(0.75, 1.2) + r.normal(0, r.uniform(0, 8), found.shape), 0, 255).astype(np.uint8)
    return found[:, ::-1] if r.random() < 0.5 else found


def train_recogniser(kind: str, data: Path, run: Path, steps: int, minutes: float) -> None:
    """Additive-margin softmax over the people (CosFace, arXiv 1801.09414)."""
    low, high = PEOPLE[kind]
    pictures, views = load_pictures(data, first=low, below=high)
    picture = [p for chunk in pictures for p in chunk]
    points = np.concatenate([v["points"] for v in views])
    people, label = np.unique(np.concatenate([v["number"] for v in views]), return_inverse=True)
    net = NEW[kind]()
    centres = nn.Parameter(torch.randn(len(people), EMBEDDING) * 0.05)
    optimiser = torch.optim.Adam([*net.parameters(), centres], lr=2e-3, betas=(0.9, 0.99))
    step, state = 0, restore(run / f"{kind}.pt")
    if state is not None:
        net.load_state_dict(state["model"])
        if state["centres"].shape == centres.shape:
            centres.data = state["centres"]
            optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, started, batch, first = Log(run / f"{kind}.log", 50), time.time(), 48, step
    print(f"{len(people)} people, {len(picture)} pictures", flush=True)
    while step < steps and time.time() - started < minutes * 60:
        r = np.random.default_rng((3, step))
        chosen = r.integers(0, len(picture), batch)
        crops = np.stack([crop(np.asarray(picture[i]), points[i], r) for i in chosen])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        through = max((step - first) / max(1, steps - first), (time.time() - started) / (minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * max(0.02, 1 - through)
        target = torch.from_numpy(label[chosen])
        cosine = F.normalize(net(x)) @ F.normalize(centres).T
        logits = SHARPNESS * (cosine - MARGIN * min(1, step / 300) * F.one_hot(target, len(people)))
        loss = F.cross_entropy(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        log(step, loss=loss.item(), right=(cosine.argmax(1) == target).float().mean().item())
        if step % 200 == 0:
            save(run / f"{kind}.pt", model=net.state_dict(), centres=centres.data, optimiser=optimiser.state_dict(), step=step)
    save(run / f"{kind}.pt", model=net.state_dict(), centres=centres.data, optimiser=optimiser.state_dict(), step=step)
