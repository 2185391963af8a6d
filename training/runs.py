"""What every stage of training shares: data, a log, and a state to go on from."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def load_pictures(folder: Path, *, first: int = 0, below: int) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """What `training.dataset` wrote of the people first to below: pictures (left on the disk) and views, chunk by chunk."""
    found = sorted(folder.glob("pictures-*.npy"), key=lambda p: int(p.stem.split("-")[1]))
    chosen = [p for p in found if first <= int(p.stem.split("-")[1]) < below]
    pictures = [np.load(p, mmap_mode="r") for p in chosen]
    views = [dict(np.load(p.with_name(p.name.replace("pictures", "views")).with_suffix(".npz"))) for p in chosen]
    return pictures, views


class Log:
    """Means of what a loop tells, a line every hundred steps, appended to a file and printed."""

    def __init__(self, path: Path, every: int = 100) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._every = path, every
        self._sums: dict[str, list[float]] = {}
        self._last = time.time()

    def __call__(self, step: int, **values: float) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)
        if step % self._every:
            return
        now = time.time()
        text = " ".join(f"{name} {np.mean(found):.4f}" for name, found in self._sums.items())
        line = f"{step} {text} ({(now - self._last) / self._every:.3f} s a step)"
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._sums, self._last = {}, now


def save(path: Path, **state: Any) -> None:
    """All or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.rename(path)


def restore(path: Path) -> dict[str, Any] | None:
    return torch.load(path, weights_only=True) if path.is_file() else None


def write_by_command(what: str, export: Callable[[Path, Path], None]) -> None:
    """The command `RUN FOLDER` that writes what was trained into a folder."""
    parser = argparse.ArgumentParser(description=f"Write {what}.")
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    export(args.run, args.folder)
