"""How well results follow a ControlNet's map, by the small model, on people that it never saw.

    .training/bin/python -m benchmarks.controls [--people 16] [--json FILE] [--sheets FOLDER]

Each map is of a drawn picture of one person; with InstantID beside the ControlNet, the face is of another person, and its
points are where the map's head is. There is no network here that estimates depth, so what is measured of it is what a map of
depth surely decides: which pixels are the person's, and where the head is.

    edges     F-score of the edges found again in the result, where 2 px away is the same place
    order     of pairs of a pixel of the person and one of the wall, how many a result's colours order rightly: the person's
              differs more from the colour in the upper corners
    outline   intersection over union of the person in the map and in the result
    head      median distance of the five points from the map's, as a fraction of the distance of the eyes
    likeness  to the face given to InstantID, as the judge sees it
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.faces import embedding_in, points_error
from lib_instantid.adapters.controlnet.maps import CANNY, canny
from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.hosts.diffusers.small_model import REQUEST, SIZE, open_judge

if TYPE_CHECKING:
    from lib_instantid.encoders.face.similarity import FindsFaces
    from lib_instantid.hosts.diffusers.request import GenerationRequest

FIRST = 1_000_300
"""The first number of the people that are measured."""

TOLERANCE = 2
"""Pixels that an edge may be away."""

CORNER = 24
DIFFERENT = 60.0
"""Side of the corners that tell the wall's colour, in pixels, and the distance in RGB from it that is the person's. With it the
outline of drawn pictures is found best."""

KINDS = ("edges", "depth")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
COLUMNS = ("edges", "order", "outline", "head", "likeness")


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """A picture to place somebody as in it. face, picture: (H, W, 3) uint8 RGB, of two people. depth: (H, W) uint8. points:
    (5, 2) XY px of the face in `picture`."""

    number: int
    face: np.ndarray
    picture: np.ndarray
    depth: np.ndarray
    points: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line of the table. kind: of the map."""

    kind: str
    strength: float
    instantid: bool

    @property
    def name(self) -> str:
        return f"{self.kind} {self.strength}" + (" with InstantID" if self.instantid else "")


def places(count: int) -> list[Place]:
    """What the results are asked for."""
    from training.people import Renderer, make_view

    renderer, found = Renderer(), []
    for number in range(FIRST, FIRST + count):
        person, other = renderer.person(number), renderer.person(number + 500)
        face, _ = renderer.render(other, make_view(0, other), SIZE)
        view = make_view(1, person)
        picture, points = renderer.render(person, view, SIZE)
        depth = renderer.depth(person, view, SIZE)
        found.append(Place(number=number, face=face, picture=picture, depth=depth, points=points))
    return found


def request_of(place: Place, case: Case) -> GenerationRequest:
    from lib_instantid.hosts.diffusers.request import GenerationRequest

    picture = place.picture if case.kind == "edges" else np.repeat(place.depth[..., None], 3, axis=2)
    drawn_by = {"preprocessor": CANNY} if case.kind == "edges" else {"map": "depth"}
    control = {"picture": Image.fromarray(picture), "strength": case.strength, **drawn_by}
    settings: dict[str, Any] = {"enabled": True, "controls": [control]}
    if case.instantid:
        points = (place.points / SIZE).tolist()
        person = {"photos": [Image.fromarray(place.face)], "keypoints": points}
        settings |= {"people": [person], "face_region": "everywhere"}
    return GenerationRequest(
        prompt="photo of a person, blue background, white shirt",
        settings=settings_from_dict(settings),
        seed=place.number,
        **REQUEST,
    )


def edges_of(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool."""
    return canny(picture, Control.low, Control.high)[..., 0] > 0


def edges_again(wanted: np.ndarray, found: np.ndarray) -> float:
    """F-score. wanted, found: (H, W) bool."""
    if not wanted.any() or not found.any():
        return float(wanted.any() == found.any())
    precision, recall = near(found, wanted), near(wanted, found)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def near(edges: np.ndarray, others: np.ndarray) -> float:
    """The part of the edges that has one of the others within `TOLERANCE`."""
    away = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((away[edges] <= TOLERANCE).mean())


def from_wall(picture: np.ndarray) -> np.ndarray:
    """(H, W) distance in RGB from the nearer colour of the two upper corners."""
    corners = (picture[:CORNER, :CORNER], picture[:CORNER, -CORNER:])
    colours = [np.median(corner.reshape(-1, 3), axis=0) for corner in corners]
    return np.min([np.linalg.norm(picture - colour, axis=2) for colour in colours], axis=0)


def ordered(person: np.ndarray, distance: np.ndarray) -> float:
    """Of all pairs of a pixel of the person and one of the wall, the part in which the person's is more distant.

    person: (H, W) bool. distance: (H, W).
    """
    if person.all() or not person.any():
        return 0.5
    wall = np.sort(distance[~person])
    below = np.searchsorted(wall, distance[person], "left") + np.searchsorted(wall, distance[person], "right")
    return float(below.mean() / 2 / len(wall))


def outline(wanted: np.ndarray, found: np.ndarray) -> float:
    """Intersection over union of (H, W) bool."""
    return float((wanted & found).sum() / max(1, (wanted | found).sum()))


def measure(judge: FindsFaces, asked: Sequence[Place], pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """The means of what each picture reaches, and the number of pictures without a face."""
    pairs = list(zip(asked, pictures, strict=True))
    mean = lambda of: float(np.mean([of(place, picture) for place, picture in pairs]))  # noqa: E731
    errors = [points_error(judge, picture, place.points) for place, picture in pairs]
    return {
        "edges": mean(lambda place, picture: edges_again(edges_of(place.picture), edges_of(picture))),
        "order": mean(lambda place, picture: ordered(place.depth > 0, from_wall(picture))),
        "outline": mean(lambda place, picture: outline(place.depth > 0, from_wall(picture) > DIFFERENT)),
        "head": float(np.median([np.inf if error is None else error for error in errors])),
        "likeness": mean(lambda place, picture: embedding_in(judge, place.face) @ embedding_in(judge, picture)),
        "no_face": sum(error is None for error in errors),
    }


def line_of(name: str, found: Mapping[str, float]) -> str:
    return f"{name:<28}" + "".join(f"{found[column]:>10.2f}" for column in COLUMNS)


def sheet(asked: Sequence[Place], pictures: Sequence[np.ndarray], kind: str) -> Image.Image:
    """A row for each: the face, the picture, its map, the result."""
    map_of: Callable[[Place], np.ndarray] = lambda place: edges_of(place.picture) * 255 if kind == "edges" else place.depth  # noqa: E731
    three = lambda channel: np.repeat(channel[..., None], 3, axis=2).astype(np.uint8)  # noqa: E731
    rows = [[place.face, place.picture, three(map_of(place)), picture] for place, picture in zip(asked, pictures, strict=True)]
    return Image.fromarray(np.vstack([np.hstack(row) for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of pictures of each case")
    args = parser.parse_args()
    from lib_instantid.commands.generate import open_small_host

    host, judge, asked = open_small_host(), open_judge(), places(args.people)
    host.pipeline.set_progress_bar_config(disable=True)
    print(f"{'':<28}" + "".join(f"{column:>10}" for column in COLUMNS))
    found = {"the drawn pictures": measure(judge, asked, [place.picture for place in asked])}
    print(line_of("the drawn pictures", found["the drawn pictures"]))
    for case in [Case(kind=k, strength=s, instantid=i) for k in KINDS for i in (False, True) for s in STRENGTHS]:
        pictures = [np.asarray(host.generate(request_of(place, case)).pictures[0].image) for place in asked]
        found[case.name] = measure(judge, asked, pictures)
        print(line_of(case.name, found[case.name]), flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            sheet(asked, pictures, case.kind).save(args.sheets / f"{case.name}.png")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
