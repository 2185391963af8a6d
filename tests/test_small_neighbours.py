"""The small model's FaceID, IP-Adapter and ControlNets do what they are for, on people whom they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.controls import DIFFERENT, edges_again, edges_of, from_wall, outline
from benchmarks.faces import compared, embedding_in
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.encoders.face.analyser import FaceAnalyser
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.small_model import PEOPLE, REQUEST

PROMPT = "photo of a person, blue background, white shirt"
PHOTOS = [read_picture(path, "photo") for path in PEOPLE]


def made(host: DiffusersHost, seed: int, **settings: Any) -> np.ndarray:
    given = settings_from_dict({"enabled": True, **settings})
    return np.asarray(host.generate(GenerationRequest(prompt=PROMPT, settings=given, seed=seed, **REQUEST)).pictures[0].image)


def followed(
    host: DiffusersHost, maps: Sequence[np.ndarray], score: Callable[[int, np.ndarray], float], **control: Any
) -> list[float]:
    """The mean score of the results without a control and with it. score: of the number of a map and its result."""
    found = []
    for strength in (0.0, 1.0):
        controls = [{"picture": Image.fromarray(one), "strength": strength, **control} for one in maps]
        found.append(float(np.mean([score(i, made(host, i, controls=[one])) for i, one in enumerate(controls)])))
    return found


def test_a_result_has_the_edges_of_a_controls_picture(small_host: DiffusersHost) -> None:
    wanted = [edges_of(photo) for photo in PHOTOS[:4]]
    without, full = followed(
        small_host, PHOTOS[:4], lambda i, picture: edges_again(wanted[i], edges_of(picture)), preprocessor="canny"
    )
    assert without < 0.25
    assert full > 0.5


def test_a_result_has_the_outline_of_a_map_of_depth(small_host: DiffusersHost) -> None:
    people = [from_wall(photo) > DIFFERENT for photo in PHOTOS[:4]]
    maps = [np.repeat(np.uint8(200) * person[..., None], 3, axis=2) for person in people]
    without, full = followed(
        small_host, maps, lambda i, picture: outline(people[i], from_wall(picture) > DIFFERENT), map="depth"
    )
    assert without < 0.75
    assert full > 0.85


def test_faceids_people_are_more_like_themselves_than_like_others(
    small_host: DiffusersHost, judge: FaceAnalyser, references: np.ndarray
) -> None:
    people = [{"photos": [Image.fromarray(photo)], "system": "FaceID"} for photo in PHOTOS]
    found = compared(
        list(references), [embedding_in(judge, made(small_host, seed, people=[one])) for seed, one in enumerate(people)]
    )
    assert found["own"] > found["others"] + 0.1, found


def test_a_picture_as_prompt_gives_the_colour_of_its_face(small_host: DiffusersHost) -> None:
    prompts = [{"pictures": [Image.fromarray(photo)], "strength": 1.0} for photo in PHOTOS]
    results = [made(small_host, 3, image_prompts=[one]) for one in prompts]
    assert np.corrcoef(*[[brightness(one) for one in pictures] for pictures in (PHOTOS, results)])[0, 1] > 0.9


def brightness(picture: np.ndarray) -> float:
    """Of the middle, where the face is."""
    height, width = picture.shape[:2]
    return float(picture[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8].mean())
