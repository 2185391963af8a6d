"""Strengths, regions, modes and windows, against sums worked out with diffusers' own networks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.adapters.instantid.prepare import Prepared, PreparedPerson, unconditional_embedding
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.errors import SettingsError, UnsupportedModel
from tests.conftest import BOX, HEIGHT, ROWS, WIDTH, Call, Guide, Inputs, place, relative_error
from tests.ldm_unet import ldm_unet_like


def noise(unet: nn.Module, call: Call, guidance: Prepared, step: Step | None = None) -> Tensor:
    step = step or Step(index=0, total=1)
    with attach(unet, guidance.conditioning, rows_of=lambda _: ROWS, step=lambda: step):
        return call(unet)


@pytest.fixture(scope="module")
def controlnet(weights_folder: Path) -> ControlNetModel:
    return ControlNetModel.from_pretrained(weights_folder / "ControlNetModel").eval()


@torch.no_grad()
def with_residuals(
    unet: UNet2DConditionModel, controlnet: ControlNetModel, people: tuple[PreparedPerson, ...], masks: list[Tensor | None]
) -> Tensor:
    """Noise of diffusers' UNet with the sum of the people's residuals from diffusers' ControlNet, each under its mask."""
    inputs, rows = Inputs(unet), [0, 1]
    added = {"text_embeds": inputs.text_embeds[rows], "time_ids": inputs.time_ids[rows]}
    x, t = inputs.latents[rows], inputs.timestep[rows]
    total: list[Tensor] = []
    for person, mask in zip(people, masks, strict=True):
        hint = person.keypoint_map.expand(2, -1, -1, -1)
        down, middle = controlnet(
            x, t, person.face.tokens, hint, person.identitynet_strength, added_cond_kwargs=added, return_dict=False
        )
        own = [
            r if mask is None else r * F.interpolate(mask[None, None], r.shape[2:], mode="bilinear") for r in (*down, middle)
        ]
        total = own if not total else [a + b for a, b in zip(total, own, strict=True)]
    return unet(
        x,
        t,
        inputs.context[rows],
        added_cond_kwargs=added,
        down_block_additional_residuals=tuple(total[:-1]),
        mid_block_additional_residual=total[-1],
    ).sample


def box_mask(box: np.ndarray) -> Tensor:
    x1, y1, x2, y2 = box.astype(int)
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[y1:y2, x1:x2] = 1
    return mask


def test_two_peoples_residuals_are_summed_under_their_boxes(
    unet: nn.Module, diffusers_unet: UNet2DConditionModel, controlnet: ControlNetModel, call: Call, guide: Guide
) -> None:
    left, right = place(0, box=BOX - [20, 0, 32, 0]), place(1, shift=50, box=BOX + [52, 0, 40, 0])
    guidance = guide([left, right], person={"adapter_strength": 0.0, "identitynet_strength": 0.6}, face_region="face")
    assert left.box is not None
    assert right.box is not None
    expected = with_residuals(diffusers_unet, controlnet, guidance.people, [box_mask(left.box), box_mask(right.box)])
    assert relative_error(noise(unet, call, guidance), expected) < 1e-5


def test_masks_that_people_are_given_are_used_as_they_are(
    unet: nn.Module, diffusers_unet: UNet2DConditionModel, controlnet: ControlNetModel, call: Call, guide: Guide
) -> None:
    masks = [torch.rand(HEIGHT, WIDTH) for _ in range(2)]
    placed = [place(i, shift=30 * i, region=mask.numpy()) for i, mask in enumerate(masks)]
    guidance = guide(placed, person={"adapter_strength": 0.0, "region": "mask.png"}, face_region="mask")
    expected = with_residuals(diffusers_unet, controlnet, guidance.people, list(masks))
    assert relative_error(noise(unet, call, guidance), expected) < 1e-5


def test_people_who_share_the_picture_never_overlap(guide: Guide) -> None:
    for region in ("everywhere", "face"):
        people = guide([place(i, shift=12 * i) for i in range(4)], face_region=region).people
        total = sum(person.region for person in people if person.region is not None)
        assert isinstance(total, Tensor)
        assert total.max() == 1
        assert (region == "everywhere") == bool((total == 1).all())


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.5])
def test_residuals_follow_identitynets_strength(
    unet: nn.Module,
    diffusers_unet: UNet2DConditionModel,
    controlnet: ControlNetModel,
    call: Call,
    guide: Guide,
    strength: float,
) -> None:
    guidance = guide(person={"adapter_strength": 0.0, "identitynet_strength": strength})
    expected = with_residuals(diffusers_unet, controlnet, guidance.people, [None])
    assert relative_error(noise(unet, call, guidance), expected) < 1e-5


def test_a_free_head_gives_a_black_map_and_no_region(guide: Guide) -> None:
    person = guide([place(keypoints=None, box=None)], person={"pose": "none"}, face_region="face").people[0]
    assert not person.keypoint_map.any()
    assert person.region is None


def test_the_box_grows_by_a_part_of_its_size_on_each_side(guide: Guide) -> None:
    small, grown = (guide(face_region="face", face_region_grow=grow).people[0].region for grow in (0.0, 0.25))
    assert small is not None
    assert grown is not None
    assert torch.equal(small, box_mask(BOX))
    margin = 0.25 * (BOX[2:] - BOX[:2])
    assert torch.equal(grown, box_mask(np.concatenate([BOX[:2] - margin, BOX[2:] + margin])))


def test_prompt_mode_weighs_residuals_and_identity_mode_only_conditional_rows(
    unet: nn.Module, call: Call, guide: Guide, diffusers_unet: UNet2DConditionModel, controlnet: ControlNetModel
) -> None:
    """sd-webui-controlnet's weights, 0.825^(12 - i): 0.099 to 0.56 over SDXL's ten residuals."""
    weights = [0.825 ** (12 - i) for i in range(10)]
    assert weights[0] == pytest.approx(0.099, abs=5e-4)
    assert weights[-1] == pytest.approx(0.56, abs=5e-3)
    for layer, weight in zip((*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block), weights, strict=True):
        layer.weight.data *= weight
        layer.bias.data *= weight
    try:
        settings = {"person": {"adapter_strength": 0.0}}
        prompt, identity = guide(control_mode="prompt", **settings), guide(control_mode="identity", **settings)
        expected = with_residuals(diffusers_unet, controlnet, prompt.people, [None])
        found = noise(unet, call, identity)
        assert relative_error(noise(unet, call, prompt), expected) < 1e-5
        assert relative_error(found[1], expected[1]) < 1e-5
        assert relative_error(found[0], call(unet)[0]) < 1e-6
    finally:
        for layer, weight in zip((*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block), weights, strict=True):
            layer.weight.data /= weight
            layer.bias.data /= weight


def test_outside_both_windows_the_noise_is_the_plain_ones(unet: nn.Module, call: Call, guide: Guide) -> None:
    guidance = guide(adapter_start=0.5, identitynet_start=0.5)
    assert torch.equal(noise(unet, call, guidance, Step(index=0, total=4)), call(unet))
    assert relative_error(noise(unet, call, guidance, Step(index=2, total=4)), call(unet)) > 1e-3


def test_adapter_and_identitynet_have_windows_of_their_own(unet: nn.Module, call: Call, guide: Guide) -> None:
    step = Step(index=0, total=4)
    late_adapter = noise(unet, call, guide(adapter_start=0.5), step)
    assert torch.equal(late_adapter, noise(unet, call, guide(person={"adapter_strength": 0.0}), step))
    late_net = noise(unet, call, guide(identitynet_start=0.5), step)
    assert torch.equal(late_net, noise(unet, call, guide(person={"identitynet_strength": 0.0}), step))


def test_negative_noise_is_repeatable_without_a_mean_and_as_strong_as_asked() -> None:
    noise = unconditional_embedding(0.35)
    assert torch.equal(noise, unconditional_embedding(0.35))
    assert 0.34 < noise.abs().max() <= 0.35
    assert abs(float(noise.mean())) < 0.03  # ComfyUI's is 0.175
    assert not unconditional_embedding(0.0).any()


def test_negative_noise_leaves_the_global_generator_and_the_conditional_row_alone(guide: Guide) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    noisy, plain = guide(negative_noise=0.5).people[0].face.tokens, guide().people[0].face.tokens
    assert torch.equal(torch.rand(1), expected)
    assert torch.allclose(noisy[1], plain[1], atol=1e-5)
    assert relative_error(noisy[0], plain[0]) > 1e-3


def test_several_free_heads_need_masks(guide: Guide) -> None:
    free = place(keypoints=None, box=None)
    with pytest.raises(SettingsError, match=r"people\[1\]\.pose.*several people need placed heads"):
        guide([free, free], person={"pose": "none"})


def test_a_face_outside_the_picture_is_an_error(guide: Guide) -> None:
    with pytest.raises(SettingsError, match="lies outside"):
        guide([place(shift=500)], face_region="face")


def test_a_unet_of_another_shape_is_refused_before_anything_is_hooked(guide: Guide) -> None:
    other = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    with pytest.raises(UnsupportedModel, match=r"SD1\.5.*768.*Choose an SDXL checkpoint"):
        attach(other, guide().conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1))
    with pytest.raises(UnsupportedModel, match="not a UNet"):
        attach(nn.Linear(2, 2), guide().conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1))


def test_a_call_without_the_vector_is_told_from_one_with_another(diffusers_unet: UNet2DConditionModel, guide: Guide) -> None:
    ldm, inputs = ldm_unet_like(diffusers_unet), Inputs(diffusers_unet, 2)
    size = inputs.vector.shape[-1]
    for vector, found in ((None, "none"), (torch.zeros(2, size + 1), f"one of {size + 1} numbers")):
        with (
            attach(ldm, guide().conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)),
            pytest.raises(UnsupportedModel, match=f"{found} .*{size} numbers"),
        ):
            ldm(inputs.latents, inputs.timestep, inputs.context, vector)


def test_a_unet_of_another_vector_is_refused_before_anything_is_hooked(unet: nn.Module, guide: Guide) -> None:
    """It would fail in the middle of sampling, with a sentence about matrices."""
    other, size = copy.deepcopy(unet), guide().identitynet.shape.vector_size
    embedding = other.add_embedding.linear_1 if hasattr(other, "add_embedding") else other.label_emb[0][0]
    embedding.in_features = size + 256
    with pytest.raises(UnsupportedModel, match=rf"vector of {size + 256} .* {size};.*Choose an SDXL checkpoint"):
        attach(other, guide().conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1))


def test_half_precision_unets_get_the_same_guidance(diffusers_unet: UNet2DConditionModel, call: Call, guide: Guide) -> None:
    """bfloat16 UNet and IdentityNet, float32 adapter: everything is cast to what passes by."""
    exact = guide(face_region="face")
    expected = noise(diffusers_unet, call, exact)
    half, inputs = copy.deepcopy(diffusers_unet).to(torch.bfloat16), Inputs(diffusers_unet)
    net = copy.deepcopy(exact.identitynet).to(torch.bfloat16)
    guidance = Prepared(**{**vars(exact), "identitynet": net})
    x, context, text = (t[:2].to(torch.bfloat16) for t in (inputs.latents, inputs.context, inputs.text_embeds))
    added = {"text_embeds": text, "time_ids": inputs.time_ids[:2]}
    with attach(half, guidance.conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)), torch.no_grad():
        found = half(x, inputs.timestep[:2], context, added_cond_kwargs=added).sample
    assert found.dtype == torch.bfloat16
    assert relative_error(found, expected) < 0.05
