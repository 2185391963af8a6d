"""What each faster setting changes in the picture, on small random weights.

    python -m benchmarks.effects [--steps 20] [--json FILE]

The change of the picture is given as a part of what InstantID itself changes in it, in the mean over pixels; 0 is the exact
picture, 1 as far from it as the picture without a face. Random weights react more strongly than trained ones, so this orders
the settings rather than telling what is seen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from lib_instantid.hosts.stand_ins.weights import write_weights

SIZE = 256
FASTER = {
    "identitynet_every 2": {"identitynet_every": 2},
    "identitynet_every 4": {"identitynet_every": 4},
    "identitynet_end 0.5": {"identitynet_end": 0.5},
    "identitynet_people together": {"identitynet_people": "together"},
}


def host_in(folder: Path) -> DiffusersHost:
    write_weights(folder)
    write_face_models(folder / "antelopev2")
    pipeline = load_pipeline(folder / "checkpoint", torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    adapter, net = load_adapter(folder / "ip-adapter.bin"), load_identitynet(folder / "ControlNetModel")
    networks = {ADAPTER: adapter, IDENTITYNET: net}
    sources = LoadedSources(
        analyser=Photos(open_analyser("builtin", folder)), identities=folder / "identities", networks=networks
    )
    return DiffusersHost(pipeline, sources)


def photo(left: int, colour: tuple[int, int, int]) -> Image.Image:
    """A square, which the stand-in detector takes for a face."""
    picture = Image.new("RGB", (SIZE, SIZE), "gray")
    ImageDraw.Draw(picture).rectangle((left, 90, left + 80, 170), fill=colour)
    return picture


def picture(host: DiffusersHost, steps: int, people: int, **settings: object) -> np.ndarray:
    photos = [photo(20 + 110 * i, (200, 20 + 10 * i, 20)) for i in range(people)]
    own = Settings(enabled=people > 0, people=[Person(photos=[one]) for one in photos], face_region="everywhere", **settings)
    job = GenerationRequest(prompt="a person", width=SIZE, height=SIZE, steps=steps, seed=1, settings=own)
    return np.asarray(host.generate(job).pictures[0].image, dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        host = host_in(Path(folder))
        plain = picture(host, args.steps, 0)
        exact = {people: picture(host, args.steps, people) for people in (1, 2)}
        found = {}
        for name, settings in FASTER.items():
            people = 2 if "people" in name else 1
            made = picture(host, args.steps, people, **settings)
            found[name] = float(np.abs(made - exact[people]).mean() / np.abs(plain - exact[people]).mean())
            print(f"{name}: {found[name]:.3f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
