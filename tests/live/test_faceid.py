"""FaceID in the WebUI, on SDXL and on SD1.5: alone, with what a generation may have, beside the other systems, and refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from lib_instantid.hosts.stand_ins.face_models import write_recogniser
from lib_instantid.hosts.stand_ins.weights import TOWER, Size, adapter_file, face_adapter_file, vision_tower
from tests.live.replay import webuis_unet
from tests.live.test_models import FINITE, titles
from tests.live.webui import EFFECT, Answer, WebUI, alike, difference, encoded, noise_picture, person

PICTURE = encoded(noise_picture(7))
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}


@pytest.fixture(scope="module", autouse=True)
def _model_files(webui: WebUI) -> Iterator[None]:
    """FaceID adapters and IP-Adapters for the WebUI's SDXL and for its SD1.5, while these tests run."""
    folder = webui.folder / "models" / "instantid" / "live-faceid"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sd15 = UNet2DConditionModel(block_out_channels=(32, 64, 128, 128), cross_attention_dim=768, attention_head_dim=8)
    for name, unet in (("sdxl", webuis_unet(webui)), ("sd15", sd15)):
        size = Size(text=(int(unet.config.cross_attention_dim) - 8, 8), resampler=64)
        torch.save(face_adapter_file(size, unet), folder / f"faceid-{name}.bin")
        torch.save(adapter_file(size, unet, features=TOWER), folder / f"plus-{name}.bin")
    write_recogniser(folder / "w600k_r50.onnx", seed=7)
    vision_tower().save_pretrained(folder / "image_encoder")
    yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["SDXL", "SD1.5"])
def base(request: pytest.FixtureRequest, webui: WebUI) -> dict[str, Any]:
    """What a request of this kind of checkpoint has."""
    if request.param == "SDXL":
        return {}
    return {**FINITE, "override_settings": {"sd_model_checkpoint": titles(webui)["tiny-sd15"]}}


def face(**values: Any) -> dict[str, Any]:
    return {"people": [{**person(), "system": "FaceID", **values}]}


def made(webui: WebUI, settings: dict[str, Any], **request: Any) -> Answer:
    answer = webui.attempt(settings, **request)
    assert answer.status == 200, answer.message
    return answer


def test_it_acts_repeats_and_leaves_no_trace(webui: WebUI, base: dict[str, Any]) -> None:
    plain = webui.plain(**base).picture
    found = made(webui, face(), **base)
    assert difference(found.picture, plain) > EFFECT / 4
    assert alike(made(webui, face(), **base).picture, found.picture)
    assert alike(webui.plain(**base).picture, plain)
    assert "FaceID" in found.info["infotexts"][0]
    assert alike(made(webui, face(adapter_strength=0.0, lora_strength=0.0), **base).picture, plain)


def test_the_face_and_the_lora_have_their_own_strengths(webui: WebUI, base: dict[str, Any]) -> None:
    whole = made(webui, face(), **base).picture
    for change in ({"adapter_strength": 0.3}, {"lora_strength": 0.3}):
        assert difference(made(webui, face(**change), **base).picture, whole) > EFFECT / 20, change


def test_in_every_row_joined_or_separate_and_by_and(webui: WebUI, base: dict[str, Any]) -> None:
    one = made(webui, face(), **base).picture
    assert difference(made(webui, face(), **{**base, "batch_size": 2}).pictures[0], one) < 0.05
    options = {**base.get("override_settings", {}), "batch_cond_uncond": False}
    assert difference(made(webui, face(), **{**base, "override_settings": options}).picture, one) < 0.05
    both = {**base, "prompt": "x AND x"}
    assert difference(made(webui, face(), **both).picture, webui.plain(**both).picture) > EFFECT / 20


def test_in_img2img_and_both_passes_of_the_hires_fix(webui: WebUI, base: dict[str, Any]) -> None:
    img2img = {**base, "init_images": [encoded(noise_picture(1))], "denoising_strength": 0.8}
    assert (
        difference(made(webui, face(), task="img2img", **img2img).picture, webui.plain("img2img", **img2img).picture)
        > EFFECT / 20
    )
    both, first = made(webui, face(), **base, **HIRES), made(webui, {**face(), "hires": "first pass"}, **base, **HIRES)
    assert difference(both.picture, first.picture) > EFFECT / 20


def test_on_sd15_a_person_is_brought_in_by_faceid_and_an_image_prompt_beside(webui: WebUI) -> None:
    base = {**FINITE, "override_settings": {"sd_model_checkpoint": titles(webui)["tiny-sd15"]}}
    alone = made(webui, {"people": [person()]}, **base)
    assert alike(alone.picture, made(webui, face(), **base).picture)
    prompt = {"image_prompts": [{"pictures": [PICTURE]}]}
    together = made(webui, {"people": [person()], **prompt}, **base)
    assert difference(together.picture, alone.picture) > EFFECT / 20
    assert difference(together.picture, made(webui, prompt, **base).picture) > EFFECT / 20


def test_all_systems_together(webui: WebUI, guided: Answer) -> None:
    prompt = {"image_prompts": [{"pictures": [PICTURE]}]}
    people = [person(), {**person(), "system": "FaceID"}]
    together = made(webui, {"people": people, **prompt})
    for other in (guided, made(webui, face()), made(webui, prompt), made(webui, {"people": people})):
        assert difference(together.picture, other.picture) > EFFECT / 4


def test_an_adapter_for_another_checkpoint_is_refused_by_name(webui: WebUI) -> None:
    answer = webui.attempt({**face(), "faceid_model": "live-faceid/faceid-sd15.bin"})
    assert answer.status in (422, 500)
    assert "the FaceID adapter live-faceid/faceid-sd15.bin is for a UNet with a context of 768 numbers" in answer.message
