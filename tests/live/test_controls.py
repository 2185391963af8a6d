"""Controls in the WebUI: alone, with a person, beside the host's own units, from every source of maps, and refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.controlnets import controlnet, sd15
from tests.live.test_controlnet import EDGES, NET, unit
from tests.live.test_controlnet import made as made_with_units
from tests.live.test_models import FINITE, OTHER_KIND, titles
from tests.live.webui import EFFECT, ROUNDING, SIZE, Answer, WebUI, alike, difference, encoded, noise_picture, person

TILES = np.random.default_rng(7).integers(0, 255, (16, 16, 3), dtype=np.uint8)
PICTURE = np.kron(TILES, np.ones((SIZE // 16, SIZE // 16, 1), np.uint8))
"""Tiles with clear edges."""
MAP = encoded(EDGES)
OWN = ("canny", "blur", "grey", "as it is")
CANNY, SD15 = "live-controls/controlnet-canny.safetensors", "live-controls/control_v11p_sd15_depth.safetensors"
SOURCE = "lineart_standard"
"""A preprocessor of both WebUIs that needs no model file. They add a remark in brackets to its name."""


@pytest.fixture(scope="module", autouse=True)
def theirs(webui: WebUI) -> Iterator[str]:
    """A ControlNet for the WebUI's checkpoint under a name that says canny, one of SD1.5's structure, and the name by which the
    host's own units know the first."""
    net = next((webui.folder / "models").rglob(NET))
    folder = webui.folder / "models" / "instantid" / "live-controls"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(net, folder / "controlnet-canny.safetensors")
    save_file(controlnet(**sd15(cross_attention_dim=768)).state_dict(), folder / "control_v11p_sd15_depth.safetensors")
    units = webui.folder / "models" / "ControlNet" / "control_canny_live.safetensors"
    if not webui.forge:
        units.parent.mkdir(exist_ok=True)
        shutil.copyfile(net, units)
        made_with_units(webui, [unit(webui, units.stem)])  # leaves the UNet with its own `forward`, from then on
    yield net.stem if webui.forge else units.stem
    shutil.rmtree(folder)
    if not webui.forge:
        Path(units).unlink()


def control(**values: Any) -> dict[str, Any]:
    return {"picture": encoded(PICTURE), "preprocessor": "canny", **values}


def made(webui: WebUI, *controls: dict[str, Any], settings: dict[str, Any] | None = None, **request: Any) -> Answer:
    answer = webui.attempt({"controls": list(controls), **(settings or {})}, **request)
    assert answer.status == 200, answer.message
    return answer


def refused(webui: WebUI, *controls: dict[str, Any], **request: Any) -> str:
    answer = webui.attempt({"controls": list(controls)}, **request)
    assert answer.status in (422, 500)
    return answer.message


def assert_another_map(webui: WebUI, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Random weights hardly look at the map: a few values change by one level. But a picture repeats to the last bit."""
    found = made(webui, one)
    assert made(webui, one).files == found.files
    assert not np.array_equal(made(webui, other).picture, found.picture)


def test_one_acts_repeats_and_leaves_no_trace(webui: WebUI, plain: Answer) -> None:
    found = made(webui, control())
    assert difference(found.picture, plain.picture) > EFFECT / 10
    assert alike(made(webui, control()).picture, found.picture)
    assert alike(webui.plain().picture, plain.picture)
    assert "controls" in found.info["infotexts"][0]
    assert alike(made(webui, control(strength=0.0)).picture, plain.picture)


@pytest.mark.parametrize("preprocessor", OWN)
def test_every_preprocessor_of_our_own(webui: WebUI, plain: Answer, preprocessor: str) -> None:
    found = made(webui, control(preprocessor=preprocessor, model=CANNY))
    assert difference(found.picture, plain.picture) > EFFECT / 10


@pytest.mark.controlnet
def test_a_preprocessor_of_the_hosts(webui: WebUI) -> None:
    assert_another_map(webui, control(preprocessor=SOURCE, model=CANNY), control(model=CANNY))


@pytest.mark.controlnet
def test_a_preprocessor_whose_model_cannot_be_fetched_is_refused(webui: WebUI, plain: Answer) -> None:
    assert "preprocessor depth_midas: its model file could not be fetched" in refused(
        webui, control(preprocessor="depth_midas", model=CANNY)
    )
    assert alike(webui.plain().picture, plain.picture)


def test_strength_window_mode_region_and_fit_matter(webui: WebUI) -> None:
    base = made(webui, control()).picture
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, : SIZE // 2] = 255
    wide = encoded(PICTURE[: SIZE // 2])
    changes = ({"strength": 0.3}, {"start": 0.4}, {"control_mode": "control"}, {"region": encoded(half)})
    for change in changes:
        assert difference(made(webui, control(**change)).picture, base) > EFFECT / 20, change
    assert_another_map(webui, control(picture=wide, fit="crop"), control(picture=wide, fit="stretch"))


def test_several_with_a_person(webui: WebUI, guided: Answer) -> None:
    others = [control(), control(preprocessor="blur", model=CANNY, strength=0.5)]
    everything = made(webui, *others, settings={"people": [person()]})
    assert difference(everything.picture, guided.picture) > EFFECT / 10
    assert difference(everything.picture, made(webui, *others).picture) > EFFECT / 10
    assert difference(everything.picture, made(webui, others[0], settings={"people": [person()]}).picture) > EFFECT / 20


@pytest.mark.controlnet
def test_ours_is_the_hosts_own_unit_and_both_add_up(webui: WebUI, theirs: str) -> None:
    """With the same network and map: one picture at strength 0.8, by ours, by theirs, or by both at half of it."""
    own = {"preprocessor": "as it is", "model": CANNY, "picture": MAP}
    ours = made(webui, control(**own, strength=0.8)).picture
    unit_alone = made_with_units(webui, [unit(webui, theirs, weight=0.8)]).picture
    assert difference(ours, unit_alone) < ROUNDING
    half = made_with_units(webui, [unit(webui, theirs, weight=0.4)], {"controls": [control(**own, strength=0.4)]}).picture
    assert difference(half, unit_alone) < ROUNDING


def test_in_every_row_of_a_batch_and_joined_or_separate(webui: WebUI) -> None:
    one = made(webui, control()).picture
    assert difference(made(webui, control(), batch_size=2).pictures[0], one) < 0.05
    separate = made(webui, control(), override_settings={"batch_cond_uncond": False})
    assert difference(separate.picture, one) < 0.05
    prompts = {"prompt": "a cat AND a dog"}
    assert difference(made(webui, control(), **prompts).picture, webui.plain(**prompts).picture) > EFFECT / 10
    long = {"prompt": "a cat " * 90}
    assert difference(made(webui, control(), **long).picture, webui.plain(**long).picture) > EFFECT / 10


def test_in_img2img_and_both_passes_of_the_hires_fix(webui: WebUI) -> None:
    img2img = {"init_images": [encoded(noise_picture(1))], "denoising_strength": 0.8}
    plain = webui.plain("img2img", **img2img)
    assert difference(made(webui, control(), task="img2img", **img2img).picture, plain.picture) > EFFECT / 20
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    both, first = made(webui, control(), **hires), made(webui, control(), settings={"hires": "first pass"}, **hires)
    assert difference(both.picture, first.picture) > EFFECT / 20


def test_what_does_not_fit_is_refused_by_name(webui: WebUI, plain: Answer, theirs: str) -> None:
    other = titles(webui)[OTHER_KIND[webui.forge]]
    message = refused(webui, control(model=CANNY), **FINITE, override_settings={"sd_model_checkpoint": other})
    assert "they must be equal. Choose a ControlNet for this checkpoint." in message
    message = refused(webui, control(model=SD15))
    assert f"the ControlNet {SD15}" in message
    assert message.endswith("Choose a ControlNet for this checkpoint.")
    assert "controls[1].preprocessor: found 'no such'" in refused(webui, control(preprocessor="no such", model=CANNY))
    assert "controls[2].picture" in refused(webui, control(), control(picture=encoded(noise_picture())[:40]))
    assert alike(webui.plain().picture, plain.picture)
    if not webui.forge:
        made_with_units(webui, [unit(webui, theirs)])  # the checkpoint was loaded anew, see `theirs`
