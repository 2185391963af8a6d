"""Everything that is shipped, in one folder: `python -m training.ship RUN small-model`. Prints what it weighs."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from training import checkpoint, controls, faceid, faces, instantid, ip_adapter
from training.codes import WHOLE
from training.people import Renderer, make_view

PEOPLE = range(1_000_001, 1_000_009)
"""Whose portraits go with it: nothing was trained on them."""


def write_people(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    for number in PEOPLE:
        person = renderer.person(number)
        picture, _ = renderer.render(person, make_view(0, person), 8 * WHOLE)
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the small model's folder.")
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    checkpoint.export(args.run, args.folder / "checkpoint")
    instantid.export(args.run, args.folder)
    controls.export(args.run, args.folder)
    for one, state in ((faceid, "faceid.pt"), (ip_adapter, "ip_adapter.pt")):
        if (args.run / state).is_file():  # they may be trained later
            one.export(args.run, args.folder)
    faces.export(args.run, args.folder)
    write_people(args.folder / "people")
    print(f"{sum(path.stat().st_size for path in args.folder.rglob('*') if path.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
