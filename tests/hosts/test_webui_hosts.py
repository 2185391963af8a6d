"""Both WebUI hosts on the stand-in contracts: the same properties that tests/live shows in the real ones."""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lib_instantid.adapters.instantid.prepare import Prepared
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.cfg import rescaled_denoised, rescaled_noise
from lib_instantid.conditioning.schedule import Step
from lib_instantid.errors import UnsupportedModel
from tests.conftest import Guide, Inputs, place, relative_error
from tests.hosts.webui_contracts import A1111, ControlBase, Forge, ForgeUNet, Rows, Steps, TimestepSteps, installed
from tests.ldm_unet import LdmUNet, ldm_unet_like

MODES = ("joined", "separate", "unequal", "skipped")


@pytest.fixture(scope="session")
def ldm(diffusers_unet: UNet2DConditionModel) -> LdmUNet:
    return ldm_unet_like(diffusers_unet)


@pytest.fixture(scope="session")
def rows(diffusers_unet: UNet2DConditionModel) -> Rows:
    inputs = Inputs(diffusers_unet)
    return Rows(latents=inputs.latents, context=inputs.context, vector=inputs.vector)


class World:
    """A WebUI's contract, and the project's host on it."""

    def __init__(self, webui: A1111 | Forge, host: Any) -> None:
        self.webui, self.host = webui, host
        self.comments: list[str] = []
        webui.callbacks = host.callbacks()

    def attach(self, guidance: Prepared) -> None:
        self.webui.denoiser.step = 0
        self.host.attach(guidance.conditioning, self.comments.append)

    def swap(self, unet: nn.Module) -> None:
        """Another checkpoint in the middle of sampling, as the refiner does it."""
        if isinstance(self.webui, A1111):
            self.webui.shared.sd_model.model.diffusion_model = unet
        else:
            self.webui.shared.sd_model.forge_objects.unet = Forge(unet, self.webui.folder).patcher

    @property
    def unet(self) -> nn.Module:
        webui = self.webui
        return webui.shared.sd_model.model.diffusion_model if isinstance(webui, A1111) else webui.patcher.model.diffusion_model


def world_of(kind: str, ldm: LdmUNet, folder: Path) -> Iterator[World]:
    unet: nn.Module = ldm
    if kind == "forge":
        unet = ldm_like(ldm, ForgeUNet)
    webui = A1111(unet, folder) if kind == "a1111" else Forge(unet, folder)
    with installed(webui.modules()):
        module = importlib.import_module(f"lib_instantid.hosts.{kind}")
        yield World(webui, module.A1111Host() if kind == "a1111" else module.ForgeHost())


def ldm_like(ldm: LdmUNet, kind: type[nn.Module]) -> nn.Module:
    """The same modules under another class's forward."""
    other = kind.__new__(kind)
    other.__dict__.update(ldm.__dict__)
    return other


@pytest.fixture(params=["a1111", "forge"])
def world(request: pytest.FixtureRequest, ldm: LdmUNet, tmp_path: Path) -> Iterator[World]:
    yield from world_of(request.param, ldm, tmp_path)


@torch.no_grad()
def expected(ldm: nn.Module, guidance: Prepared, rows: Rows, conditional: list[int]) -> Tensor:
    """All rows in one call, by the core alone."""
    count = len(rows.latents)
    roles = tuple(i in conditional for i in range(count))
    with attach(ldm, guidance.conditioning, rows_of=lambda _: roles, step=lambda: Step(index=0, total=1)):
        return ldm(rows.latents, torch.full((count,), 601.0), context=rows.context, y=rows.vector)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("cond", "uncond"), [([0], [1]), ([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])], ids=["one", "batch", "AND"]
)
def test_rows_are_the_cores_however_the_webui_cuts_them(
    world: World, ldm: LdmUNet, guide: Guide, rows: Rows, mode: str, cond: list[int], uncond: list[int]
) -> None:
    guidance = guide(face_region="face")
    reference = expected(ldm, guidance, rows, cond)
    world.attach(guidance)
    for _ in range(2):  # the second step works from caches
        found = world.webui.step(rows, cond, uncond, mode)
        assert set(found) == set(cond if mode == "skipped" else [*cond, *uncond])
        assert all(relative_error(noise, reference[row]) < 1e-5 for row, noise in found.items())
    world.host.detach()


def test_after_detaching_nothing_is_left(world: World, guide: Guide, rows: Rows) -> None:
    before = world.webui.step(rows, [0], [1])
    world.attach(guide())
    acting = world.webui.step(rows, [0], [1])
    world.host.detach()
    world.host.detach()
    after = world.webui.step(rows, [0], [1])
    assert not torch.equal(acting[0], before[0])
    assert all(torch.equal(after[row], before[row]) for row in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in world.unet.modules())
    if isinstance(world.webui, Forge):
        assert world.webui.patcher.controlnet_linked_list is None


def test_attaching_again_replaces_the_first(world: World, ldm: LdmUNet, guide: Guide, rows: Rows) -> None:
    """Forge calls twice before a hires pass."""
    guidance = guide([place(1)])
    world.attach(guide([place(0)]))
    world.attach(guidance)
    found = world.webui.step(rows, [0], [1])
    world.host.detach()
    assert relative_error(found[0], expected(ldm, guidance, rows, [0])[0]) < 1e-5


def test_a_refusal_is_raised_in_sampling_once(world: World, rows: Rows) -> None:
    before = world.webui.step(rows, [0], [1])
    world.host.refuse(UnsupportedModel("the cure"))
    with pytest.raises(UnsupportedModel, match="the cure"):
        world.webui.step(rows, [0], [1])
    assert torch.equal(world.webui.step(rows, [0], [1])[0], before[0])
    world.host.refuse(UnsupportedModel("never met"))
    world.host.detach()
    assert torch.equal(world.webui.step(rows, [0], [1])[0], before[0])


def test_windows_follow_the_denoisers_steps(world: World, guide: Guide, rows: Rows) -> None:
    world.webui.denoiser.step = 0
    plain = world.webui.step(rows, [0], [1])[0]
    world.attach(guide(adapter_start=0.5, identitynet_start=0.5))
    acting = [not torch.equal(world.webui.step(rows, [0], [1])[0], plain) for _ in range(4)]
    world.host.detach()
    assert acting == [False, False, True, True]


def test_a_refiner_that_fits_is_guided_and_one_that_does_not_is_left_out_with_a_comment(
    world: World, ldm: LdmUNet, guide: Guide, rows: Rows, diffusers_unet: UNet2DConditionModel
) -> None:
    guidance, original = guide(), world.unet
    fitting = ldm_like(ldm_unet_like(diffusers_unet), type(original))
    world.attach(guidance)
    world.webui.step(rows, [0], [1])
    world.swap(fitting)
    assert relative_error(world.webui.step(rows, [0], [1])[0], expected(ldm, guidance, rows, [0])[0]) < 1e-5
    assert world.comments == []
    narrow = ldm_like(ldm_unet_like(diffusers_unet), type(original))
    narrow.output_blocks[0][1].transformer_blocks = narrow.output_blocks[0][1].transformer_blocks[:0]
    world.swap(narrow)
    left_out = world.webui.step(rows, [0], [1])
    assert len(world.comments) == 1
    assert "left out" in world.comments[0]
    world.host.detach()
    assert torch.equal(world.webui.step(rows, [0], [1])[0], left_out[0])


def test_an_unsupported_model_is_refused_before_anything_is_attached(world: World, guide: Guide) -> None:
    world.swap(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UnsupportedModel):
        world.attach(guide())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in world.unet.modules())


def test_a1111_refuses_an_active_sd_unet(ldm: LdmUNet, guide: Guide, tmp_path: Path) -> None:
    for world in world_of("a1111", ldm, tmp_path):
        assert isinstance(world.webui, A1111)
        world.webui.sd_unet.current_unet = type("ModelStore", (), {"option": type("Option", (), {"label": "TensorRT x"})})()
        with pytest.raises(UnsupportedModel, match="TensorRT x"):
            world.attach(guide())


class OtherUnit(ControlBase):
    """A canny unit, say: remembers the context that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[Tensor] = []

    def get_control(self, x: Tensor, t: Tensor, cond: dict[str, Any], batched: int) -> Any:
        del t, batched
        self.contexts.append(cond["c_crossattn"])
        widths = [32, 32, 32, 32, 64, 64, 64, 128, 128, 128]
        factors = [1, 1, 1, 2, 2, 2, 4, 4, 4, 4]
        outs = [torch.full((len(x), w, x.shape[2] // f, x.shape[3] // f), 0.02) for w, f in zip(widths, factors, strict=True)]
        return self.control_merge(None, outs, None, x.dtype)


def test_on_forge_other_units_keep_their_text_and_both_act(ldm: LdmUNet, guide: Guide, rows: Rows, tmp_path: Path) -> None:
    for world in world_of("forge", ldm, tmp_path):
        assert isinstance(world.webui, Forge)
        alone = {}
        for name, others, own in (("other", True, False), ("own", False, True), ("both", True, True)):
            world.swap(world.unet)
            unit = OtherUnit()
            if others:
                world.webui.patcher.add_patched_controlnet(unit)
            if own:
                world.attach(guide())
            alone[name] = world.webui.step(rows, [0], [1])[0]
            world.host.detach()
            if others:
                assert all(context.shape[1] == 77 for context in unit.contexts)
        assert relative_error(alone["both"], alone["own"]) > 1e-3
        assert relative_error(alone["both"], alone["other"]) > 1e-3


def test_on_forge_another_units_residuals_are_added_once_to_those_that_steps_share(
    ldm: LdmUNet, guide: Guide, rows: Rows, tmp_path: Path
) -> None:
    """The same input at every step, so that each step of a run must answer what the first did."""
    for world in world_of("forge", ldm, tmp_path):
        assert isinstance(world.webui, Forge)
        world.webui.patcher.add_patched_controlnet(OtherUnit())
        world.attach(guide(identitynet_every=4))
        answers = [world.webui.step(rows, [0], [1])[0] for _ in range(4)]
        world.host.detach()
        assert all(torch.equal(answer, answers[0]) for answer in answers)


TILES = [(0, 0, 12, 8), (4, 0, 16, 8), (0, 4, 12, 12), (4, 4, 16, 12)]
"""Left, top, right, bottom in latent cells of 128 × 96 pixels."""


@pytest.mark.parametrize("settings", [{"face_region": "face"}, {"identitynet_every": 2}], ids=str)
def test_on_forge_each_tile_of_multidiffusion_has_its_part_of_the_map_and_the_regions(
    ldm: LdmUNet, guide: Guide, rows: Rows, tmp_path: Path, settings: dict[str, Any]
) -> None:
    guidance = guide([place(0), place(1, shift=20)], **settings)
    expected_sum, count = torch.zeros_like(rows.latents[:2]), torch.zeros_like(rows.latents[:2])
    for x1, y1, x2, y2 in TILES:
        people = tuple(
            dataclasses.replace(
                person,
                keypoint_map=person.keypoint_map[:, :, y1 * 8 : y2 * 8, x1 * 8 : x2 * 8],
                region=None if person.region is None else person.region[y1 * 8 : y2 * 8, x1 * 8 : x2 * 8],
            )
            for person in guidance.people
        )
        part = Rows(latents=rows.latents[:2, :, y1:y2, x1:x2], context=rows.context[:2], vector=rows.vector[:2])
        expected_sum[:, :, y1:y2, x1:x2] += expected(ldm, dataclasses.replace(guidance, people=people), part, [0])
        count[:, :, y1:y2, x1:x2] += 1
    for world in world_of("forge", ldm, tmp_path):
        assert isinstance(world.webui, Forge)
        world.attach(guidance)
        for _ in range(2):
            found = world.webui.tiled_step(rows, [0, 1], [0, 1], TILES)
            assert relative_error(found, expected_sum / count) < 1e-5
            world.webui.denoiser.step += 1
        world.host.detach()


META = torch.device("meta")
"""The device that stands for a GPU: every machine has it."""


def on_cpu(net: nn.Module) -> bool:
    return {p.device.type for p in net.parameters()} == {"cpu"}


def test_on_forge_identitynet_is_forges_to_move(ldm: LdmUNet, guide: Guide, rows: Rows, tmp_path: Path) -> None:
    """Forge makes room before it moves a unit's models to the GPU; what it does not know of, it cannot make room for."""
    for world in world_of("forge", ldm, tmp_path):
        assert isinstance(world.webui, Forge)
        guidance = guide()
        net = copy.deepcopy(guidance.identitynet)
        assert net is not None
        world.webui.device = META
        world.host.place(net)
        assert on_cpu(net)
        world.host.rest(net)
        world.webui.device = torch.device("cpu")
        world.attach(guidance)
        world.webui.step(rows, [0], [1])
        world.host.detach()
        assert world.webui.loaded == [guidance.identitynet]


def test_on_a1111_identitynet_goes_where_the_unet_computes(ldm: LdmUNet, guide: Guide, tmp_path: Path) -> None:
    for world in world_of("a1111", ldm, tmp_path):
        assert isinstance(world.webui, A1111)
        world.webui.devices.device, world.webui.devices.dtype_unet = META, torch.float16
        net = copy.deepcopy(guide().identitynet)
        assert net is not None
        world.host.place(net)
        assert {(p.device.type, p.dtype) for p in net.parameters()} == {("meta", torch.float16)}


def test_where_identitynet_has_no_strength_the_adapter_acts_without_it(
    world: World, ldm: LdmUNet, guide: Guide, rows: Rows
) -> None:
    guidance = guide(person={"identitynet_strength": 0.0})
    assert guidance.identitynet is None
    world.webui.denoiser.step = 0
    plain = world.webui.step(rows, [0], [1])[0]
    world.attach(guidance)
    found = world.webui.step(rows, [0], [1])[0]
    world.host.detach()
    assert relative_error(found, expected(ldm, guidance, rows, [0])[0]) < 1e-5
    assert relative_error(found, plain) > 1e-3
    if isinstance(world.webui, Forge):
        assert world.webui.loaded == []


def test_a_model_that_is_loaded_in_the_course_of_sampling_takes_over_and_the_old_one_keeps_nothing(
    world: World, ldm: LdmUNet, guide: Guide, rows: Rows, diffusers_unet: UNet2DConditionModel
) -> None:
    guidance, original = guide(), world.unet
    world.attach(guidance)
    world.webui.step(rows, [0], [1])
    world.swap(ldm_like(ldm_unet_like(diffusers_unet), type(original)))
    world.host.model_changed()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in original.modules())
    assert relative_error(world.webui.step(rows, [0], [1])[0], expected(ldm, guidance, rows, [0])[0]) < 1e-5
    world.host.detach()


@pytest.mark.parametrize("steps", [Steps, TimestepSteps])
def test_on_a1111_guidance_is_rescaled_in_the_samplers_own_space(
    ldm: LdmUNet, guide: Guide, rows: Rows, tmp_path: Path, steps: type[Steps]
) -> None:
    for world in world_of("a1111", ldm, tmp_path):
        world.webui.denoiser = steps()
        world.attach(guide(cfg_rescale=0.7))
        world.webui.step(rows, [0], [1])
        predicted, guided = torch.randn(2, 4, 12, 16), torch.randn(1, 4, 12, 16) * 4
        world.webui.callbacks["cfg_denoised"](type("P", (), {"x": predicted})())
        after = type("P", (), {"x": guided})()
        world.webui.callbacks["cfg_after_cfg"](after)
        if steps is TimestepSteps:
            expected = rescaled_noise(guided, predicted[:1], 0.7)
        else:
            expected = rescaled_denoised(rows.latents[[1]], torch.tensor([rows.sigma]), guided, predicted[:1], 0.7)
        assert torch.allclose(after.x, expected, atol=1e-5)
        world.host.detach()


def test_an_error_in_a_callback_stops_the_generation(world: World, guide: Guide, rows: Rows) -> None:
    """The WebUI swallows it where it happens."""
    world.attach(guide())
    world.webui.step(rows, [0], [1])
    world.webui.callbacks["cfg_denoiser"](object())
    callback, world.webui.callbacks["cfg_denoiser"] = world.webui.callbacks["cfg_denoiser"], lambda _: None
    with pytest.raises(AttributeError):
        world.webui.step(rows, [0], [1])
    world.webui.callbacks["cfg_denoiser"] = callback
    world.host.detach()


def test_a_step_beyond_the_last_counts_as_the_last(world: World, guide: Guide, rows: Rows) -> None:
    world.attach(guide())
    world.webui.step(rows, [0], [1])
    world.webui.denoiser = Steps(step=9, total_steps=4)
    before = world.webui.step(rows, [0], [1])[0]
    world.host.detach()
    assert not torch.equal(world.webui.step(rows, [0], [1])[0], before)
