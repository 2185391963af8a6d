"""Every sampler, attention optimisation, token merging and LoRA of the WebUI, with InstantID in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.live.webui import EFFECT, ROUNDING, Answer, WebUI, difference

EVERYWHERE = {"face_region": "everywhere"}
BOTH_HOSTS = (
    *("DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS"),
    *("Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM"),
)
FORGE_ONLY = ("HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDPM")
SMALL = 128
"""Side of the pictures here: one sampler takes as many steps as it likes."""

SAMPLERS = (*BOTH_HOSTS, *(pytest.param(name, marks=pytest.mark.forge) for name in FORGE_ONLY))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_instantid_acts_and_repeats_under_every_sampler(webui: WebUI, sampler: str) -> None:
    request = {"sampler_name": sampler, "steps": 4, "width": SMALL, "height": SMALL}
    made = webui.guided(EVERYWHERE, **request)
    assert difference(made.picture, webui.plain(**request).picture) > EFFECT / 10
    assert webui.guided(EVERYWHERE, **request).files == made.files


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_windows_are_fractions_of_every_samplers_steps(webui: WebUI, sampler: str) -> None:
    """Halves of a pass are neither none of it nor all, and are not each other."""
    request = {"sampler_name": sampler, "steps": 4, "width": SMALL, "height": SMALL}
    early = {"adapter_end": 0.5, "identitynet_end": 0.5}
    late = {"adapter_start": 0.5, "identitynet_start": 0.5}
    made = [webui.guided({**EVERYWHERE, **window}, **request).picture for window in ({}, early, late)]
    made.append(webui.plain(**request).picture)
    for i, a in enumerate(made):
        for b in made[:i]:
            assert difference(a, b) > 0


@pytest.mark.a1111
@pytest.mark.parametrize("sampler", BOTH_HOSTS)
def test_separate_calls_make_the_picture_of_joined_ones_under_every_sampler(webui: WebUI, sampler: str) -> None:
    def made(joined: bool) -> np.ndarray:
        request = {"sampler_name": sampler, "steps": 4, "width": SMALL, "height": SMALL}
        return webui.guided(EVERYWHERE, **request, override_settings={"batch_cond_uncond": joined}).picture

    assert difference(made(True), made(False)) < ROUNDING


@pytest.mark.parametrize("scheduler", ["Karras", "Exponential", "SGM Uniform", "Simple"])
def test_instantid_acts_under_other_schedules(webui: WebUI, scheduler: str) -> None:
    request = {"scheduler": scheduler, "sampler_name": "DPM++ 2M", "steps": 4}
    assert difference(webui.guided(EVERYWHERE, **request).picture, webui.plain(**request).picture) > EFFECT / 10


@pytest.mark.parametrize("hires", [False, True])
def test_instantid_acts_with_token_merging(webui: WebUI, hires: bool) -> None:
    """The WebUIs merge tokens at the first resolution only, where SDXL has none; A1111 runs other blocks all the same."""
    request = {"override_settings": {"token_merging_ratio": 0.5, "token_merging_ratio_hr": 0.3}}
    if hires:
        request |= {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    merged = webui.guided(**request)
    assert difference(merged.picture, webui.plain(**request).picture) > EFFECT / 4
    assert webui.guided(**request).files == merged.files


@pytest.fixture
def lora(webui: WebUI) -> Iterator[str]:
    """A prompt's call of a small random LoRA, on text attention that InstantID's hooks sit in as well."""
    stream = np.random.default_rng(1)
    weights: dict[str, np.ndarray] = {}
    for block, width, depth in ((4, 64, 2), (7, 128, 10)):
        for i in range(depth):
            for layer, given in (("to_q", width), ("to_k", 2048), ("to_v", 2048), ("to_out_0", width)):
                name = f"lora_unet_input_blocks_{block}_1_transformer_blocks_{i}_attn2_{layer}"
                weights[f"{name}.lora_down.weight"] = stream.normal(0, given**-0.5, (4, given)).astype(np.float32)
                weights[f"{name}.lora_up.weight"] = stream.normal(0, 0.5, (width, 4)).astype(np.float32)
                weights[f"{name}.alpha"] = np.array(4.0, dtype=np.float32)
    path = webui.folder / "models" / "Lora" / "instantid_live_tiny.safetensors"
    save_file(weights, path)
    webui.post("sdapi/v1/refresh-loras")
    yield "a cat <lora:instantid_live_tiny:1>"
    path.unlink()
    webui.post("sdapi/v1/refresh-loras")


def test_instantid_and_a_lora_both_act(webui: WebUI, plain: Answer, guided: Answer, lora: str) -> None:
    alone, both = webui.plain(prompt=lora), webui.guided(prompt=lora)
    assert difference(alone.picture, plain.picture) > EFFECT / 10
    assert difference(both.picture, alone.picture) > EFFECT / 4
    assert difference(both.picture, guided.picture) > EFFECT / 10
    assert webui.guided(prompt=lora).files == both.files
    assert np.array_equal(webui.guided().picture, guided.picture)


CPU_ATTENTION = (
    *("None", "sdp-no-mem - scaled dot product without memory efficient attention", "sdp - scaled dot product"),
    *("sub-quadratic", "V1 - original v1", "InvokeAI", "Doggettx"),
)


@pytest.fixture
def attention(webui: WebUI, request: pytest.FixtureRequest) -> Iterator[str]:
    """A1111's attention optimisation, and the one before it put back."""
    before = webui.get("sdapi/v1/options")["cross_attention_optimization"]
    webui.post("sdapi/v1/options", {"cross_attention_optimization": request.param})
    yield request.param
    webui.post("sdapi/v1/options", {"cross_attention_optimization": before})


@pytest.mark.a1111
@pytest.mark.unsteady
@pytest.mark.parametrize("attention", CPU_ATTENTION, indirect=True)
def test_every_attention_optimisation_makes_nearly_the_same_picture(
    webui: WebUI, plain: Answer, guided: Answer, attention: str
) -> None:
    assert webui.get("sdapi/v1/options")["cross_attention_optimization"] == attention
    assert difference(webui.plain().picture, plain.picture) < ROUNDING
    assert difference(webui.guided().picture, guided.picture) < ROUNDING
