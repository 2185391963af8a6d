"""Pictures to train on: `python -m training.dataset FOLDER --first N --count N [--views V] [--size S]`.

Writes one pair of files for each hundred people, `pictures-N.npy` (views, S, S, 3) uint8 RGB and `views-N.npz`: five points,
person, and a JSON text of what each picture shows. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.people import Renderer, make_view

CHUNK = 100


def write_chunk(renderer: Renderer, folder: Path, first: int, views: int, size: int) -> None:
    """All views of the people first to first + 99."""
    pictures = np.empty((CHUNK * views, size, size, 3), dtype=np.uint8)
    points = np.empty((CHUNK * views, 5, 2), dtype=np.float32)
    shown = []
    for i in range(CHUNK * views):
        person = renderer.person(first + i // views)
        view = make_view(i % views, person)
        pictures[i], points[i] = renderer.render(person, view, size)
        own = {"gender": person.gender, "old": person.old, "tone": person.tone}
        own |= {"hair": person.hair, "style": person.style, "beard": person.beard, "number": person.number}
        shown.append(json.dumps({**asdict(view), **own}))
    number = np.arange(first, first + CHUNK).repeat(views)
    unfinished = folder / f"unfinished-{first}.npy"
    np.save(unfinished, pictures)
    np.savez(folder / f"views-{first}.npz", points=points, number=number, shown=np.array(shown))
    unfinished.rename(folder / f"pictures-{first}.npy")


def main() -> None:
    parser = argparse.ArgumentParser(description="Render people to train on.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    for first in range(args.first, args.first + args.count, CHUNK):
        if not (args.folder / f"pictures-{first}.npy").is_file():
            write_chunk(renderer, args.folder, first, args.views, args.size)
            print(f"people {first} to {first + CHUNK - 1}", flush=True)


if __name__ == "__main__":
    main()
