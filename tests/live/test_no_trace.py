"""After whatever happened, the next pictures are what they were before. Each test is followed by the check in conftest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.live.webui import EFFECT, Answer, WebUI, difference, encoded, noise_picture, person

CALLBACKS = (
    *("before_process", "process", "before_process_batch", "process_batch", "process_before_every_sampling"),
    *("post_sample", "postprocess_batch", "postprocess_image", "postprocess"),
)
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}


def test_plain_pictures_stay_the_same_to_the_byte_between_guided_ones(webui: WebUI, plain: Answer, guided: Answer) -> None:
    for _ in range(2):
        assert webui.plain().files == plain.files
        assert webui.guided().files == guided.files


@pytest.mark.parametrize("stop", ["interrupt", "skip"])
@pytest.mark.parametrize("request_", [{}, {"n_iter": 2}, HIRES], ids=["one", "two batches", "hires"])
def test_a_stopped_generation_leaves_nothing(webui: WebUI, guided: Answer, stop: str, request_: dict) -> None:
    thread, answers = webui.in_background(lambda: webui.attempt({"people": [person()]}, **{**request_, "steps": 60}))
    webui.wait_for_step(3)
    webui.post(f"sdapi/v1/{stop}")
    thread.join()
    assert answers[0].status == 200, answers[0].message
    assert webui.guided().files == guided.files


@pytest.mark.parametrize("callback", CALLBACKS)
def test_another_script_that_raises_changes_nothing(webui: WebUI, guided: Answer, plain: Answer, callback: str) -> None:
    assert webui.guided(probe={"raise_in": callback}).files == guided.files
    assert webui.plain(probe={"raise_in": callback}).files == plain.files


@pytest.mark.parametrize("request_", [{}, HIRES], ids=["one pass", "hires"])
@pytest.mark.parametrize("call", [1, 3, 4])
def test_an_error_inside_sampling_leaves_nothing(
    webui: WebUI, guided: Answer, plain: Answer, call: int, request_: dict
) -> None:
    """As when the GPU's memory is full: the WebUI then calls no `postprocess`."""
    if call == 4 and not request_:
        return  # one pass has three calls
    answer = webui.attempt({"people": [person()]}, probe={"fail_in_unet": call}, **request_)
    assert answer.status == 500
    assert "the probe lets the UNet fail" in str(answer.body)
    assert webui.plain().files == plain.files
    assert webui.guided().files == guided.files


@pytest.mark.parametrize("method", ["host.attach", "host.place"])
def test_an_error_of_our_own_is_told_and_leaves_nothing(webui: WebUI, guided: Answer, plain: Answer, method: str) -> None:
    answer = webui.attempt({"people": [person()]}, probe={"break": method})
    assert answer.status in (422, 500)
    assert "the probe breaks" in answer.message
    assert webui.plain().files == plain.files
    assert webui.guided().files == guided.files


def test_two_requests_at_once_are_each_what_they_are_alone(webui: WebUI, plain: Answer, guided: Answer) -> None:
    started = [webui.in_background(action) for action in (webui.guided, webui.plain, lambda: webui.guided(seed=2), webui.plain)]
    answers = []
    for thread, answer in started:
        thread.join()
        answers += answer
    assert len(answers) == 4
    assert answers[0].files == guided.files
    assert answers[1].files == answers[3].files == plain.files
    assert answers[2].files == webui.guided(seed=2).files


def test_both_tabs_share_without_mixing(webui: WebUI, guided: Answer) -> None:
    start = {"init_images": [encoded(noise_picture())], "denoising_strength": 0.6}
    before = webui.guided(task="img2img", **start)
    assert webui.guided().files == guided.files
    assert webui.guided(task="img2img", **start).files == before.files
    assert difference(before.picture, webui.plain("img2img", **start).picture) > EFFECT / 4


@pytest.mark.page
def test_a_ui_reload_leaves_nothing(webui: WebUI, plain: Answer, guided: Answer, tmp_path: Path) -> None:
    webui.reload_page(tmp_path / "reloaded")
    assert webui.plain().files == plain.files
    assert webui.guided().files == guided.files


@pytest.mark.page
def test_a_ui_reload_during_a_generation_leaves_nothing(webui: WebUI, plain: Answer, guided: Answer, tmp_path: Path) -> None:
    thread, _ = webui.in_background(lambda: webui.attempt({"people": [person()]}, steps=60))
    webui.wait_for_step(3)
    webui.reload_page(tmp_path / "reloaded")
    thread.join()
    assert webui.plain().files == plain.files
    assert webui.guided().files == guided.files


def test_unloading_the_checkpoint_and_loading_it_again_leaves_nothing(webui: WebUI, guided: Answer) -> None:
    webui.post("sdapi/v1/unload-checkpoint")
    webui.post("sdapi/v1/reload-checkpoint")
    assert np.array_equal(webui.guided().picture, guided.picture)
