"""Likeness as a number, by the small model, on people that it never saw.

    .training/bin/python -m benchmarks.likeness [--people 64] [--fewer 16] [--only NAME …] [--json FILE] [--sheets FOLDER]

Of each person `training.people` draws a reference and another picture, whose five points place the head of the result. Each
result is compared with every reference, by the judge and by the recogniser that conditioned it. The first lines are for two
drawn pictures of each person, which is the most that can be reached, and for each system with its defaults, side by side; then
one setting of InstantID at a time is changed, for fewer people. Only InstantID places heads. InstantID and FaceID are given the
recogniser's numbers, IP-Adapter the reference itself. `benchmarks.likeness_plots` draws the JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.faces import compared, embedding_in, points_error
from benchmarks.seen import Seen, clothes, wall
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.commands.generate import open_small_host
from lib_instantid.encoders.face.similarity import FindsFaces
from lib_instantid.errors import MissingModelFile
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.small_model import REQUEST, SIZE, open_judge
from training import styles
from training.people import Renderer, make_view

FIRST = 1_000_100
"""The first number of the people that are measured."""

COLOURS = ("red", "yellow", "green", "blue", "purple", "white", "black")
STRENGTHS = (0.0, 0.25, 0.5, 0.8, 1.0, 1.25, 1.5)
ENDS = (0.2, 0.4, 0.6, 0.8)
TURNED = 0.7
"""Yaw of the turned reference, in radians."""

DRAWN, TWO = "two drawn pictures", "two people in a picture"
CAPTION = ("wall", "clothes", "glasses", "style")
COLUMNS = (*("own", "others", "top-1") * 2, "points", *CAPTION, "colour")


@dataclass(frozen=True, kw_only=True, eq=False)
class Someone:
    """references: of the person, the first one a portrait; turned; other; all (H, W, 3) uint8 RGB. style: as these, a picture
    of a stranger in another style, the same for everyone. points: (5, 2) XY px of the face in `other`. shows: what `other`
    does."""

    number: int
    references: tuple[np.ndarray, ...]
    turned: np.ndarray
    other: np.ndarray
    style: np.ndarray
    points: np.ndarray
    shows: Caption


Photos = Callable[[Someone], Sequence[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line of the table: what is changed. everyone: whether it is measured on all people. photos: what is given of the
    person. shown: which picture is a prompt, if one is, with the settings `image_prompt`. alone: without the person themself.
    mixed: captions of every style, half of them with glasses."""

    name: str
    everyone: bool = False
    person: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    photos: Photos = lambda one: one.references[:1]
    shown: Callable[[Someone], np.ndarray] | None = None
    image_prompt: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False
    mixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a picture is asked to show."""

    wall: str
    clothes: str
    glasses: bool
    style: str

    @property
    def text(self) -> str:
        worn = ", glasses" if self.glasses else ""
        return f"{self.style} of a person, {self.wall} background, {self.clothes} shirt{worn}"


def caption_of(one: Someone, case: Case) -> Caption:
    colours = [COLOURS[(one.number * step) % len(COLOURS)] for step in (1, 3)]
    style = list(styles.STYLES)[one.number % len(styles.STYLES)] if case.mixed else "photo"
    return Caption(wall=colours[0], clothes=colours[1], glasses=case.mixed and one.number // 5 % 2 == 0, style=style)


def meet(renderer: Renderer, count: int) -> list[Someone]:
    """The people that are measured."""
    found = []
    stranger = renderer.person(FIRST - 1)
    style = styles.apply("oil painting", renderer.render(stranger, make_view(1, stranger), SIZE)[0])
    for number in range(FIRST, FIRST + count):
        person = renderer.person(number)
        portrait, view, *more = (replace(make_view(v, person), hat="none", glasses="none") for v in range(4))
        draw = partial(renderer.render, person, size=SIZE)
        other, points = draw(view)
        pictures = {"references": tuple(draw(own)[0] for own in (portrait, *more)), "other": other, "style": style}
        pictures["turned"], _ = draw(replace(portrait, yaw=TURNED))
        shows = Caption(wall=view.background, clothes=view.clothes_colour, glasses=False, style="photo")
        found.append(Someone(number=number, points=points, shows=shows, **pictures))
    return found


WHOLE = {"adapter_strength": 1.0, "identitynet_strength": 1.0}


def systems() -> list[Case]:
    """Each system alone, then InstantID with a picture of a style."""
    found = [Case(name="InstantID", everyone=True), Case(name="InstantID, strengths 1.0", everyone=True, person=WHOLE)]
    found += [Case(name="InstantID, best of 4", everyone=True, settings={"best_of": 4})]
    found += [Case(name="FaceID", everyone=True, person={"system": "FaceID"})]
    for name, crop in (("IP-Adapter", "whole picture"), ("IP-Adapter, face", "face")):
        shown = {"shown": lambda one: one.references[0], "image_prompt": {"crop": crop}}
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
    found += [Case(name=f"CFG {v}", request={"guidance_scale": v}) for v in (1.0, 1.5, 3.0, 5.0, 7.0, 9.0)]
    high = {"guidance_scale": 9.0}
    found.append(Case(name="CFG 9, cfg_rescale 0.7", request=high, settings={"cfg_rescale": 0.7}))
    found.append(Case(name="CFG 9, negative_noise 0.35", request=high, settings={"negative_noise": 0.35}))
    found += [Case(name=f"steps {v}", request={"steps": v}) for v in (4, 6, 8, 10, 15, 20, 30)]
    found.append(Case(name="three references", photos=lambda one: one.references))
    found.append(Case(name="reference small", photos=changed(lambda p: cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA))))
    found.append(Case(name="reference blurred", photos=changed(lambda p: cv2.GaussianBlur(p, (0, 0), 2.5))))
    found.append(Case(name="reference dark", photos=changed(lambda p: (p * 0.35).astype(np.uint8))))
    found.append(Case(name="reference turned", photos=lambda one: [one.turned]))
    for v in STRENGTHS:
        found.append(Case(name=f"every caption, strengths {v}", person=dict.fromkeys(names, v), mixed=True))
    return found


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Photos:
    return lambda one: [change(one.references[0])]


def person_of(photos: Sequence[np.ndarray], points: np.ndarray, **own: Any) -> dict[str, Any]:
    """points: (5, 2) XY, as fractions of the picture."""
    return {"photos": [Image.fromarray(photo) for photo in photos], "keypoints": points.tolist(), **own}


def request_of(one: Someone, case: Case) -> GenerationRequest:
    entries: dict[str, Any] = {}
    if not case.alone:
        entries["people"] = [person_of(case.photos(one), one.points / SIZE, **case.person)]
    if case.shown is not None:
        entries["image_prompts"] = [{"pictures": [Image.fromarray(case.shown(one))], **case.image_prompt}]
    settings = settings_from_dict({"enabled": True, "face_region": "everywhere", **entries, **case.settings})
    values = {**REQUEST, **case.request}
    return GenerationRequest(prompt=caption_of(one, case).text, settings=settings, seed=one.number, **values)


def measure(
    analysers: Mapping[str, FindsFaces],
    seen: Seen,
    people: Sequence[Someone],
    pictures: Sequence[np.ndarray],
    captions: Sequence[Caption],
) -> dict[str, Any]:
    """Likeness of each person's picture by each analyser; how far off the points are; what of its caption it shows, of a colour
    or style the part that is right; saturation."""
    found: dict[str, Any] = {}
    for name, analyser in analysers.items():
        references = [embedding_in(analyser, one.references[0]) for one in people]
        found[name] = compared(references, [embedding_in(analyser, picture) for picture in pictures])
    errors = [points_error(analysers["judge"], p, one.points) for p, one in zip(pictures, people, strict=True)]
    found["no_face"] = sum(error is None for error in errors)
    found["points"] = float(np.median([np.inf if error is None else error for error in errors]))
    shown = [shown_by(seen, picture, one.points) for picture, one in zip(pictures, people, strict=True)]
    for name in CAPTION:
        found[name] = float(np.mean([getattr(a, name) == getattr(b, name) for a, b in zip(shown, captions, strict=True)]))
    found["saturation"] = float(np.mean([cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 1].mean() for p in pictures]))
    return found


def shown_by(seen: Seen, picture: np.ndarray, points: np.ndarray) -> Caption:
    glasses, style = seen.glasses(picture, points), seen.style(picture)
    return Caption(wall=wall(picture), clothes=clothes(picture, points), glasses=glasses, style=style)


def line_of(name: str, found: Mapping[str, Any]) -> str:
    values = [found[who][what] for who in ("judge", "recogniser") for what in ("own", "others", "top1")]
    values += [found[what] for what in ("points", *CAPTION, "saturation")]
    return f"{name:<36}" + "".join(f"{value:>8.2f}" for value in values)


def picture_of(host: DiffusersHost, request: GenerationRequest) -> np.ndarray:
    return np.asarray(host.generate(request).pictures[0].image)


def two_in_one(
    host: DiffusersHost, analysers: Mapping[str, FindsFaces], people: Sequence[Someone], own: Mapping[str, float]
) -> dict[str, Any]:
    """Pictures of two people side by side: how often each face is nearer to its own reference than to the other's. own: a
    person's settings."""
    found: dict[str, list[bool]] = {name: [] for name in analysers}
    for pair in zip(people[::2], people[1::2], strict=False):
        places = [(one.points / SIZE + (side, 0)) * (0.5, 1) for side, one in enumerate(pair)]
        entries = [person_of(one.references[:1], place, **own) for one, place in zip(pair, places, strict=True)]
        settings = settings_from_dict({"enabled": True, "people": entries})
        values = {**REQUEST, "width": 2 * SIZE, "seed": pair[0].number}
        picture = picture_of(host, GenerationRequest(prompt="photo of a person", settings=settings, **values))
        for name, analyser in analysers.items():
            faces = [embedding_in(analyser, half) for half in np.split(picture, 2, axis=1)]
            known = [embedding_in(analyser, one.references[0]) for one in pair]
            found[name] += [bool(faces[k] @ known[k] > faces[k] @ known[1 - k]) for k in range(2)]
    return {name: float(np.mean(right)) for name, right in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=64, help="people of the first lines (64)")
    parser.add_argument("--fewer", type=int, default=16, help="people of each changed setting (16)")
    parser.add_argument("--only", nargs="*", help="beginnings of the names of cases")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of pictures of each case")
    args = parser.parse_args()
    renderer = Renderer()
    host, people, seen = open_small_host(), meet(renderer, args.people), Seen(renderer, SIZE)
    host.pipeline.set_progress_bar_config(disable=True)
    analysers = {"judge": open_judge(), "recogniser": host.sources.analyser}
    wanted = lambda name: not args.only or name.startswith(tuple(args.only))  # noqa: E731
    print(f"{'':<36}{'judge':>24}{'recogniser':>24}\n{'':<36}" + "".join(f"{name:>8}" for name in COLUMNS))
    found: dict[str, Any] = {}
    if wanted(DRAWN):
        found[DRAWN] = measure(analysers, seen, people, [one.other for one in people], [one.shows for one in people])
        print(line_of(DRAWN, found[DRAWN]))
    for case in cases():
        if not wanted(case.name):
            continue
        some = people if case.everyone else people[: args.fewer]
        captions = [caption_of(one, case) for one in some]
        try:
            pictures = [picture_of(host, request_of(one, case)) for one in some]
        except MissingModelFile as error:  # FaceID and IP-Adapter are trained on their own
            print(f"{case.name:<36}{error}")
            continue
        found[case.name] = measure(analysers, seen, some, pictures, captions)
        print(line_of(case.name, found[case.name]), flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            rows = [np.hstack([one.references[0], one.other, p]) for one, p in zip(some[:16], pictures[:16], strict=True)]
            Image.fromarray(np.vstack(rows)).save(args.sheets / f"{case.name}.png")
    for name, own in ((TWO, {}), (f"{TWO}, strengths 1.0", WHOLE)):
        if wanted(name):
            found[name] = two_in_one(host, analysers, people, own)
            print(f"{name}: nearer to themselves than to the other: {found[name]}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
