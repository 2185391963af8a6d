"""Infotext, X/Y/Z axes, likeness and candidates in a running WebUI."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_instantid.webui.infotext import KEY, settings_from_infotext
from lib_instantid.webui.schema import settings_schema
from tests.encoders.face.scenes import GREEN, squares
from tests.live.test_other_scripts import plot
from tests.live.webui import EFFECT, OTHER_PHOTO, PHOTO, ROUNDING, SIZE, Answer, WebUI, difference, encoded, person
from tests.webui.processing import stored

POINTS = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]
SIMILARITY = "InstantID similarity"
SETTINGS: dict[str, dict[str, Any]] = {
    "a photo": {"people": [person(adapter_strength=0.65)], "control_mode": "prompt", "face_region_grow": 0.25},
    "keypoints": {"people": [person(pose="keypoints", keypoints=POINTS)], "adapter_end": 0.9},
    "two people": {"people": [person(), {"photos": [OTHER_PHOTO], "face": "left", "pose": "keypoints", "keypoints": POINTS}]},
    "a free head": {"people": [person(pose="none")], "negative_noise": 0.1, "cfg_rescale": 0.3},
    "points by hand": {"people": [person(photo_keypoints=[POINTS])], "face_region": "everywhere"},
}


def parsed(webui: WebUI, file: bytes) -> dict[str, str]:
    """The WebUI's own reading of a picture's infotext."""
    status, answer = webui.post("sdapi/v1/png-info", {"image": base64.b64encode(file).decode()})
    assert status == 200
    return answer["parameters"]


def from_infotext(webui: WebUI, file: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A picture's settings as this WebUI restores them, with the IdentityNet that made it."""
    text = parsed(webui, file)[KEY]
    (net,) = re.findall("'identitynet_file':'([^']+)'", text)
    return settings_from_infotext(text, stored(Path("nowhere"), net))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_picture_is_made_again_from_its_infotext_and_its_photos(webui: WebUI, name: str) -> None:
    made = webui.guided(SETTINGS[name])
    restored, lost = from_infotext(webui, made.files[0])
    assert len(lost) == len(SETTINGS[name]["people"])
    for one, own in zip(restored["people"], SETTINGS[name]["people"], strict=True):
        one["photos"] = own["photos"]
    assert webui.guided(restored).files == made.files


def test_with_another_photo_the_head_stays_where_it_was(webui: WebUI) -> None:
    made = webui.guided()
    restored, _ = from_infotext(webui, made.files[0])
    (one,) = restored["people"]
    points = np.array(one["keypoints"]) * SIZE
    status, answer = webui.post("instantid/faces", {"photo": PHOTO})
    assert status == 200
    assert points.shape == np.array(answer["faces"][0]["keypoints"]).shape
    stays = webui.guided({"people": [{**one, "photos": [PHOTO], "pose": "keypoints"}], "face_region": "everywhere"})
    exact = webui.guided({"people": [person()], "face_region": "everywhere"})
    assert difference(stays.picture, exact.picture) < ROUNDING


def test_a_picture_without_instantid_has_nothing_of_it_in_its_infotext(webui: WebUI) -> None:
    webui.guided()
    assert not [key for key in parsed(webui, webui.plain().files[0]) if "InstantID" in key]


@pytest.mark.parametrize(
    ("axis", "values", "settings"),
    [
        ("adapter strength", "0.2,0.8", [{"people": [person(adapter_strength=0.2)]}, {}]),
        ("identitynet end", "0.4,1", [{"identitynet_end": 0.4}, {}]),
        ("control mode", "balanced,prompt", [{}, {"control_mode": "prompt"}]),
        ("pose", "photo,none", [{}, {"people": [person(pose="none")]}]),
    ],
)
def test_each_cell_of_an_instantid_axis_is_the_single_picture(
    webui: WebUI, axis: str, values: str, settings: list[dict]
) -> None:
    cells = webui.guided(**plot(webui, f"[InstantID] {axis}", values)).pictures[1:]
    assert len(cells) == len(settings)
    for cell, own in zip(cells, settings, strict=True):
        assert difference(cell, webui.guided(own).picture) < ROUNDING
    assert difference(*cells) > 0.01


def test_two_instantid_axes_act_together(webui: WebUI) -> None:
    request = plot(webui, "[InstantID] adapter strength", "0.2,0.8", ("[InstantID] cfg rescale", "0,0.7"))
    cells = webui.guided(**request).pictures[1:]
    pairs = [(strength, rescale) for rescale in (0.0, 0.7) for strength in (0.2, 0.8)]
    for cell, (strength, rescale) in zip(cells, pairs, strict=True):
        alone = webui.guided({"people": [person(adapter_strength=strength)], "cfg_rescale": rescale})
        assert difference(cell, alone.picture) < ROUNDING


def test_an_axis_of_identities_takes_the_photos_place(webui: WebUI) -> None:
    for name, photo in (("plot one", PHOTO), ("plot two", OTHER_PHOTO)):
        assert webui.post("instantid/identities", {"name": name, "photos": [photo]})[0] == 200
    try:
        cells = webui.guided(**plot(webui, "[InstantID] identity", "plot one,plot two")).pictures[1:]
        poses = {"pose": "pose picture", "pose_picture": PHOTO}
        for cell, name in zip(cells, ("plot one", "plot two"), strict=True):
            alone = webui.guided({"people": [{"identity": name, **poses}]})
            assert difference(cell, alone.picture) < ROUNDING
    finally:
        for name in ("plot one", "plot two"):
            webui.send("DELETE", f"instantid/identities/{name.replace(' ', '%20')}", None, webui.login)


def test_there_is_an_axis_for_each_number_and_choice(webui: WebUI) -> None:
    info = next(s for s in webui.get("sdapi/v1/script-info") if s["name"] == "x/y/z plot" and not s["is_img2img"])
    labels = [label for label in info["args"][0]["choices"] if label.startswith("[InstantID]")]
    assert len(labels) == len(set(labels))
    for name, described in settings_schema()["properties"].items():
        if "minimum" in described or "enum" in described:
            assert f"[InstantID] {name.replace('_', ' ')}" in labels


def measured(webui: WebUI, answer: Answer, photo: str) -> list[str]:
    """The likeness of each picture, by the route."""
    pictures = [encoded(picture.astype(np.uint8)) for picture in answer.pictures]
    status, found = webui.post("instantid/similarity", {"photos": [photo], "pictures": pictures})
    assert status == 200
    return [value if isinstance(value, str) else f"{value:.3f}" for value in found["similarity"]]


def test_each_picture_says_how_like_the_person_it_is(webui: WebUI) -> None:
    answer = webui.guided({"report_similarity": True}, batch_size=2, n_iter=2)
    values = answer.info["extra_generation_params"][SIMILARITY]
    assert values == measured(webui, answer, PHOTO)[-4:]
    found = [parsed(webui, file).get(SIMILARITY) for file in answer.files[-4:]]
    assert found == values


def test_a_face_in_a_result_is_compared(webui: WebUI) -> None:
    """img2img with no strength left to change the picture: the stand-in detector finds the square that is in it."""
    start = encoded(squares(SIZE, SIZE, [(70, 60, 120)], GREEN))
    request = {"init_images": [start], "denoising_strength": 0.05, "steps": 20}
    answer = webui.guided({"report_similarity": True}, "img2img", **request)
    (value,) = answer.info["extra_generation_params"][SIMILARITY]
    assert value == measured(webui, answer, PHOTO)[-1]


@pytest.mark.parametrize("only_best", [False, True])
def test_candidates_come_in_the_order_of_their_likeness(webui: WebUI, only_best: bool) -> None:
    answer = webui.guided({"best_of": 3, "only_best": only_best}, batch_size=2)
    count = 2 if only_best else 6
    assert len(answer.files) == len(answer.info["infotexts"]) == len(answer.info["all_seeds"]) == count
    values = answer.info["extra_generation_params"][SIMILARITY]
    numbers = [-1.0 if value == "no face" else float(value) for value in values]
    assert numbers == sorted(numbers, reverse=True)
    assert values == measured(webui, answer, PHOTO)
    for seed, picture in list(zip(answer.info["all_seeds"], answer.pictures, strict=True))[:2]:
        assert difference(picture, webui.guided(seed=seed).picture) < ROUNDING
    assert len(webui.guided(batch_size=2).info["all_seeds"]) == 2


def test_the_keypoint_maps_are_added_where_that_is_set(webui: WebUI, guided: Answer) -> None:
    made = webui.guided(override_settings={"instantid_show_maps": True})
    assert len(made.files) == len(guided.files) + 1
    assert made.files[0] == guided.files[0]
    assert np.ptp(made.pictures[-1]) == 255
    assert difference(made.pictures[-1], made.picture) > EFFECT


def test_paths_are_refused_where_that_is_set(webui: WebUI) -> None:
    answer = webui.attempt({"people": [person(photos=["/nowhere/a.png"])]}, override_settings={"instantid_allow_paths": False})
    assert answer.status in (422, 500)
    assert "/nowhere/a.png" in answer.message


def test_faces_can_be_analysed_elsewhere_and_what_is_not_there_falls_back(webui: WebUI, guided: Answer) -> None:
    elsewhere = webui.guided(override_settings={"instantid_face_provider": "auto"})
    assert difference(elsewhere.picture, guided.picture) < ROUNDING
