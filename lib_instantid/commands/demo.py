"""`demo`: makes pictures of two people with the small model, and one sheet of them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.commands.generate import open_small_host
from lib_instantid.commands.options import Subparsers, quiet_libraries
from lib_instantid.encoders.face.similarity import NO_FACE, similarities
from lib_instantid.hosts.diffusers.small_model import NOTE, PEOPLE, REQUEST, SIZE, open_judge

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from lib_instantid.encoders.face.analyser import FaceAnalyser
    from lib_instantid.encoders.face.faces import Floats
    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.request import GenerationRequest

SEED = 3
SHOWN = PEOPLE[:2]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture that is made of each person. turn: yaw, pitch and roll of the head in degrees. middle: of the five points.
    eyes: the distance between them if the head is not turned. Both are fractions of the picture's side."""

    prompt: str
    turn: tuple[float, float, float]
    middle: tuple[float, float] = (0.5, 0.55)
    eyes: float = 0.16


SCENES = (
    Scene(prompt="photo of a person, blue background, white shirt", turn=(0, 0, 0)),
    Scene(prompt="photo of a person, green background, red sweater", turn=(30, 0, 0), middle=(0.45, 0.55)),
    Scene(prompt="photo of a person, yellow background, black jacket", turn=(-25, 5, 12), eyes=0.18),
    Scene(prompt="pencil sketch of a person, white background", turn=(10, 0, -8)),
    Scene(prompt="oil painting of a person, purple background", turn=(-12, 0, 0), middle=(0.55, 0.55)),
)


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("demo", help="two people in the same scenes, made by the small model, on one sheet")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder of demo.png and demo.json (outputs)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    print(NOTE)
    quiet_libraries()
    started = time.perf_counter()
    host, judge = open_small_host(), open_judge()
    references = [judge.faces(_pixels(photo))[0].embedding for photo in SHOWN]
    rows = [[_make(host, judge, scene, photo, references) for scene in SCENES] for photo in SHOWN]
    args.out.mkdir(parents=True, exist_ok=True)
    sheet(rows).save(args.out / "demo.png")
    people = [{"photo": photo.name, "pictures": [made.values for made in row]} for photo, row in zip(SHOWN, rows, strict=True)]
    seconds, memory = round(time.perf_counter() - started, 1), _peak_memory_mb()
    values = {"note": NOTE, "people": people, "seconds": seconds, "peak_memory_mb": memory}
    (args.out / "demo.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    print(f"{args.out / 'demo.png'}, {args.out / 'demo.json'}: {seconds:.0f} s, at most {memory} MB of memory")


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A picture of a scene. keypoint_map: (H, W, 3) uint8 RGB. likeness: to each person of `SHOWN`, None without a face.
    values: for JSON."""

    picture: Image.Image
    keypoint_map: np.ndarray
    likeness: tuple[float | None, ...]
    values: dict[str, Any]


def _make(host: DiffusersHost, judge: FaceAnalyser, scene: Scene, photo: Path, references: Sequence[Floats]) -> Made:
    import numpy as np

    from lib_instantid.hosts.diffusers.metadata import metadata_of

    request = request_of(scene, photo)
    result = host.generate(request)
    picture = result.pictures[0].image
    likeness = similarities(judge, np.asarray(picture), references)
    named = {path.name: None if value is None else round(value, 4) for path, value in zip(SHOWN, likeness, strict=True)}
    values = {**metadata_of(request, result), "likeness": named}
    return Made(picture=picture, keypoint_map=result.control_maps[0], likeness=likeness, values=values)


def request_of(scene: Scene, photo: Path) -> GenerationRequest:
    """What the small model is asked for."""
    from lib_instantid.adapters.settings import settings_from_dict
    from lib_instantid.hosts.diffusers.request import GenerationRequest

    person = {"photos": [photo], "keypoints": placed(scene)}
    settings = settings_from_dict({"enabled": True, "people": [person], "face_region": "everywhere"})
    return GenerationRequest(prompt=scene.prompt, seed=SEED, settings=settings, **REQUEST)


def placed(scene: Scene) -> list[list[float]]:
    """The five points of the average head in a scene: (5, 2) XY, as fractions of the picture's side."""
    import cv2
    import numpy as np

    from lib_instantid.encoders.face.head_points import five_of
    from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE

    yaw, pitch, roll = np.radians(scene.turn)
    turn = np.eye(3)
    for axis in ((0, 0, roll), (pitch, 0, 0), (0, yaw, 0)):
        turn = turn @ cv2.Rodrigues(np.array(axis, dtype=float))[0]
    five = five_of(MEAN_SHAPE)
    five = (five - five.mean(axis=0)) / np.linalg.norm(five[1] - five[0])
    points: list[list[float]] = ((five @ turn.T)[:, :2] * scene.eyes + scene.middle).tolist()
    return points


GAP, LINE = 6, 20
"""Between the panels of the sheet, and the height of a line of text, in pixels."""


def sheet(rows: Sequence[Sequence[Made]]) -> Image.Image:
    """A row for each person: the photo, then each picture with its keypoint map beside it and its likeness below."""
    from PIL import Image, ImageDraw

    across, down = SIZE + SIZE // 3 + 2 * GAP, SIZE + LINE + GAP
    whole = Image.new("RGB", (SIZE + GAP + across * len(SCENES) + GAP, down * len(rows) + GAP), "white")
    draw = ImageDraw.Draw(whole)
    for number, (photo, row) in enumerate(zip(SHOWN, rows, strict=True)):
        top = GAP + number * down
        whole.paste(Image.open(photo).convert("RGB"), (GAP, top))
        draw.text((GAP, top + SIZE + 3), f"photo of {photo.stem}", fill="black")
        for column, made in enumerate(row):
            left = SIZE + 3 * GAP + column * across
            whole.paste(made.picture, (left, top))
            whole.paste(Image.fromarray(made.keypoint_map).resize((SIZE // 3, SIZE // 3)), (left + SIZE, top))
            draw.text((left, top + SIZE + 3), _below(made, number), fill="black")
    return whole


def _below(made: Made, number: int) -> str:
    own, (other,) = made.likeness[number], [value for i, value in enumerate(made.likeness) if i != number]
    return NO_FACE if own is None else f"likeness {own:.2f}, to the other {other:.2f}"


def _pixels(photo: Path) -> np.ndarray:
    from lib_instantid.encoders.face.picture import read_picture

    return read_picture(photo, "photo")


def _peak_memory_mb() -> int:
    import resource  # not on Windows, which has no make either

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
