"""`demo`: makes a picture from a real photo with stand-in weights."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.commands.options import Subparsers, quiet_libraries

if TYPE_CHECKING:
    import numpy as np

    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.request import GenerationRequest, Result

ASTRONAUT_POINTS = ((203.0, 101.0), (246.0, 103.5), (225.0, 126.0), (205.0, 141.0), (243.0, 141.5))
"""(5, 2) XY in pixels: eyes, nose and mouth corners in scikit-image's `astronaut` (Eileen Collins, NASA, public domain)."""

ASTRONAUT_SIZE = 512
WIDTH, HEIGHT, STEPS = 512, 512, 20
NOTE = (
    "Stand-in weights (random, of the real layout) give no likeness; for real ones run "
    "`python -m lib_instantid models --download`, then `generate`."
)


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("demo", help="the main job on a real photo with stand-in weights")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder of demo.png and demo.json (outputs)")
    parser.add_argument("--stand-ins", type=Path, default=Path("stand-ins"), help="folder of the stand-in weights")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    print(NOTE)
    quiet_libraries()
    started = time.perf_counter()
    host = open_stand_in_host(args.stand_ins)
    loaded = time.perf_counter()
    request = _request()
    result = host.generate(request)
    args.out.mkdir(parents=True, exist_ok=True)
    side_by_side(result).save(args.out / "demo.png")
    values = _values(request, result, loaded - started)
    (args.out / "demo.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    print(
        f"{args.out / 'demo.png'}, {args.out / 'demo.json'}: {time.perf_counter() - started:.0f} s, "
        f"at most {values['peak_memory_mb']} MB of memory"
    )


def open_stand_in_host(folder: Path) -> DiffusersHost:
    """The diffusers host with stand-in weights, which are written into the folder if it does not exist."""
    import torch

    from lib_instantid.adapters import LOADERS, SEVERAL, SYSTEM_FILES
    from lib_instantid.encoders.face.analyser import open_analyser
    from lib_instantid.encoders.face.photos import Photos
    from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.sources import LoadedSources
    from lib_instantid.weights.finding import find_models, find_role, named_files

    if not folder.is_dir():
        _write_stand_ins(folder)
    there = {model.role for model in find_models([folder], SYSTEM_FILES)}
    single = {role: load for role, load in LOADERS.items() if role in there and role not in SEVERAL}
    networks = {role: load(find_role(folder, role, SYSTEM_FILES)) for role, load in single.items()}
    several = {role: named_files(folder, role, SYSTEM_FILES) for role in SEVERAL if role in there}
    analyser = Photos(open_analyser("builtin", folder))
    sources = LoadedSources(
        analyser=analyser,
        identities=folder / "identities",
        networks=networks,
        files=several,
        load=lambda role, path: LOADERS[role](path),
    )
    return DiffusersHost(load_pipeline(folder / "checkpoint", torch.float32), sources)


def _write_stand_ins(folder: Path) -> None:
    """Write the stand-ins to a folder beside this one and rename it, so that the folder is never incomplete."""
    from lib_instantid.hosts.stand_ins.face_models import write_face_models
    from lib_instantid.hosts.stand_ins.weights import write_weights

    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    try:
        write_weights(unfinished)
        write_face_models(unfinished / "antelopev2")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _request() -> GenerationRequest:
    from PIL import Image
    from skimage.data import astronaut

    from lib_instantid.adapters.settings import settings_from_dict
    from lib_instantid.hosts.diffusers.request import GenerationRequest

    points = [(x / ASTRONAUT_SIZE, y / ASTRONAUT_SIZE) for x, y in ASTRONAUT_POINTS]
    person = {"photos": [Image.fromarray(astronaut())], "photo_keypoints": [points]}
    settings = settings_from_dict({"enabled": True, "people": [person], "report_similarity": True})
    return GenerationRequest(prompt="portrait of an astronaut", width=WIDTH, height=HEIGHT, steps=STEPS, settings=settings)


def _values(request: GenerationRequest, result: Result, loading: float) -> dict[str, Any]:
    from lib_instantid.hosts.diffusers.metadata import metadata_of

    values = metadata_of(request, result)
    values["timings_s"] = {"loading": round(loading, 3), **values["timings_s"]}
    return {"note": NOTE, **values, "peak_memory_mb": _peak_memory_mb()}


def _peak_memory_mb() -> int:
    import resource  # not on Windows, which has no make either

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def side_by_side(result: Result) -> Any:
    """The photo with its five points, the keypoint map and the result, as one Pillow picture."""
    import numpy as np
    from PIL import Image
    from skimage.data import astronaut

    photo = _with_points(astronaut(), np.array(ASTRONAUT_POINTS))
    panels = [photo, result.control_maps[0], np.asarray(result.pictures[0].image)]
    height = max(panel.shape[0] for panel in panels)
    resized = [Image.fromarray(panel).resize((panel.shape[1] * height // panel.shape[0], height)) for panel in panels]
    whole = Image.new("RGB", (sum(panel.width for panel in resized), height))
    left = 0
    for panel in resized:
        whole.paste(panel, (left, 0))
        left += panel.width
    return whole


def _with_points(picture: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    import cv2

    from lib_instantid.constants import KEYPOINT_COLOURS

    drawn = picture.copy()
    for (x, y), colour in zip(keypoints, KEYPOINT_COLOURS, strict=True):
        cv2.circle(drawn, (round(float(x)), round(float(y))), max(2, picture.shape[1] // 150), colour, -1, cv2.LINE_AA)
    return drawn
