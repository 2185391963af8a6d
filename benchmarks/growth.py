"""How time and memory of a step grow with people, batch and size, and analysis with photos, beside the arithmetic.

python -m benchmarks.growth [--channels 64] [--rounds 3] [--json FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.__main__ import machine
from benchmarks.contenders import Case, Contender, instantid, plain
from benchmarks.measure import count_flops, forget_peak, measure, peak_memory
from benchmarks.networks import make_networks
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.photos import Photos, faces_of_photos
from lib_instantid.hosts.stand_ins.face_models import write_face_models

SIZE = 256
PHOTO_SIZE = 1024


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place on an axis. time, arithmetic: as multiples of the axis' first point. over_plain_mb: of a pass' tensors; with
    photos, of the process over its start."""

    axis: str
    value: int
    ms: float
    time: float
    arithmetic: float
    over_plain_mb: float


def steps(channels: int, rounds: int) -> list[Point]:
    device = torch.device("cpu")
    networks = make_networks(channels, device, torch.float32)
    counting = make_networks(channels, torch.device("meta"), torch.float32)

    def case(batch: int = 1, size: int = SIZE) -> Case:
        return Case(width=size, height=size, batch=batch)

    people = range(1, 5)
    axes: dict[str, list[tuple[int, Case, Contender]]] = {
        "people": [(n, case(), instantid(n)) for n in people],
        "people, one run": [(n, case(), instantid(n, faster="one run", identitynet_people="together")) for n in people],
        "batch": [(n, case(batch=n), instantid()) for n in people],
        "size": [(n, case(size=n), instantid()) for n in (128, 256, 384, 512)],
    }
    points = []
    for axis, places in axes.items():
        first: tuple[float, float] | None = None
        for value, where, contender in places:
            exact = [] if contender.exact else [instantid(contender.people)]
            base, *_, row = measure(networks, where, [plain(), *exact, contender], rounds, counting)
            flops = count_flops(counting, where, contender)
            first = first or (row.ms, flops)
            points.append(
                Point(
                    axis=axis,
                    value=value,
                    ms=row.ms,
                    time=row.ms / first[0],
                    arithmetic=flops / first[1],
                    over_plain_mb=row.peak_over_plain_mb,
                )
            )
            print(f"{axis} {value}: {row.ms:.0f} ms, plain {base.ms:.0f} ms")
    return points


def photos(rounds: int) -> list[Point]:
    """Analysis of a person's photos, by the stand-in face models, which are faster than the released ones."""
    rng = np.random.default_rng(0)
    points, first = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        write_face_models(Path(folder) / "antelopev2")
        photos = Photos(open_analyser("builtin", Path(folder)), remembered=0)
        forget_peak(torch.device("cpu"))
        before = peak_memory(torch.device("cpu"))
        faces_of_photos([_photo(rng)], photos.face_of)  # opens the models
        for count in (1, 2, 4, 8, 16):
            pictures = [_photo(rng) for _ in range(count)]
            taken = []
            for _ in range(rounds):
                start = time.perf_counter()
                combine([photo.face for photo in faces_of_photos(pictures, photos.face_of)])
                taken.append(time.perf_counter() - start)
            ms = float(np.median(taken)) * 1e3
            first = first or ms
            memory = peak_memory(torch.device("cpu")) - before
            points.append(
                Point(axis="photos", value=count, ms=ms, time=ms / first, arithmetic=float(count), over_plain_mb=memory)
            )
            print(f"photos {count}: {ms:.0f} ms")
    return points


def _photo(rng: np.random.Generator) -> bytes:
    picture = rng.integers(90, 110, (PHOTO_SIZE, PHOTO_SIZE, 3), dtype=np.uint8)
    picture[300:700, 300:700] = (20, 20, 200)
    return bytes(cv2.imencode(".png", picture)[1])


def plot(points: Sequence[Point], title: str, path: Path) -> None:
    """Measured against the arithmetic, and memory below."""
    axes = list(dict.fromkeys(point.axis for point in points))
    figure = Figure(figsize=(3 * len(axes), 5.4), layout="constrained")
    grid = figure.subplots(2, len(axes))
    for column, axis in enumerate(axes):
        own = [point for point in points if point.axis == axis]
        values = [point.value for point in own]
        above, below = grid[0, column], grid[1, column]
        above.plot(values, [point.time for point in own], "o-", label="measured")
        above.plot(values, [point.arithmetic for point in own], "k--", label="arithmetic")
        below.plot(values, [point.over_plain_mb for point in own], "s-", color="#64748b")
        above.set(title=axis, ylim=(0, None), ylabel="time, of the first" if column == 0 else "")
        below.set(ylim=(0, None), ylabel="peak over plain, MB" if column == 0 else "")
    grid[0, 0].legend(fontsize=8)
    figure.suptitle(title, fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    where = f"{machine(torch.device('cpu'))}. float32, {args.channels} channels"
    points = [*steps(args.channels, args.rounds), *photos(args.rounds)]
    if args.json:
        args.json.write_text(json.dumps({"machine": where, "points": [asdict(point) for point in points]}, indent=2) + "\n")
    if args.plot:
        plot(points, where, args.plot)


if __name__ == "__main__":
    main()
