"""`demo`: the main job with the small model, on one sheet: two people, the same places, captions and seeds."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.commands.generate import complete_weights, open_host
from lib_instantid.commands.options import Subparsers, quiet_libraries
from lib_instantid.hosts.embedded.small_model import NOTE, PEOPLE, SIZE, STEPS, open_judge

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from lib_instantid.face.analyser import Analyser
    from lib_instantid.hosts.embedded.host import EmbeddedHost
    from lib_instantid.hosts.embedded.job import Job, Result

SEED, GUIDANCE_SCALE = 3, 3.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture of each person. turn: yaw, pitch and roll in degrees. middle, eyes: of the face, and the distance of its
    eyes, as parts of the picture."""

    prompt: str
    turn: tuple[float, float, float]
    middle: tuple[float, float] = (0.5, 0.62)
    eyes: float = 0.18


SCENES = (
    Scene(prompt="photo of a person, blue background, white shirt", turn=(0, 0, 0)),
    Scene(prompt="photo of a person, green background, red sweater, smiling", turn=(30, 0, 0), middle=(0.45, 0.6)),
    Scene(prompt="photo of a person, yellow background, black jacket", turn=(-25, 5, 12), eyes=0.2),
    Scene(prompt="pencil sketch of a person, white background", turn=(10, 0, -8)),
    Scene(prompt="oil painting of a person, purple background, glasses", turn=(-12, 0, 0), middle=(0.55, 0.6)),
)


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("demo", help="two people, the same prompts: who is who, on one sheet")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder of demo.png and demo.json (outputs)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    print(NOTE)
    quiet_libraries()
    started = time.perf_counter()
    host = open_small_host()
    judge = open_judge()
    loading = time.perf_counter() - started
    rows = [_row(host, judge, photo) for photo in PEOPLE]
    args.out.mkdir(parents=True, exist_ok=True)
    sheet([row.panels for row in rows]).save(args.out / "demo.png")
    values = {
        "note": NOTE,
        "loading_s": round(loading, 3),
        "people": [{"photo": row.photo.name, "pictures": row.values} for row in rows],
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mb": _peak_memory_mb(),
    }
    (args.out / "demo.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    print(
        f"{args.out / 'demo.png'}, {args.out / 'demo.json'}: {values['seconds']:.0f} s, "
        f"at most {values['peak_memory_mb']} MB of memory"
    )


def open_small_host() -> EmbeddedHost:
    """The embedded host on the small model."""
    names = ("checkpoint", "checkpoint_config", "adapter", "identitynet", "models_dir", "face_models", "dtype")
    args = argparse.Namespace(**dict.fromkeys(names), device="auto", face_backend="builtin", provider="cpu")
    args.identities = Path("identities")
    complete_weights(args)
    return open_host(args)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """panels: (picture, keypoint map or None, what stands below). values: for demo.json."""

    photo: Path
    panels: list[tuple[Image.Image, Any, str]]
    values: list[dict[str, Any]]


def _row(host: EmbeddedHost, judge: Analyser, photo: Path) -> _Row:
    from PIL import Image

    from lib_instantid.face.similarity import similarities
    from lib_instantid.hosts.embedded.record import record

    own, *others = (_judged(judge, path) for path in (photo, *(path for path in PEOPLE if path != photo)))
    panels: list[tuple[Image.Image, Any, str]] = [(Image.open(photo).convert("RGB"), None, "the photo")]
    values = []
    for scene in SCENES:
        job = _job(scene, photo)
        result = host.generate(job)
        picture = result.pictures[0].image
        like, *unlike = similarities(judge, _array(picture), [own, *others])
        text = "no face" if like is None else f"likeness {like:.2f}, of the other {unlike[0]:.2f}"
        panels.append((picture, _map_of(result), text))
        values.append({**record(job, result), "likeness": like, "likeness_of_the_other": unlike[0]})
    return _Row(photo=photo, panels=panels, values=values)


def _judged(judge: Analyser, photo: Path) -> np.ndarray:
    from lib_instantid.face.photos import faces_of_photos

    (found,) = faces_of_photos([photo], judge)
    return found.face.embedding


def _map_of(result: Result) -> np.ndarray:
    return result.keypoint_maps[0]


def _array(picture: Image.Image) -> np.ndarray:
    import numpy as np

    return np.asarray(picture)


def _job(scene: Scene, photo: Path) -> Job:
    from lib_instantid.guidance.settings import Person, Settings
    from lib_instantid.hosts.embedded.job import Job

    person = Person(photos=[photo], pose="keypoints", keypoints=placed(scene))
    return Job(
        prompt=scene.prompt,
        width=SIZE,
        height=SIZE,
        steps=STEPS,
        guidance_scale=GUIDANCE_SCALE,
        seed=SEED,
        settings=Settings(enabled=True, people=[person], face_region="everywhere"),
    )


def placed(scene: Scene) -> list[tuple[float, float]]:
    """The average head's five points, turned and put where the scene wants them: fractions of the picture."""
    import cv2
    import numpy as np

    from lib_instantid.face.heads import five_of
    from lib_instantid.face.mean_shape import MEAN_SHAPE

    yaw, pitch, roll = np.radians(scene.turn)
    turn = np.eye(3)
    for axis in ((0, 0, roll), (pitch, 0, 0), (0, yaw, 0)):
        turn = turn @ cv2.Rodrigues(np.array(axis, dtype=float))[0]
    five = five_of(MEAN_SHAPE)
    five = (five - five.mean(axis=0)) / np.linalg.norm(five[1] - five[0])
    return [tuple(point) for point in (five @ turn.T)[:, :2] * scene.eyes + scene.middle]


def sheet(rows: list[list[tuple[Image.Image, Any, str]]]) -> Image.Image:
    """A row for each person; each picture with its keypoint map in the corner and a line below."""
    from PIL import Image, ImageDraw

    line, gap, side = 22, 6, rows[0][0][0].width
    whole = Image.new("RGB", ((side + gap) * len(rows[0]) + gap, (side + line + gap) * len(rows) + gap), "white")
    draw = ImageDraw.Draw(whole)
    for i, row in enumerate(rows):
        for j, (picture, drawn, text) in enumerate(row):
            left, top = gap + j * (side + gap), gap + i * (side + line + gap)
            whole.paste(picture.resize((side, side)), (left, top))
            if drawn is not None:
                whole.paste(Image.fromarray(drawn).resize((side // 4, side // 4)), (left, top + side - side // 4))
            draw.text((left + 2, top + side + 4), text, fill="black")
    return whole


def _peak_memory_mb() -> int:
    import resource  # not on Windows, where make is not either

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
