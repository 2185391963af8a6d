"""The small model that is shipped makes the person of the photo, with the head where the points say.

Eight people, none of whom it was trained on. The judge, a recogniser on which nothing is conditioned, compares each picture
with all eight photos. Faults put in on purpose show that the check is strict enough to find them; one that lies in the
unconditional row alone cannot show here, where CFG is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from lib_instantid.adapters.instantid import prepare
from lib_instantid.commands.demo import Scene, request_of
from lib_instantid.encoders.face.analyser import FaceAnalyser
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.small_model import PEOPLE, SMALL_MODEL
from lib_instantid.networks.adapter import PromptTokens
from lib_instantid.networks.controlnet import ControlNet, Residuals

TURNS = ((0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 0, 12), (0, 0, -12), (15, 5, 8), (-15, 5, -8), (10, -5, 0))
"""Yaw, pitch and roll in degrees, one for each person."""

FARTHEST = 0.25
"""Mean distance of the five points from where they were asked for, as a fraction of the distance between the eyes."""

LIMITS = {"FaceID and IP-Adapter": 12_000_000, "ControlNets": 10_000_000, "everything else": 30_000_000}
"""Of the files' bytes."""


def part_of(path: Path) -> str:
    """Of LIMITS, by where a file lies in the small model's folder."""
    first = path.relative_to(SMALL_MODEL).parts[0]
    if first.startswith("ControlNet-"):
        return "ControlNets"
    return "FaceID and IP-Adapter" if first.startswith("ip-adapter-") or first == "image_encoder" else "everything else"


def wrong(host: DiffusersHost, judge: FaceAnalyser, references: np.ndarray, number: int) -> str:
    """What is wrong with the picture of a person, in words; empty if nothing is."""
    request = request_of(Scene(prompt="photo of a person, blue background, white shirt", turn=TURNS[number]), PEOPLE[number])
    picture = np.asarray(host.generate(replace(request, seed=number)).pictures[0].image)
    faces = judge.faces(picture)
    if not faces:
        return f"person {number}: no face"
    wanted = np.array(request.settings.people[0].keypoints) * picture.shape[0]
    distance = np.linalg.norm(faces[0].keypoints - wanted, axis=1).mean() / np.linalg.norm(wanted[1] - wanted[0])
    if distance > FARTHEST:
        return f"person {number}: the points are {distance:.2f} away"
    cosines = references @ faces[0].embedding / np.linalg.norm(faces[0].embedding)
    return "" if cosines.argmax() == number else f"person {number}: nearest to {cosines.argmax()}, {cosines.round(2)}"


def test_each_of_eight_people_is_nearest_to_their_own_photo_with_the_head_where_the_points_say(
    small_host: DiffusersHost, judge: FaceAnalyser, references: np.ndarray
) -> None:
    assert [text for number in range(len(PEOPLE)) if (text := wrong(small_host, judge, references, number))] == []


Fault = Callable[[], Any]
"""Makes a patch that puts a fault into how InstantID is prepared or run."""


def normalised_embedding() -> Any:
    make = prepare._face_tokens
    return patch.object(prepare, "_face_tokens", lambda adapter, one, noise: make(adapter, one / np.linalg.norm(one), noise))


def mirrored_points() -> Any:
    draw = prepare.draw_keypoints
    return patch.object(prepare, "draw_keypoints", lambda points, w, h: draw((w, 0) + points * (-1, 1), w, h))


def map_in_bgr() -> Any:
    draw = prepare.draw_keypoints
    return patch.object(prepare, "draw_keypoints", lambda *given: draw(*given)[..., ::-1].copy())


def layers_numbered_wrongly() -> Any:
    """Each cross-attention has the layers of the next one of its width."""
    make = prepare._face_tokens

    def changed(*given: Any) -> PromptTokens:
        made = make(*given)
        pairs = list(made.keys_values.values())
        moved = rolled(pairs, lambda pair: pair.key.shape)
        return PromptTokens(tokens=made.tokens, keys_values=dict(zip(made.keys_values, moved, strict=True)))

    return patch.object(prepare, "_face_tokens", changed)


def residuals_of_the_wrong_place() -> Any:
    """Each place of the UNet has the residual of the next one of its shape."""
    forward = ControlNet.forward

    def changed(*given: Any) -> Residuals:
        made = forward(*given)
        return Residuals(down=tuple(rolled(list(made.down), lambda one: one.shape)), middle=made.middle)

    return patch.object(ControlNet, "forward", changed)


def rolled(values: list[Any], kind: Callable[[Any], Any]) -> list[Any]:
    """The values, those of each kind moved on by one."""
    places = [[i for i, value in enumerate(values) if kind(value) == own] for own in dict.fromkeys(map(kind, values))]
    source = {i: same[k - 1] for same in places for k, i in enumerate(same)}
    return [values[source[i]] for i in range(len(values))]


FAULTS = (
    normalised_embedding,
    mirrored_points,
    map_in_bgr,
    layers_numbered_wrongly,
    residuals_of_the_wrong_place,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_finds_a_fault(small_host: DiffusersHost, judge: FaceAnalyser, references: np.ndarray, fault: Fault) -> None:
    with fault():
        assert any(wrong(small_host, judge, references, number) for number in range(len(PEOPLE)))


def test_its_files_are_small_and_have_a_model_card() -> None:
    sizes = dict.fromkeys(LIMITS, 0)
    for path in filter(Path.is_file, SMALL_MODEL.rglob("*")):
        sizes[part_of(path)] += path.stat().st_size
    assert [part for part, size in sizes.items() if not 0 < size < LIMITS[part]] == []
    assert "Apache-2.0" in (SMALL_MODEL / "README.md").read_text(encoding="utf-8")
