"""Every way to make a picture: InstantID acts in it, repeats, and each picture of a batch is the one made alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.encoders.face.scenes import squares
from tests.live.webui import (
    EFFECT,
    NO_FACE,
    OTHER_PHOTO,
    PHOTO,
    ROUNDING,
    SIZE,
    Answer,
    WebUI,
    difference,
    encoded,
    noise_picture,
    person,
)

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 3}
IMG2IMG = {"init_images": [encoded(noise_picture())], "denoising_strength": 0.7, "steps": 4}
MASK = np.zeros((SIZE, SIZE), dtype=np.uint8)
MASK[64:192, 64:192] = 255
INPAINT = {**IMG2IMG, "mask": encoded(MASK), "mask_blur": 4, "inpainting_fill": 1}
WHOLE, ONLY_MASKED = (
    {**INPAINT, "inpaint_full_res": False},
    {**INPAINT, "inpaint_full_res": True, "inpaint_full_res_padding": 32},
)
TASKS = {
    "txt2img": ("txt2img", {}),
    "oblong": ("txt2img", {"width": 320, "height": 192}),
    "CFG 1": ("txt2img", {"cfg_scale": 1.0}),
    "hires": ("txt2img", HIRES),
    "hires by pixels": ("txt2img", {**HIRES, "hr_upscaler": "Lanczos"}),
    "img2img": ("img2img", IMG2IMG),
    "inpaint whole": ("img2img", WHOLE),
    "inpaint only masked": ("img2img", ONLY_MASKED),
}


@pytest.mark.parametrize("name", TASKS)
def test_instantid_changes_the_picture_and_repeats_to_the_byte(webui: WebUI, name: str) -> None:
    task, request = TASKS[name]
    plain = webui.plain(task, **request)
    guided = webui.guided(task=task, **request)
    assert len(guided.files) == len(plain.files)
    assert difference(guided.picture, plain.picture) > EFFECT / 4
    assert webui.guided(task=task, **request).files == guided.files
    assert webui.plain(task, **request).files == plain.files


@pytest.mark.parametrize("name", ["txt2img", "hires", "img2img", "CFG 1"])
def test_each_picture_of_a_batch_is_the_one_of_its_seed_alone(webui: WebUI, name: str) -> None:
    task, request = TASKS[name]
    batch = webui.guided(task=task, batch_size=2, **request).pictures
    for i in (0,) if task == "img2img" else (0, 1):  # the WebUI encodes each row's start picture with noise of its own
        alone = webui.guided(task=task, seed=1 + i, **request).picture
        assert difference(batch[-2:][i], alone) < ROUNDING  # a grid may come first


def test_each_picture_of_several_batches_is_the_one_of_its_seed_alone(webui: WebUI) -> None:
    pictures = webui.guided(n_iter=3).pictures[-3:]
    for i in range(3):
        assert difference(pictures[i], webui.guided(seed=1 + i).picture) < ROUNDING


def test_hires_acts_in_the_passes_that_are_set(webui: WebUI) -> None:
    made = {"plain": webui.plain(**HIRES).picture}
    for hires in ("both", "first pass", "second pass"):
        made[hires] = webui.guided({"hires": hires}, **HIRES).picture
    for a in made:
        for b in made:
            assert a == b or difference(made[a], made[b]) > EFFECT / 4, f"{a} and {b} are alike"


def test_the_first_pass_is_the_plain_one_where_only_the_second_is_set(webui: WebUI) -> None:
    """With no step left to the second pass's sampler but one of almost no strength, the two pictures are nearly alike."""
    weak = {**HIRES, "denoising_strength": 0.01}
    plain, guided = webui.plain(**weak).picture, webui.guided(**weak).picture
    second = webui.guided({"hires": "second pass"}, **weak).picture
    assert difference(second, plain) < difference(guided, plain) / 2


@pytest.mark.parametrize("request_", [WHOLE, ONLY_MASKED], ids=["whole", "only masked"])
def test_inpainting_changes_nothing_outside_the_mask(webui: WebUI, request_: dict) -> None:
    guided = webui.guided({"face_region": "everywhere"}, "img2img", **request_).picture
    outside = np.ones((SIZE, SIZE), dtype=bool)
    outside[64 - 16 : 192 + 16, 64 - 16 : 192 + 16] = False
    assert np.abs(guided - noise_picture())[outside].max() <= 2


def test_no_strength_is_no_instantid(webui: WebUI, plain: Answer) -> None:
    none = webui.guided({"people": [person(adapter_strength=0, identitynet_strength=0)]})
    assert np.array_equal(none.picture, plain.picture)


@pytest.mark.parametrize("part", ["adapter", "identitynet"])
def test_each_part_acts_alone_and_in_its_window(webui: WebUI, plain: Answer, guided: Answer, part: str) -> None:
    """Acts differently from none of it, both, and itself for a part of the time."""
    other = {"adapter": "identitynet", "identitynet": "adapter"}[part]
    own = {"face_region": "everywhere", "people": [person(**{f"{other}_strength": 0})]}
    made = [webui.guided({**own, **window}).picture for window in ({}, {f"{part}_start": 0.3}, {f"{part}_end": 0.4})]
    made += [plain.picture, guided.picture]
    for i, a in enumerate(made):
        for b in made[:i]:
            assert difference(a, b) > 0  # a tiny checkpoint's picture is nearly settled in the first step


def test_a_window_without_a_step_is_no_instantid(webui: WebUI, plain: Answer) -> None:
    ends = {"adapter_end": 0.1, "identitynet_end": 0.1}
    assert np.array_equal(webui.guided(ends).picture, plain.picture)


def test_the_largest_face_is_taken(webui: WebUI) -> None:
    """Not the first that the detector names, as Forge's own InstantID does."""
    both = encoded(squares(600, 400, [(40, 40, 60), (300, 100, 95)]))
    made = {face: webui.guided({"people": [{"photos": [both], "face": face}]}) for face in ("largest", "left", "right", 2)}
    for face in ("right", 2):
        assert np.array_equal(made["largest"].picture, made[face].picture)
    assert difference(made["largest"].picture, made["left"].picture) > EFFECT / 10


def test_several_photos_give_one_person(webui: WebUI, guided: Answer) -> None:
    assert np.array_equal(webui.guided({"people": [{"photos": [PHOTO, PHOTO]}]}).picture, guided.picture)
    assert difference(webui.guided({"people": [{"photos": [PHOTO, OTHER_PHOTO]}]}).picture, guided.picture) > 0


def test_two_people_are_not_one(webui: WebUI, guided: Answer) -> None:
    two = webui.guided({"people": [person(), {"photos": [OTHER_PHOTO]}]}).picture
    other = webui.guided({"people": [{"photos": [OTHER_PHOTO]}]}).picture
    assert difference(two, guided.picture) > EFFECT / 10
    assert difference(two, other) > EFFECT / 10


@pytest.mark.parametrize(
    "settings",
    [
        {"face_region": "everywhere"},
        {"face_region_grow": 0.5},
        {"control_mode": "prompt"},
        {"control_mode": "identity"},
        {"negative_noise": 0.5},
        {"people": [person(pose="none")]},
        {"people": [person(pose="pose picture", pose_picture=OTHER_PHOTO)]},
        {"people": [person(photos=["data:image/png;base64," + OTHER_PHOTO])]},
        {"people": [person(pose="keypoints", keypoints=[[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]])]},
        {"face_region": "mask", "people": [person(region=encoded(MASK))]},
    ],
    ids=lambda settings: "-".join(str(value)[:20] for value in settings.values()) if isinstance(settings, dict) else None,
)
def test_every_setting_acts(webui: WebUI, guided: Answer, settings: dict) -> None:
    assert difference(webui.guided(settings).picture, guided.picture) > 0.01


def test_a_pose_of_its_own_needs_no_face_in_it(webui: WebUI, guided: Answer) -> None:
    free = webui.attempt({"people": [person(pose="none", pose_picture=NO_FACE)]})
    assert free.status == 200
    assert difference(free.picture, guided.picture) > EFFECT / 10
