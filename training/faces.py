"""The face models: `python -m training.faces recogniser|critic|judge|detector DATA RUN`, and `export FOLDER RUN`.

Files and signatures are antelopev2's. The judge is another recogniser, which only measures.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from training.detector import train_detector
from training.face_files import export
from training.recognisers import NEW, new_recogniser, train_recogniser


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a face model, or write them all.")
    parser.add_argument("kind", choices=(*NEW, "detector", "export"))
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


__all__ = ["export", "new_recogniser"]

if __name__ == "__main__":
    main()
