"""The face models: `python -m training.faces recogniser|judge|detector DATA RUN`.

Files and signatures are antelopev2's (`export` writes them). The judge is another recogniser, of another architecture and
trained on other people; nothing is ever conditioned on it.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
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
PEOPLE = {"recogniser": (0, 500_000), "judge": (500_000, 1_000_000)}
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


def new_judge() -> nn.Sequential:
    layers = [conv(3, 16, 5, 2), nn.ReLU(), Separable(16, 24, 2), Separable(24, 24), Separable(24, 48, 2), Separable(48, 48)]
    layers += [Separable(48, 80, 2), Separable(80, 80), Separable(80, 80)]
    return nn.Sequential(*layers, *_head(80), nn.BatchNorm1d(EMBEDDING, affine=False))


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
    net = new_recogniser() if kind == "recogniser" else new_judge()
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


IR_VERSION, OPSET = 6, 11
"""As the stand-ins': every onnxruntime from 1.16 on opens them."""


def export(run: Path, folder: Path) -> None:
    """Write antelopev2/scrfd_10g_bnkps.onnx, antelopev2/glintr100.onnx and judge.onnx, with weights in fp16."""
    from lib_instantid.encoders.face.model_files import DETECTOR_FILE, RECOGNISER_FILE

    (folder / "antelopev2").mkdir(parents=True, exist_ok=True)
    _write(Detector(), run / "detector.pt", folder / "antelopev2" / DETECTOR_FILE, 640)
    _write(new_recogniser(), run / "recogniser.pt", folder / "antelopev2" / RECOGNISER_FILE, 112)
    _write(new_judge(), run / "judge.pt", folder / "judge.onnx", 112)


def _write(net: nn.Module, weights: Path, path: Path, side: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    net.load_state_dict(torch.load(weights, weights_only=True)["model"])
    axes = {"input.1": {2: "height", 3: "width"}} if side == 640 else {"input.1": {0: "batch"}}
    outputs = [f"{part}_{stride}" for part in ("score", "bbox", "kps") for stride in STRIDES] if side == 640 else ["embedding"]
    torch.onnx.export(
        net.eval(),
        (torch.zeros(1, 3, side, side),),
        str(path),
        input_names=["input.1"],
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    casts, kept = [], []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) > 64:
            small = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name + ".fp16")
            casts.append(helper.make_node("Cast", [small.name], [weight.name], to=TensorProto.FLOAT))
            weight = small
        kept.append(weight)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.ir_version, model.producer_name = IR_VERSION, "sd-webui-instantid"
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a face model, or write them all.")
    parser.add_argument("kind", choices=("recogniser", "judge", "detector", "export"))
    parser.add_argument("data", type=Path, help="of export: the folder to write to")
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=math.inf)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.kind == "export":
        export(args.run, args.data)
    elif args.kind == "detector":
        train_detector(args.data, args.run, args.steps, args.minutes)
    else:
        train_recogniser(args.kind, args.data, args.run, args.steps, args.minutes)


if __name__ == "__main__":
    main()
