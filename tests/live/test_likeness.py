"""The small model in a running WebUI: the judge, on which nothing is conditioned, recognises the person of the photo.

The WebUI is started on the small model, as one file, with its files of InstantID; the README says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lib_instantid.encoders.face.analyser import FaceAnalyser
from lib_instantid.encoders.face.faces import Face
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.hosts.diffusers.small_model import GUIDANCE_SCALE, PEOPLE, SIZE, STEPS
from tests.live.webui import Answer, WebUI, encoded

pytestmark = pytest.mark.small

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
FRONT = np.array([[0.4, 0.47], [0.6, 0.47], [0.5, 0.58], [0.425, 0.68], [0.575, 0.68]])
"""Five points of a face from the front, as fractions of a square."""


def someone(number: int, points: np.ndarray = FRONT) -> dict[str, Any]:
    photo = encoded(read_picture(PEOPLE[number], "photo"))
    return {"photos": [photo], "keypoints": points.tolist()}


def made(webui: WebUI, people: Sequence[dict[str, Any]], task: str = "txt2img", **request: Any) -> Answer:
    values = {"steps": STEPS, "width": SIZE, "height": SIZE, "cfg_scale": GUIDANCE_SCALE, "seed": 3, **request}
    values |= {"scheduler": "SGM Uniform"}
    prompt = "photo of a person, blue background, white shirt"
    return webui.guided({"people": list(people), "face_region": "everywhere"}, task, prompt=prompt, **values)


def faces_in(judge: FaceAnalyser, answer: Answer) -> list[Face]:
    return sorted(judge.faces(answer.picture.astype(np.uint8)), key=lambda face: face.keypoints[:, 0].mean())


def nearest(references: np.ndarray, face: Face) -> int:
    return int((references @ face.embedding).argmax())


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_txt2img_is_of_the_person(webui: WebUI, judge: FaceAnalyser, references: np.ndarray, number: int) -> None:
    (face,) = faces_in(judge, made(webui, [someone(number)]))
    assert nearest(references, face) == number


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_img2img_of_another_persons_picture_is_of_the_person(
    webui: WebUI, judge: FaceAnalyser, references: np.ndarray, number: int
) -> None:
    other = encoded(read_picture(PEOPLE[number + 4], "photo"))
    answer = made(webui, [someone(number)], "img2img", init_images=[other], denoising_strength=0.85)
    (face,) = faces_in(judge, answer)
    assert nearest(references, face) == number


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_hires_fix_is_of_the_person(webui: WebUI, judge: FaceAnalyser, references: np.ndarray, number: int) -> None:
    own = {"hr_cfg": GUIDANCE_SCALE} if webui.forge else {}  # Forge's second pass has a CFG of its own
    (face,) = faces_in(judge, made(webui, [someone(number)], **HIRES, **own))
    assert nearest(references, face) == number


@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (3, 0)])
def test_two_people_are_each_where_they_were_placed(
    webui: WebUI, judge: FaceAnalyser, references: np.ndarray, pair: tuple[int, int]
) -> None:
    people = [someone(number, FRONT * (0.5, 1) + (0.5 * side, 0)) for side, number in enumerate(pair)]
    faces = faces_in(judge, made(webui, people, width=2 * SIZE))
    assert len(faces) == 2
    for face, own, other in zip(faces, pair, reversed(pair), strict=True):
        assert references[own] @ face.embedding > references[other] @ face.embedding
