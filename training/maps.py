"""What ControlNets read of pictures: their edges, as this project's preprocessor finds them, or their depth, as the renderer
knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.controlnet.maps import canny
from lib_instantid.adapters.controlnet.settings import Control
from training import styles
from training.codes import Batch, Codes
from training.dataset import CHUNK
from training.people import Renderer, make_view
from training.runs import load_pictures

EDGES, DEPTH = KINDS = ("edges", "depth")


def edges_of(picture: np.ndarray, style: str, mirrored: bool) -> np.ndarray:
    """(S, S, 3) uint8 RGB → (S, S, 3) uint8, of the picture as it is shown."""
    shown = styles.apply(style, picture)
    return canny(np.ascontiguousarray(shown[:, ::-1]) if mirrored else shown, Control.low, Control.high)


def depth_of(depth: np.ndarray, style: str, mirrored: bool) -> np.ndarray:
    """(S, S) uint8 → (S, S, 3) uint8."""
    del style  # which changes no depth
    return np.repeat((depth[:, ::-1] if mirrored else depth)[..., None], 3, axis=2)


def draw_depths(data: Path, run: Path, below: int) -> None:
    """Write RUN/depth/depth-N.npy, (views, S, S) uint8, for each chunk of pictures of people with smaller numbers than `below`.
    What is there already is not drawn again."""
    (run / DEPTH).mkdir(exist_ok=True)
    renderer = None
    for pictures, view in zip(*load_pictures(data, below=below), strict=True):
        path = run / DEPTH / f"depth-{int(view['number'][0])}.npy"
        if path.is_file():
            continue
        renderer = renderer or Renderer()
        views, drawn = len(pictures) // CHUNK, []
        for i, number in enumerate(view["number"]):
            person = renderer.person(int(number))
            drawn.append(renderer.depth(person, make_view(i % views, person), pictures.shape[1]))
        unfinished = path.with_name("unfinished-" + path.name)
        np.save(unfinished, np.stack(drawn))
        unfinished.rename(path)
        print(path.name, flush=True)


class Maps:
    """Maps of one kind for batches of codes."""

    def __init__(self, kind: str, data: Path, run: Path, codes: Codes) -> None:
        """Of DEPTH, `draw_depths` was called."""
        self._codes = codes
        self._draw: Callable[[np.ndarray, str, bool], np.ndarray] = edges_of if kind == EDGES else depth_of
        of_chunk = data / "pictures-{}.npy" if kind == EDGES else run / DEPTH / "depth-{}.npy"
        firsts = np.unique(codes.number // CHUNK * CHUNK)
        self._sources = {int(n): np.load(str(of_chunk).format(n), mmap_mode="r") for n in firsts}

    def of(self, batch: Batch) -> Tensor:
        """(B, 3, size, size) from 0 to 1: the windows of the batch."""
        codes, found = self._codes, []
        for row, (x, y) in zip(batch.rows, batch.corners, strict=True):
            source = np.asarray(self._sources[int(codes.number[row]) // CHUNK * CHUNK][codes.index[row]])
            whole = self._draw(source, str(codes.style[row]), bool(codes.mirrored[row]))
            found.append(whole[y : y + batch.size, x : x + batch.size])
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255
