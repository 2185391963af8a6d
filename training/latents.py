"""Pictures as codes, with their captions' facts: `python -m training.latents DATA RUN`. Goes chunk by chunk, each once.

Each picture is there as a photo, and about each third once more in another style. Half of them are mirrored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from training import styles
from training.runs import load_pictures
from training.vae import SCALE, code_of, costly, leave_out

MIRRORED = [1, 0, 2, 4, 3]


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: np.ndarray, view: dict[str, np.ndarray], path: Path) -> None:
    first = int(view["number"][0])
    r = np.random.default_rng((13, first))
    names = list(styles.STYLES)
    entries = [(i, "photo") for i in range(len(pictures))]
    entries += [(i, names[r.integers(1, 5)]) for i in range(len(pictures)) if r.random() < 0.35]
    codes, points, mirrored = [], [], r.random(len(entries)) < 0.5
    for start in range(0, len(entries), 8):
        batch = []
        for k in range(start, min(start + 8, len(entries))):
            picture = styles.apply(entries[k][1], np.asarray(pictures[entries[k][0]]))
            batch.append(picture[:, ::-1] if mirrored[k] else picture)
        codes.append((code_of(vae, np.stack(batch)) * SCALE).half().numpy())
    for k, (i, _) in enumerate(entries):
        own = view["points"][i]
        points.append(np.stack([pictures.shape[2] - own[:, 0], own[:, 1]], 1)[MIRRORED] if mirrored[k] else own)
    index = np.array([i for i, _ in entries])
    unfinished = path.with_name("unfinished-" + path.name)
    np.savez(
        unfinished,
        code=np.concatenate(codes),
        points=np.array(points, dtype=np.float32),
        index=index,
        number=view["number"][index],
        style=np.array([style for _, style in entries]),
        shown=view["shown"][index],
        mirrored=mirrored,
    )
    unfinished.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn pictures into codes.")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.run / "vae")
    leave_out(costly(vae, decoder_only=True))
    folder = args.run / "latents"
    folder.mkdir(exist_ok=True)
    pictures, views = load_pictures(args.data, below=500_000)
    for i, (chunk, view) in enumerate(zip(pictures, views, strict=True)):
        path = folder / f"latents-{int(view['number'][0])}.npz"
        if i % args.parts == args.part and not path.is_file():
            encode(vae, chunk, view, path)
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
