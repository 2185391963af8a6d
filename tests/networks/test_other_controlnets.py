"""ControlNets of SD1.5, SDXL's small ones and Union against diffusers' models with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from safetensors.torch import save_file
from torch import Tensor

from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.weights.controlnets import load_controlnet
from lib_instantid.weights.reading import read_weights
from tests.conftest import relative_error
from tests.controlnets import controlnet, sd15, small, union
from tests.ldm_unet import ldm_name

NETS = {
    "SD1.5": lambda: controlnet(**sd15()),
    "SD1.5, other sizes": lambda: controlnet(2, **sd15(block_out_channels=(64, 128, 128, 192), cross_attention_dim=96)),
    "SDXL, no attention in the middle": lambda: controlnet(**small("mid")),
    "SDXL, no attention": lambda: controlnet(**small("small")),
}


class Inputs:
    """Three rows of inputs for a network, of other contexts and noises."""

    def __init__(self, net: Any, rows: int = 3) -> None:
        torch.manual_seed(0)
        self.x = torch.randn(rows, 4, 12, 16)
        self.timestep = torch.rand(rows) * 1000
        self.tokens = torch.randn(rows, 77, net.config.cross_attention_dim)
        self.hint = torch.rand(1, 3, 96, 128)
        self.text, self.ids = torch.randn(rows, 32), torch.randint(0, 1024, (rows, 6)).float()
        self.sdxl = net.config.addition_embed_type is not None
        sizes = net.add_time_proj(self.ids.flatten()).reshape(rows, -1) if self.sdxl else None
        self.vector = None if sizes is None else torch.cat([self.text, sizes], dim=-1)

    @property
    def added(self) -> dict[str, Tensor] | None:
        return {"text_embeds": self.text, "time_ids": self.ids} if self.sdxl else None

    @torch.no_grad()
    def found(self, net: ControlNet, rows: slice = slice(None), task: int | None = None) -> tuple[Tensor, ...]:
        hint, context = net.prepare_hint(self.hint, task), net.prepare_context(self.tokens[rows])
        vector = None if self.vector is None else self.vector[rows]
        own = net(self.x[rows], self.timestep[rows], vector, hint, context)
        return (*own.down, own.middle)


def near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return all(relative_error(one, other) < 1e-5 for one, other in zip(found, expected, strict=True))


def load(path: Path) -> ControlNet:
    return load_controlnet(read_weights(path), "ControlNet", str(path))


@torch.no_grad()
def expected_of(reference: ControlNetModel, inputs: Inputs) -> tuple[Tensor, ...]:
    hints = inputs.hint.expand(len(inputs.x), -1, -1, -1)
    arguments = inputs.x, inputs.timestep, inputs.tokens, hints
    down, middle = reference(*arguments, added_cond_kwargs=inputs.added, return_dict=False)
    return (*down, middle)


@pytest.mark.parametrize("name", NETS)
def test_residuals_equal_diffusers_by_either_names(name: str, tmp_path: Path) -> None:
    reference = NETS[name]()
    inputs = Inputs(reference)
    expected = expected_of(reference, inputs)
    reference.save_pretrained(tmp_path / "net")
    assert near(inputs.found(load(tmp_path / "net")), expected)
    renamed = {"control_model." + ldm_name(key): tensor for key, tensor in reference.state_dict().items()}
    save_file(renamed, tmp_path / "ldm.safetensors")
    assert near(inputs.found(load(tmp_path / "ldm.safetensors")), expected)


@torch.no_grad()
def expected_of_union(reference: ControlNetUnionModel, inputs: Inputs, task: int) -> tuple[Tensor, ...]:
    rows = len(inputs.x)
    types = torch.zeros(rows, reference.config.num_control_type)
    types[:, task] = 1
    down, middle = reference(
        inputs.x,
        inputs.timestep,
        inputs.tokens,
        controlnet_cond=[inputs.hint.expand(rows, -1, -1, -1)],
        control_type=types,
        control_type_idx=[task],
        added_cond_kwargs=inputs.added,
        return_dict=False,
    )
    return (*down, middle)


@pytest.mark.parametrize(("layers", "types"), [(1, 6), (2, 8)])
def test_a_unions_residuals_equal_diffusers_for_every_task(layers: int, types: int, tmp_path: Path) -> None:
    reference = union(layers=layers, num_control_type=types)
    inputs = Inputs(reference)
    reference.save_pretrained(tmp_path / "net")
    net = load(tmp_path / "net")
    each = [inputs.found(net, task=task) for task in range(types)]
    for task, found in enumerate(each):
        assert near(found, expected_of_union(reference, inputs, task))
    assert not near(each[0], each[1])


def test_a_unions_rows_do_not_depend_on_one_another(tmp_path: Path) -> None:
    """So that separate calls for prompt and negative prompt give what one call gives."""
    reference = union()
    inputs = Inputs(reference)
    reference.save_pretrained(tmp_path / "net")
    net = load(tmp_path / "net")
    together = inputs.found(net, task=3)
    for row in range(len(inputs.x)):
        alone = inputs.found(net, slice(row, row + 1), task=3)
        assert near(alone, tuple(one[row : row + 1] for one in together))
