"""Other checkpoints: switched to, as refiner, for the second pass, of another kind; and model files that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.webui import EFFECT, SECOND, Answer, WebUI, alike, difference, person

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
EVERYWHERE = {"face_region": "everywhere"}
OTHER_KIND = {False: "tiny-sd15", True: "tiny-sdxl-c64"}
"""A checkpoint that InstantID does not fit: SD1.5, or on Forge one with another context size."""

FINITE = {"prompt": "x", "seed": 2}
"""With these the small random SD1.5 computes no NaN."""


def titles(webui: WebUI) -> dict[str, str]:
    return {model["model_name"]: model["title"] for model in webui.get("sdapi/v1/sd-models")}


@pytest.fixture
def second(webui: WebUI) -> str:
    return titles(webui)[SECOND]


@pytest.fixture
def other_kind(webui: WebUI) -> str:
    return titles(webui)[OTHER_KIND[webui.forge]]


def test_instantid_acts_in_another_checkpoint_and_in_the_first_one_after_it(webui: WebUI, guided: Answer, second: str) -> None:
    request = {"override_settings": {"sd_model_checkpoint": second}}
    found = webui.guided(**request)
    assert difference(found.picture, webui.plain(**request).picture) > EFFECT / 4
    assert difference(found.picture, guided.picture) > EFFECT
    assert alike(webui.guided().picture, guided.picture)
    assert alike(webui.guided(**request).picture, found.picture)


def test_a_checkpoint_of_another_kind_is_refused_by_name_and_the_next_one_works(
    webui: WebUI, guided: Answer, other_kind: str
) -> None:
    request = {"override_settings": {"sd_model_checkpoint": other_kind}}
    assert webui.plain(**request, **FINITE).files
    answer = webui.attempt({"people": [person()]}, **request)
    assert answer.status in (422, 500)
    assert "SDXL" in answer.message
    assert "internal error" not in answer.message
    assert alike(webui.guided().picture, guided.picture)


@pytest.mark.a1111
def test_a_checkpoint_of_sd15_is_called_so(webui: WebUI, other_kind: str) -> None:
    answer = webui.attempt({"people": [person()]}, override_settings={"sd_model_checkpoint": other_kind})
    assert answer.status == 422
    assert any(word in answer.message for word in ("SD1.5", "SD 1.5", "Stable Diffusion 1"))


def test_instantid_acts_before_and_after_the_switch_to_a_refiner(webui: WebUI, guided: Answer, second: str) -> None:
    request = {"refiner_checkpoint": second, "refiner_switch_at": 0.5, "steps": 4}
    plain, made = webui.plain(**request).picture, webui.guided(EVERYWHERE, **request)
    late = webui.guided({**EVERYWHERE, "adapter_start": 0.5, "identitynet_start": 0.5}, **request).picture
    early = webui.guided({**EVERYWHERE, "adapter_end": 0.5, "identitynet_end": 0.5}, **request).picture
    found = {"plain": plain, "whole": made.picture, "early": early, "late": late}
    for a in found:
        for b in found:
            assert a == b or difference(found[a], found[b]) > 0, f"{a} and {b} are alike"
    assert difference(made.picture, webui.guided(EVERYWHERE, steps=4).picture) > EFFECT / 10
    assert alike(webui.guided(EVERYWHERE, **request).picture, made.picture)
    assert alike(webui.guided().picture, guided.picture)


def test_a_refiner_that_does_not_fit_is_left_out_with_a_comment_in_the_answer(
    webui: WebUI, guided: Answer, other_kind: str
) -> None:
    request = {"refiner_checkpoint": other_kind, "refiner_switch_at": 0.5, "steps": 4, **FINITE}
    plain = webui.plain(**request)
    made = webui.guided(EVERYWHERE, **request)
    assert difference(made.picture, plain.picture) > EFFECT / 10
    assert "left out" in str(made.info), f"nothing about it in {made.info['infotexts']}"
    assert alike(webui.guided().picture, guided.picture)


def test_a_refiner_for_the_second_pass_too(webui: WebUI, second: str) -> None:
    request = {"refiner_checkpoint": second, "refiner_switch_at": 0.5, **HIRES}
    made = webui.guided(EVERYWHERE, **request)
    assert difference(made.picture, webui.plain(**request).picture) > EFFECT / 4
    assert alike(webui.guided(EVERYWHERE, **request).picture, made.picture)


@pytest.mark.parametrize("passes", ["both", "first pass", "second pass"])
def test_instantid_acts_with_another_checkpoint_for_the_second_pass(webui: WebUI, second: str, passes: str) -> None:
    request = {**HIRES, "hr_checkpoint_name": second}
    made = webui.guided({"hires": passes}, **request)
    assert difference(made.picture, webui.plain(**request).picture) > 0.05
    assert alike(webui.guided({"hires": passes}, **request).picture, made.picture)


def test_a_second_passs_checkpoint_of_another_kind_is_refused(webui: WebUI, guided: Answer, other_kind: str) -> None:
    """It would be a picture without the person, where InstantID was meant to act."""
    answer = webui.attempt({"people": [person()]}, **HIRES, hr_checkpoint_name=other_kind)
    assert answer.status in (422, 500)
    assert "SDXL" in answer.message
    assert alike(webui.guided().picture, guided.picture)


@pytest.fixture
def engine(webui: WebUI) -> Iterator[str]:
    """A UNet that runs no blocks, as TensorRT's, is chosen in the settings."""
    webui.post("sdapi/v1/options", {"sd_unet": "[probe] zeros"})
    yield "[probe] zeros"
    webui.post("sdapi/v1/options", {"sd_unet": "Automatic"})
    webui.plain()


@pytest.mark.a1111
def test_an_engine_in_the_unets_place_is_refused_and_the_next_one_works(webui: WebUI, guided: Answer, engine: str) -> None:
    for _ in range(2):
        answer = webui.attempt({"people": [person()]})
        assert answer.status == 422
        assert engine in answer.message
        assert 'SD Unet "None"' in answer.message
    webui.post("sdapi/v1/options", {"sd_unet": "None"})
    assert alike(webui.guided().picture, guided.picture)


@pytest.fixture
def without_face_models(webui: WebUI) -> Iterator[Path]:
    """The face models' folder is out of the way, and all that was loaded is released by the page's button."""
    folder = webui.folder / "models" / "insightface"
    away = webui.folder / "models" / "insightface-away"
    folder.rename(away)
    webui.press("sett_unload_sd_model")
    webui.post("sdapi/v1/reload-checkpoint")
    yield folder
    away.rename(folder)


@pytest.mark.page
def test_missing_files_are_named_and_found_once_they_are_there(webui: WebUI, guided: Answer, without_face_models: Path) -> None:
    """Also shows that the page's "unload checkpoint" releases what InstantID had loaded."""
    answer = webui.attempt({"people": [person()]})
    assert answer.status in (422, 500), "the face models are still loaded after the checkpoint was unloaded"
    for word in ("face detector", "face recogniser", "antelopev2"):
        assert word in answer.message
    away = without_face_models.with_name("insightface-away")
    away.rename(without_face_models)
    try:
        assert alike(webui.guided().picture, guided.picture)
    finally:
        without_face_models.rename(away)
