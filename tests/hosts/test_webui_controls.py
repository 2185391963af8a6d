"""ControlNets on both WebUI hosts' stand-in contracts: they read the right text in every row; and the hosts' preprocessors."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lib_instantid.conditioning.parts import Conditioning, ControlContext, ControlPart
from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.hosts.webui_preprocessors import drawing
from lib_instantid.networks.controlnet import ControlNet
from tests.conftest import HEIGHT, WIDTH, Inputs, relative_error
from tests.hosts.test_webui_hosts import MODES, World, expected, ldm_like, world_of
from tests.hosts.webui_contracts import Rows
from tests.ldm_unet import LdmUNet, ldm_unet_like

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ldm(diffusers_unet: UNet2DConditionModel) -> LdmUNet:
    return ldm_unet_like(diffusers_unet)


@pytest.fixture(scope="module")
def rows(diffusers_unet: UNet2DConditionModel) -> Rows:
    inputs = Inputs(diffusers_unet)
    return Rows(latents=inputs.latents, context=inputs.context, vector=inputs.vector)


@pytest.fixture(scope="module")
def guidance(identitynet: ControlNet) -> Any:
    """Two controls that read the text, one in the left half only."""
    left = torch.zeros(HEIGHT, WIDTH)
    left[:, : WIDTH // 2] = 1
    hints = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    parts = [
        ControlPart(
            network=identitynet,
            hint=hints[i : i + 1],
            contexts=(ControlContext(strength=0.7, region=left if i else None),),
            title="a ControlNet",
            cure="Choose another.",
            mode="identity" if i else "balanced",
        )
        for i in range(2)
    ]
    return SimpleNamespace(conditioning=Conditioning(parts=tuple(parts), size=(WIDTH, HEIGHT)))


@pytest.fixture(params=["a1111", "forge"])
def world(request: pytest.FixtureRequest, ldm: LdmUNet, tmp_path: Path) -> Iterator[World]:
    yield from world_of(request.param, ldm, tmp_path)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("cond", "uncond"), [([0], [1]), ([0, 1, 2], [3])], ids=["one", "AND"])
def test_each_row_has_its_own_text_however_the_webui_cuts_them(
    world: World, ldm: LdmUNet, guidance: Any, rows: Rows, mode: str, cond: list[int], uncond: list[int]
) -> None:
    reference = expected(ldm, guidance, rows, cond)
    world.attach(guidance)
    found = world.webui.step(rows, cond, uncond, mode)
    assert all(relative_error(noise, reference[row]) < 1e-5 for row, noise in found.items())
    world.host.detach()


class MarkedUNet(LdmUNet):
    """As sd-webui-controlnet makes it while its units act: it takes their mark off the text inside the call."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        assert (context[:, 0].abs() == 1024).all()
        return super().forward(x, timesteps, context=context[:, 1:], y=y, **kwargs)


def test_on_a1111_the_mark_of_sd_webui_controlnet_is_no_text(ldm: LdmUNet, guidance: Any, rows: Rows, tmp_path: Path) -> None:
    cond, uncond = [0, 1], [2, 3]
    reference = expected(ldm, guidance, rows, cond)
    sign = torch.tensor([1.0 if row in cond else -1.0 for row in range(len(rows.context))])
    mark = (1024 * sign)[:, None, None].expand(-1, 1, rows.context.shape[2])
    marked = dataclasses.replace(rows, context=torch.cat([mark, rows.context], dim=1))
    unet: nn.Module = ldm_like(ldm, MarkedUNet)
    for world in world_of("a1111", unet, tmp_path):  # type: ignore[arg-type]
        world.attach(guidance)
        found = world.webui.step(marked, cond, uncond)
        assert all(relative_error(noise, reference[row]) < 1e-5 for row, noise in found.items())
        world.host.detach()


class Preprocessor:
    """The interface that Forge's preprocessors and those of sd-webui-controlnet share."""

    sorting_priority = 0

    def __init__(self, name: str, tags: list[str], result: Any, **more: Any) -> None:
        self.name, self.tags, self.result = name, tags, result
        self.slider_1, self.slider_2, self.slider_3 = (
            SimpleNamespace(gradio_update_kwargs={"value": value}) for value in (1, 2, 3)
        )
        vars(self).update(more)

    def __call__(self, input_image: Any, resolution: int, slider_1: int, slider_2: int, slider_3: int) -> Any:
        assert (resolution, slider_1, slider_2, slider_3) == (512, 1, 2, 3)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(input_image) if callable(self.result) else self.result


def test_the_webuis_preprocessors_draw_with_their_own_defaults() -> None:
    freed: list[str] = []
    found = drawing(
        [
            Preprocessor("None", [], None),
            Preprocessor("depth", ["Depth"], lambda picture: picture[..., 0], label="depth_midas"),
            Preprocessor("openpose_full", ["OpenPose"], lambda picture: SimpleNamespace(value=picture // 2)),
            Preprocessor("CLIP-ViT-H (IPAdapter)", ["IP-Adapter"], None),
            Preprocessor("clip_vision", ["T2I-Adapter"], None, returns_image=False),
            Preprocessor("inpaint_only", ["Inpaint"], None, requires_mask=True),
        ],
        lambda one: freed.append(one.name),
    )
    assert list(found) == ["depth_midas", "openpose_full"]
    assert not freed
    assert np.array_equal(found["depth_midas"](PICTURE, 512), np.repeat(PICTURE[..., :1], 3, axis=2))
    assert np.array_equal(found["openpose_full"](PICTURE, 512), PICTURE // 2)
    assert freed == ["depth", "openpose_full"]


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        (OSError("no network"), MissingModelFile, r"depth: its model file could not be fetched \(no network\)"),
        (torch.zeros(1), SettingsError, "depth: it draws no map; choose another"),
        (np.zeros((4, 4, 3)), SettingsError, "depth: it draws no map"),
    ],
)
def test_what_a_webuis_preprocessor_cannot_do_is_said(result: Any, kind: type[Exception], words: str) -> None:
    draw = drawing([Preprocessor("depth", ["Depth"], result)])["depth"]
    with pytest.raises(kind, match=words):
        draw(PICTURE, 512)


def test_each_host_finds_its_own_and_says_where_to_get_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Preprocessor(name, ["Depth"], None, sorting_priority=i) for i, name in enumerate(("zoe", "midas")))
    if type(world.host).__name__ == "ForgeHost":
        import modules_forge

        monkeypatch.setattr(modules_forge.shared, "supported_preprocessors", {"a": first, "b": second}, raising=False)
    else:
        assert "sd-webui-controlnet" in world.host.preprocessors().cure
        assert not world.host.preprocessors().by_name
        module = ModuleType("scripts.supported_preprocessor")
        module.Preprocessor = SimpleNamespace(get_sorted_preprocessors=lambda: [second, first])  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "scripts.supported_preprocessor", module)
    assert list(world.host.preprocessors().by_name) == ["midas", "zoe"]
