"""Likeness as a number, by the small model, on people that it never saw.

    .training/bin/python -m benchmarks.likeness [--people 64] [--fewer 16] [--only NAME …] [--json FILE] [--sheets FOLDER]

Of each person `training.people` draws a reference and another picture, whose five points place the head of the result. Each
result is compared with every reference, by the judge and by the recogniser that conditioned it. The first lines are for two
drawn pictures of each person, which is the most that can be reached, and for each system with its defaults, side by side; then
one setting of InstantID at a time is changed, for fewer people. Only InstantID places heads. InstantID and FaceID are given the
recogniser's numbers, IP-Adapter the reference itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.commands.generate import open_small_host
from lib_instantid.encoders.face.similarity import FindsFaces
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.small_model import SIZE, open_judge

FIRST = 1_000_100
"""The first number of the people that are measured."""

COLOURS = ("red", "yellow", "green", "blue", "purple", "white", "black")
STRENGTHS = (0.0, 0.25, 0.5, 0.8, 1.0, 1.25, 1.5)
ENDS = (0.2, 0.4, 0.6, 0.8)
COLUMNS = ("own", "others", "top-1") * 2 + ("points", "wall", "colour")


@dataclass(frozen=True, kw_only=True, eq=False)
class Someone:
    """reference, other: (H, W, 3) uint8 RGB. style: as these, a picture of a stranger in another style, the same for everyone.
    points: (5, 2) XY px of the face in `other`. colour: of the background."""

    number: int
    reference: np.ndarray
    other: np.ndarray
    style: np.ndarray
    points: np.ndarray
    colour: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line of the table: what is changed. everyone: whether it is measured on all people. photo: changes the reference.
    shown: which picture is a prompt, if one is, with the settings `image_prompt`. alone: without the person themself."""

    name: str
    everyone: bool = False
    person: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    photo: Callable[[np.ndarray], np.ndarray] = np.asarray
    shown: Callable[[Someone], np.ndarray] | None = None
    image_prompt: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


def meet(count: int) -> list[Someone]:
    """The people that are measured."""
    from training import styles
    from training.people import Renderer, make_view

    renderer, found = Renderer(), []
    stranger = renderer.person(FIRST - 1)
    style = styles.apply("oil painting", renderer.render(stranger, make_view(1, stranger), SIZE)[0])
    for number in range(FIRST, FIRST + count):
        person = renderer.person(number)
        reference, _ = renderer.render(person, make_view(0, person), SIZE)
        view = replace(make_view(1, person), hat="none", glasses="none")
        other, points = renderer.render(person, view, SIZE)
        colour = COLOURS[number % len(COLOURS)]
        own = Someone(number=number, reference=reference, other=other, style=style, points=points, colour=colour)
        found.append(own)
    return found


def systems() -> list[Case]:
    """Each system alone, then InstantID with a picture of a style."""
    found = [Case(name="InstantID", everyone=True), Case(name="FaceID", everyone=True, person={"system": "FaceID"})]
    for name, crop in (("IP-Adapter", "whole picture"), ("IP-Adapter, face", "face")):
        shown = {"shown": lambda one: one.reference, "image_prompt": {"crop": crop}}
        found.append(Case(name=name, everyone=True, alone=True, **shown))
    for layers in ("style", "composition"):
        shown = {"shown": lambda one: one.style, "image_prompt": {"layers": layers}}
        found.append(Case(name=f"InstantID + style picture, {layers}", everyone=True, **shown))
    return found


def cases() -> list[Case]:
    names = ("adapter_strength", "identitynet_strength")
    found = systems()
    for name, other in (names, names[::-1]):
        found += [Case(name=f"{name} {v}", person={name: v}) for v in STRENGTHS]
        found += [Case(name=f"{name} {v} alone", person={name: v, other: 0.0}) for v in STRENGTHS]
    found += [Case(name=f"{name} {v}", settings={name: v}) for name in ("adapter_end", "identitynet_end") for v in ENDS]
    found += [Case(name=f"identitynet_every {v}", settings={"identitynet_every": v}) for v in (2, 4)]
    found.append(Case(name="face_region face", settings={"face_region": "face"}))
    found += [Case(name=f"CFG {v}", request={"guidance_scale": v}) for v in (1.5, 3.0, 5.0, 7.0, 9.0)]
    high = {"guidance_scale": 9.0}
    found.append(Case(name="CFG 9, cfg_rescale 0.7", request=high, settings={"cfg_rescale": 0.7}))
    found.append(Case(name="CFG 9, negative_noise 0.35", request=high, settings={"negative_noise": 0.35}))
    found += [Case(name=f"steps {v}", request={"steps": v}) for v in (4, 8, 15, 30)]
    found.append(Case(name="reference small", photo=lambda p: cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA)))
    found.append(Case(name="reference blurred", photo=lambda p: cv2.GaussianBlur(p, (0, 0), 2.5)))
    found.append(Case(name="reference dark", photo=lambda p: (p * 0.35).astype(np.uint8)))
    return found


def request_of(someone: Someone, case: Case) -> GenerationRequest:
    points = (someone.points / SIZE).tolist()
    person = {"photos": [Image.fromarray(case.photo(someone.reference))], "keypoints": points, **case.person}
    entries: dict[str, Any] = {} if case.alone else {"people": [person]}
    if case.shown is not None:
        entries["image_prompts"] = [{"pictures": [Image.fromarray(case.shown(someone))], **case.image_prompt}]
    settings = settings_from_dict({"enabled": True, "face_region": "everywhere", **entries, **case.settings})
    values = {"guidance_scale": 3.0, "steps": 15, "width": SIZE, "height": SIZE, "seed": someone.number, **case.request}
    prompt = f"photo of a person, {someone.colour} background, white shirt"
    return GenerationRequest(prompt=prompt, settings=settings, **values)


def measure(analysers: Mapping[str, FindsFaces], people: Sequence[Someone], pictures: Sequence[np.ndarray]) -> dict[str, Any]:
    """Likeness of each person's picture by each analyser; how far off the points are; backgrounds; saturation."""
    found: dict[str, Any] = {}
    for name, analyser in analysers.items():
        references = [embedding_in(analyser, one.reference) for one in people]
        found[name] = compared(references, [embedding_in(analyser, picture) for picture in pictures])
    errors = [points_error(analysers["judge"], p, one.points) for p, one in zip(pictures, people, strict=True)]
    found["no_face"] = sum(error is None for error in errors)
    found["points"] = float(np.median([np.inf if error is None else error for error in errors]))
    found["wall"] = float(np.mean([wall(p) == one.colour for p, one in zip(pictures, people, strict=True)]))
    found["saturation"] = float(np.mean([cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 1].mean() for p in pictures]))
    return found


def compared(references: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> dict[str, float]:
    """Means of the cosine with the own reference and with the others', and how often the own one is the nearest.

    references, found: (512,) of length 1 each; `found` is zero where a picture has no face, which is nearest to nobody.
    """
    cosines = np.stack(found) @ np.stack(references).T
    same = np.eye(len(cosines), dtype=bool)
    nearest = (cosines.argmax(axis=1) == np.arange(len(cosines))) & (cosines != 0).any(axis=1)
    return {"own": float(cosines[same].mean()), "others": float(cosines[~same].mean()), "top1": float(nearest.mean())}


def embedding_in(analyser: FindsFaces, picture: np.ndarray) -> np.ndarray:
    faces = analyser.faces(picture)
    return faces[0].embedding / np.linalg.norm(faces[0].embedding) if faces else np.zeros(512, dtype=np.float32)


def points_error(analyser: FindsFaces, picture: np.ndarray, wanted: np.ndarray) -> float | None:
    """The mean distance of the five points from the wanted ones, as a fraction of the eyes' distance in a frontal view."""
    faces = analyser.faces(picture)
    if not faces:
        return None
    size = max(np.linalg.norm(wanted[1] - wanted[0]), np.linalg.norm(wanted[3:].mean(0) - wanted[:2].mean(0)))
    return float(np.linalg.norm(faces[0].keypoints - wanted, axis=1).mean() / size)


def wall(picture: np.ndarray) -> str:
    """The named colour nearest to that of the two upper corners."""
    from training.people import COLOURS as RGB

    middle = np.median(np.concatenate([picture[:24, :24].reshape(-1, 3), picture[:24, -24:].reshape(-1, 3)]), axis=0)
    return min(RGB, key=lambda name: float(np.linalg.norm(np.array(RGB[name]) - middle)))


def line_of(name: str, found: Mapping[str, Any]) -> str:
    values = [found[who][what] for who in ("judge", "recogniser") for what in ("own", "others", "top1")]
    values += [found["points"], found["wall"], found["saturation"]]
    return f"{name:<36}" + "".join(f"{value:>9.2f}" for value in values)


def pictures_of(host: DiffusersHost, people: Sequence[Someone], case: Case) -> list[np.ndarray]:
    return [np.asarray(host.generate(request_of(one, case)).pictures[0].image) for one in people]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=64, help="people of the first lines (64)")
    parser.add_argument("--fewer", type=int, default=16, help="people of each changed setting (16)")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of pictures of each case")
    args = parser.parse_args()
    host, people = open_small_host(), meet(args.people)
    host.pipeline.set_progress_bar_config(disable=True)
    analysers = {"judge": open_judge(), "recogniser": host.sources.analyser}
    print(f"{'':<36}{'judge':>27}{'recogniser':>27}\n{'':<36}" + "".join(f"{name:>9}" for name in COLUMNS))
    found = {"two drawn pictures": measure(analysers, people, [one.other for one in people])}
    print(line_of("two drawn pictures", found["two drawn pictures"]))
    for case in cases():
        if args.only and case.name not in args.only:
            continue
        some = people if case.everyone else people[: args.fewer]
        pictures = pictures_of(host, some, case)
        found[case.name] = measure(analysers, some, pictures)
        print(line_of(case.name, found[case.name]), flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            rows = [np.hstack([one.reference, one.other, p]) for one, p in zip(some[:16], pictures[:16], strict=True)]
            Image.fromarray(np.vstack(rows)).save(args.sheets / f"{case.name}.png")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
