"""Likeness as a number: `.training/bin/python -m benchmarks.likeness [--people N] [--only NAME …] [--json X] [--plot FOLDER]`.

People that the small model never saw are drawn by `training.people`: a reference, and another picture of them, whose five
points place the head of the result. Each result is compared with every reference, by the judge and by the recogniser that
conditioned it. The first table says how good that is, beside strangers and beside two real pictures of one person; then one
setting at a time is changed, for fewer people.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lib_instantid.face.analyser import Analyser
from lib_instantid.guidance.settings import Person, Settings
from lib_instantid.hosts.embedded.host import EmbeddedHost
from lib_instantid.hosts.embedded.job import Job
from lib_instantid.hosts.embedded.small_model import SIZE, open_judge

FIRST = 1_000_100
"""The first number of the people that are measured."""

STRENGTHS = (0.0, 0.25, 0.5, 0.8, 1.0, 1.25, 1.5)
ENDS = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Someone:
    """reference, other: (H, W, 3) uint8 RGB; points: (5, 2) XY px of the face in other; colour: named, of the result's wall."""

    number: int
    reference: np.ndarray
    other: np.ndarray
    points: np.ndarray
    colour: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of a table."""

    name: str
    value: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    change: Callable[[np.ndarray], np.ndarray] | None = None
    """What is done to the reference."""


def meet(count: int, first: int = FIRST) -> list[Someone]:
    """People by number, none of whom was trained on."""
    from training.people import COLOURS, Renderer, make_view

    renderer, found = Renderer(), []
    for number in range(first, first + count):
        person = renderer.person(number)
        reference, _ = renderer.render(person, make_view(0, person), SIZE)
        view = replace(make_view(1, person), hat="none", glasses="none")
        other, points = renderer.render(person, view, SIZE)
        colour = list(COLOURS)[number % 7]
        found.append(Someone(number=number, reference=reference, other=other, points=points, colour=colour))
    return found


def cases() -> list[Case]:
    found = [Case(name="defaults")]
    for own, other in (("adapter", "identitynet"), ("identitynet", "adapter")):
        for value in STRENGTHS:
            found.append(Case(name=f"{own}_strength", value=str(value), person={f"{own}_strength": value}))
            alone = {f"{own}_strength": value, f"{other}_strength": 0.0}
            found.append(Case(name=f"{own}_strength alone", value=str(value), person=alone))
        for value in ENDS[:-1]:
            found.append(Case(name=f"{own}_end", value=str(value), settings={f"{own}_end": value}))
    found += [Case(name="identitynet_every", value=str(v), settings={"identitynet_every": v}) for v in (2, 4)]
    found += [Case(name="face_region", value=v, settings={"face_region": v}) for v in ("face", "everywhere")]
    found += [Case(name="guidance_scale", value=str(v), job={"guidance_scale": v}) for v in (1.5, 3.0, 5.0, 7.0, 9.0)]
    high = {"guidance_scale": 9.0}
    found.append(Case(name="guidance_scale, cfg_rescale", value="9, 0.7", job=high, settings={"cfg_rescale": 0.7}))
    found.append(Case(name="guidance_scale, negative_noise", value="9, 0.35", job=high, settings={"negative_noise": 0.35}))
    found += [Case(name="steps", value=str(v), job={"steps": v}) for v in (4, 8, 15, 30)]
    found.append(Case(name="reference", value="small", change=lambda p: _resized(p, 64)))
    found.append(Case(name="reference", value="blurred", change=lambda p: cv2.GaussianBlur(p, (0, 0), 2.5)))
    found.append(Case(name="reference", value="dark", change=lambda p: (p * 0.35).astype(np.uint8)))
    return found


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def measure(host: EmbeddedHost, judge: Analyser, people: Sequence[Someone], case: Case, steps: int) -> dict[str, Any]:
    """The numbers of one case, and its pictures."""
    pictures = [generate(host, someone, case, steps) for someone in people]
    found: dict[str, Any] = {"name": case.name, "value": case.value, "people": len(people)}
    for name, analyser in (("judge", judge), ("recogniser", host.analyser)):
        references = _unit([_embedding(analyser, someone.reference) for someone in people])
        found[name] = compared(references, [_embedding(analyser, picture) for picture in pictures])
    errors = [_points_error(host.analyser, picture, one.points) for picture, one in zip(pictures, people, strict=True)]
    seen = [error for error in errors if error is not None]
    found["points"] = float(np.median(seen)) if seen else None
    found["no_face"] = len(errors) - len(seen)
    found["wall"] = float(np.mean([_wall(p) == one.colour for p, one in zip(pictures, people, strict=True)]))
    found["saturation"] = float(np.mean([cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 1].mean() for p in pictures]))
    return {**found, "pictures": pictures}


def generate(host: EmbeddedHost, someone: Someone, case: Case, steps: int) -> np.ndarray:
    reference = someone.reference if case.change is None else case.change(someone.reference)
    fractions = (someone.points / SIZE).tolist()
    person = Person(photos=[Image.fromarray(reference)], pose="keypoints", keypoints=fractions, **case.person)
    settings = Settings(enabled=True, people=[person], **{"face_region": "everywhere", **case.settings})
    values = {"guidance_scale": 3.0, "steps": steps, **case.job}
    prompt = f"photo of a person, {someone.colour} background, white shirt"
    job = Job(prompt=prompt, width=SIZE, height=SIZE, seed=someone.number, settings=settings, **values)
    return np.asarray(host.generate(job).pictures[0].image)


def compared(references: np.ndarray, found: list[np.ndarray | None]) -> dict[str, float]:
    """references: (N, 512) of length 1; found: what stands for each, None where there was no face (cosine 0, not nearest).

    Means of the cosine with the own reference and with the others', and how often the own one is the nearest.
    """
    empty = np.zeros(references.shape[1], dtype=np.float32)
    cosines = _unit([empty if one is None else one for one in found]) @ references.T
    own = np.diag(cosines)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    seen = np.array([one is not None for one in found])
    top = float(np.mean((cosines.argmax(axis=1) == np.arange(len(cosines))) & seen))
    return {"own": float(own.mean()), "others": float(others.mean()), "top1": top}


def ceiling(judge: Analyser, recogniser: Analyser, people: Sequence[Someone]) -> dict[str, Any]:
    """Two real pictures of each person."""
    found: dict[str, Any] = {"name": "two real pictures", "value": "", "people": len(people)}
    for name, analyser in (("judge", judge), ("recogniser", recogniser)):
        references = _unit([_embedding(analyser, one.reference) for one in people])
        found[name] = compared(references, [_embedding(analyser, one.other) for one in people])
    return found


def _embedding(analyser: Analyser, picture: np.ndarray) -> np.ndarray | None:
    faces = analyser.faces(picture)
    return faces[0].embedding if faces else None


def _unit(rows: Sequence[np.ndarray | None]) -> np.ndarray:
    whole = np.stack([np.zeros(512, dtype=np.float32) if row is None else row for row in rows])
    return whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-9)


def _points_error(analyser: Analyser, picture: np.ndarray, wanted: np.ndarray) -> float | None:
    """The mean distance of the five points from where they should be, as a part of the distance between the eyes."""
    faces = analyser.faces(picture)
    if not faces:
        return None
    eyes = np.linalg.norm(wanted[1] - wanted[0])
    return float(np.linalg.norm(faces[0].keypoints - wanted, axis=1).mean() / max(eyes, 1))


def _wall(picture: np.ndarray) -> str:
    """The named colour nearest to the two upper corners."""
    from training.people import COLOURS

    corner = np.concatenate([picture[:24, :24].reshape(-1, 3), picture[:24, -24:].reshape(-1, 3)])
    middle = np.median(corner, axis=0)
    return min(COLOURS, key=lambda name: float(np.linalg.norm(np.array(COLOURS[name]) - middle)))


def line_of(found: dict[str, Any]) -> str:
    judged, known = found["judge"], found["recogniser"]
    numbers = [judged["own"], judged["others"], judged["top1"], known["own"], known["others"], known["top1"]]
    rest = [found.get(name) for name in ("points", "wall", "saturation")]
    text = "".join(f"{'-' if value is None else f'{value:.2f}':>9}" for value in [*numbers, *rest])
    return f"{found['name'] + ' ' + found['value']:<36}{text}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Likeness of the small model's pictures.")
    parser.add_argument("--people", type=int, default=64, help="people of the first table (64)")
    parser.add_argument("--fewer", type=int, default=16, help="people of each changed setting (16)")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of each case")
    args = parser.parse_args()
    from lib_instantid.commands.demo import open_small_host

    host, judge, people = open_small_host(), open_judge(), meet(args.people)
    host.pipeline.set_progress_bar_config(disable=True)
    head = ("own", "others", "top-1") * 2 + ("points", "wall", "colour")
    print(f"{'':<36}" + f"{'judge':>27}{'recogniser':>27}\n{'':<36}" + "".join(f"{name:>9}" for name in head))
    lines = [ceiling(judge, host.analyser, people)]
    print(line_of(lines[0]))
    for case in cases():
        if args.only and case.name not in args.only:
            continue
        found = measure(host, judge, people if case.name == "defaults" else people[: args.fewer], case, args.steps)
        pictures = found.pop("pictures")
        print(line_of(found), flush=True)
        lines.append(found)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            rows = [np.hstack([one.reference, one.other, p]) for one, p in zip(people, pictures, strict=False)]
            Image.fromarray(np.vstack(rows[:16])).save(args.pictures / f"{case.name} {case.value}.png")
    if args.json:
        args.json.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
