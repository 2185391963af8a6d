"""Pictures as prompts in the WebUI: alone, beside a person, with everything that a generation may have, and refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lib_instantid.hosts.stand_ins.weights import TOWER, Size, adapter_file, vision_tower
from tests.live.replay import webuis_unet
from tests.live.test_models import FINITE, OTHER_KIND, titles
from tests.live.webui import EFFECT, SIZE, Answer, WebUI, alike, difference, encoded, noise_picture, person

PICTURE, OTHER = encoded(noise_picture(7)), encoded(noise_picture(8))


@pytest.fixture(scope="module", autouse=True)
def _model_files(webui: WebUI) -> Iterator[None]:
    """An IP-Adapter Plus for the WebUI's checkpoint, and a vision tower, while these tests run."""
    folder = webui.folder / "models" / "instantid" / "live-image-prompts"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    unet = webuis_unet(webui)
    context = int(unet.config.cross_attention_dim)
    torch.save(adapter_file(Size(text=(context - 8, 8), resampler=64), unet, features=TOWER), folder / "plus.bin")
    vision_tower().save_pretrained(folder / "image_encoder")
    yield
    shutil.rmtree(folder)


def prompt(**values: Any) -> dict[str, Any]:
    return {"image_prompts": [{"pictures": [PICTURE], **values}]}


def made(webui: WebUI, settings: dict[str, Any], **request: Any) -> Answer:
    answer = webui.attempt(settings, **request)
    assert answer.status == 200, answer.message
    return answer


def test_they_act_repeat_and_leave_no_trace(webui: WebUI, plain: Answer) -> None:
    found = made(webui, prompt())
    assert difference(found.picture, plain.picture) > EFFECT
    assert alike(made(webui, prompt()).picture, found.picture)
    assert alike(webui.plain().picture, plain.picture)
    assert "image_prompts" in found.info["infotexts"][0]


def test_strength_0_is_the_plain_picture(webui: WebUI, plain: Answer) -> None:
    assert alike(made(webui, prompt(strength=0.0)).picture, plain.picture)


def test_what_they_give_how_strongly_when_and_where_matters(webui: WebUI) -> None:
    base = made(webui, prompt()).picture
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, : SIZE // 2] = 255
    for change in ({"layers": "style"}, {"strength": 0.2}, {"start": 0.4}, {"region": encoded(half)}, {"pictures": [OTHER]}):
        assert difference(made(webui, prompt(**change)).picture, base) > EFFECT / 10, change


def test_beside_a_person_both_act(webui: WebUI, guided: Answer) -> None:
    both = made(webui, {"people": [person()], **prompt()})
    assert difference(both.picture, guided.picture) > EFFECT
    assert difference(both.picture, made(webui, prompt()).picture) > EFFECT


def test_in_every_row_of_a_batch_and_joined_or_separate(webui: WebUI) -> None:
    one = made(webui, prompt()).picture
    batch = made(webui, prompt(), batch_size=2)
    assert difference(batch.pictures[0], one) < 0.05
    separate = made(webui, prompt(), override_settings={"batch_cond_uncond": False})
    assert difference(separate.picture, one) < 0.05
    joined = made(webui, prompt(), prompt="a cat AND a dog")
    assert difference(joined.picture, webui.plain(prompt="a cat AND a dog").picture) > EFFECT


def test_in_img2img_and_both_passes_of_the_hires_fix(webui: WebUI) -> None:
    img2img = {"init_images": [encoded(noise_picture(1))], "denoising_strength": 0.8}
    plain = webui.plain("img2img", **img2img)
    assert difference(made(webui, prompt(), task="img2img", **img2img).picture, plain.picture) > EFFECT / 4
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    both, first = made(webui, prompt(), **hires), made(webui, {**prompt(), "hires": "first pass"}, **hires)
    assert difference(both.picture, first.picture) > EFFECT / 4


def test_a_checkpoint_of_another_kind_and_a_missing_picture_are_refused_by_name(webui: WebUI, plain: Answer) -> None:
    other = titles(webui)[OTHER_KIND[webui.forge]]
    answer = webui.attempt(prompt(), **FINITE, override_settings={"sd_model_checkpoint": other})
    assert answer.status in (422, 500)
    assert "image_prompts[1].model: no IP-Adapter is for the loaded checkpoint" in answer.message
    refused = webui.attempt(prompt(pictures=[]))
    assert refused.status in (422, 500)
    assert "image_prompts[1].pictures: found 0" in refused.message
    assert alike(webui.plain().picture, plain.picture)
