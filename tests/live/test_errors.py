"""What is wrong in a request is answered with a sentence that names it, never with a picture without the person."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from tests.encoders.face.scenes import squares
from tests.live.webui import NO_FACE, PHOTO, Answer, WebUI, encoded, noise_picture, person

TEXT = base64.b64encode(b"this is no picture, only a sentence of some length").decode()
TRUNCATED = base64.b64encode(base64.b64decode(encoded(noise_picture()))[:2000]).decode()
BLACK = encoded(np.zeros((200, 200), dtype=np.uint8))


def one(**values: Any) -> dict[str, Any]:
    return {"people": [person(**values)]}


WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "base64 of no picture": (one(photos=[TEXT]), ("people[1].photos[1]",)),
    "not base64": (one(photos=["%%% no base64 %%%"]), ("people[1].photos[1]", "base64")),
    "truncated PNG": (one(photos=[TRUNCATED]), ("people[1].photos[1]",)),
    "empty picture": (one(photos=[""]), ("people[1].photos[1]",)),
    "null picture": (one(photos=[None]), ("people[1].photos[1]",)),
    "number as picture": (one(photos=[5]), ("people[1].photos[1]",)),
    "data URL without base64": (one(photos=["data:image/png,abc"]), ("people[1].photos[1]", "base64")),
    "photos null": (one(photos=None), ("people[1].photos",)),
    "photos a text": (one(photos=PHOTO), ("people[1].photos",)),
    "no photos": (one(photos=[]), ("people[1]", "photos", "identity")),
    "seventeen photos": (one(photos=[PHOTO] * 17), ("photos", "17", "16")),
    "no face": (one(photos=[NO_FACE]), ("people[1].photos[1]", "no face")),
    "second photo without a face": (one(photos=[PHOTO, NO_FACE]), ("people[1].photos[2]", "no face")),
    "second person without a face": ({"people": [person(), person(photos=[NO_FACE])]}, ("people[2].photos[1]", "no face")),
    "no face in the pose picture": (one(pose="pose picture", pose_picture=NO_FACE), ("people[1].pose_picture", "no face")),
    "truncated pose picture": (one(pose="pose picture", pose_picture=TRUNCATED), ("people[1].pose_picture",)),
    "pose picture a list": (one(pose="pose picture", pose_picture=[PHOTO]), ("people[1].pose_picture",)),
    "no pose picture": (one(pose="pose picture"), ("people[1].pose_picture",)),
    "a face that is not there": (one(face=5), ("people[1].photos[1]",)),
    "a face that is no word": (one(face="prettiest"), ("people[1].face", "largest")),
    "keypoints in pixels": (one(pose="keypoints", keypoints=[[50, 50]] * 5), ("people[1].keypoints",)),
    "four keypoints": (one(pose="keypoints", keypoints=[[0.5, 0.5]] * 4), ("people[1].keypoints",)),
    "unknown identity": ({"people": [{"identity": "nobody-has-this", "pose": "none"}]}, ("nobody-has-this",)),
    "identity a path": ({"people": [{"identity": "../../config", "pose": "none"}]}, ("identity",)),
    "identity a number": ({"people": [{"identity": 5, "pose": "none"}]}, ("people[1].identity",)),
    "photos and identity": (one(identity="me"), ("people[1]", "photos", "identity")),
    "path not allowed": (one(photos=["/etc/hostname.png"]), ("people[1].photos[1]", "/etc/hostname.png")),
    "relative path not allowed": (one(photos=["../config.json"]), ("people[1].photos[1]",)),
    "black region": ({"face_region": "mask", **one(region=BLACK)}, ("people[1].region",)),
    "no region": ({"face_region": "mask", **one()}, ("people[1].region",)),
    "unknown setting": ({**one(), "wieght": 1}, ("wieght",)),
    "unknown setting of a person": (one(strength=1), ("people[1].strength",)),
    "strength too high": (one(adapter_strength=5.0), ("people[1].adapter_strength", "5.0", "1.5")),
    "strength negative": (one(identitynet_strength=-1), ("people[1].identitynet_strength", "-1")),
    "strength a text": (one(adapter_strength="abc"), ("people[1].adapter_strength", "abc")),
    "strength null": (one(adapter_strength=None), ("people[1].adapter_strength",)),
    "strength true": (one(adapter_strength=True), ("people[1].adapter_strength",)),
    "start above end": ({**one(), "adapter_start": 0.9, "adapter_end": 0.1}, ("adapter_start", "0.9", "0.1")),
    "end above 1": ({**one(), "identitynet_end": 50}, ("identitynet_end", "50")),
    "unknown control mode": ({**one(), "control_mode": "ControlNet"}, ("control_mode", "balanced")),
    "unknown hires word": ({**one(), "hires": "High res only"}, ("hires", "second pass")),
    "enabled a text": ({**one(), "enabled": "yes"}, ("enabled",)),
    "no people": ({"people": []}, ("people",)),
    "no settings at all": ({}, ("people",)),
    "people a text": ({"people": "me"}, ("people",)),
    "people an object": ({"people": person()}, ("people",)),
    "people null": ({"people": None}, ("people",)),
    "a person a text": ({"people": ["me"]}, ("people[1]",)),
    "five people": ({"people": [person()] * 5}, ("people", "5", "4")),
    "two people with free heads": ({"people": [person(pose="none"), person(pose="none")]}, ("people[1].pose",)),
    "not implemented in a WebUI: rescale": ({**one(), "cfg_rescale": 2}, ("cfg_rescale",)),
    "candidates": ({**one(), "best_of": 0}, ("best_of",)),
}


def check_refused(answer: Answer, words: tuple[str, ...]) -> None:
    assert answer.status in (422, 500), f"HTTP {answer.status}, expected a refusal"
    assert not answer.files
    for word in words:
        assert word in answer.message
    assert "internal error" not in answer.message
    assert "Traceback" not in answer.message


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_by_name_and_the_next_one_works(webui: WebUI, guided: Answer, name: str) -> None:
    settings, words = WRONG[name]
    check_refused(webui.attempt(settings), words)
    assert webui.guided().files == guided.files


@pytest.mark.parametrize("name", ["base64 of no picture", "no face", "unknown setting", "strength too high"])
def test_img2img_refuses_what_txt2img_refuses(webui: WebUI, name: str) -> None:
    settings, words = WRONG[name]
    start = {"init_images": [encoded(noise_picture())], "denoising_strength": 0.6}
    check_refused(webui.attempt(settings, "img2img", **start), words)


@pytest.mark.parametrize("name", ["no face", "unknown setting"])
def test_a_wrong_request_is_refused_where_only_the_second_pass_would_have_used_it(webui: WebUI, name: str) -> None:
    settings, words = WRONG[name]
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    check_refused(webui.attempt({**settings, "hires": "second pass"}, **hires), words)


ARGUMENTS: dict[str, Any] = {
    "a text": "me",
    "an object": {"people": [person()]},
    "a text in a list": ["me"],
    "a number in a list": [5],
    "a list in a list": [[person()]],
    "true alone": [True],
    "an object and more": [{"people": [person()], "nonsense": 1}, 3],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_another_shape_are_refused(webui: WebUI, plain: Answer, name: str) -> None:
    """The WebUI itself refuses arguments that are no list."""
    answer = webui.ask("txt2img", {}, {"InstantID": ARGUMENTS[name]})
    assert answer.status in (422, 500), (
        f"HTTP {answer.status}, and {'the plain' if answer.files == plain.files else 'a'} picture"
    )


@pytest.mark.parametrize(
    "settings", [{"enabled": False}, {"enabled": False, "people": [person()]}], ids=["alone", "with people"]
)
def test_off_is_off(webui: WebUI, plain: Answer, settings: dict) -> None:
    assert webui.attempt(settings).files == plain.files


def test_positional_values_are_read_like_the_object(webui: WebUI, guided: Answer, plain: Answer) -> None:
    """What the page sends: its switch, and the text of the object."""
    text = json.dumps({"people": [person()]})
    positional = webui.ask("txt2img", {}, {"InstantID": [True, text]})
    assert positional.status == 200, positional.message
    assert np.array_equal(positional.picture, guided.picture)
    assert webui.ask("txt2img", {}, {"InstantID": [False, text]}).files == plain.files


def test_positional_values_that_are_wrong_are_refused_in_the_words_of_the_page_which_sends_them(webui: WebUI) -> None:
    text = json.dumps({"people": [person(adapter_strength=7.0)]})
    check_refused(webui.ask("txt2img", {}, {"InstantID": [True, text]}), ("Person 1, detail", "7.0"))


def test_a_photo_whose_face_is_small_is_used_with_advice_in_the_answer(webui: WebUI) -> None:
    """What the person should know stands in the answer's info, not only in the page."""
    answer = webui.guided({"people": [person(photos=[encoded(squares(300, 200, [(90, 60, 40)]))])]})
    assert "InstantID" in str(answer.info)
