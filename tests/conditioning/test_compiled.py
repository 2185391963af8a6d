"""A UNet that was compiled before: the person acts in it as in the same UNet uncompiled, and it is compiled again afterwards.

torch.compile leaves out hooks that are registered later (`skip_nnmodule_hook_guards`), so that they would do nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lib_instantid.errors import UnsupportedModel
from tests.conditioning.test_no_trace import attached
from tests.conftest import Call, Guide


def blocks_of(unet: nn.Module) -> list[nn.Module]:
    return [module for name, module in unet.named_modules() if name.endswith("transformer_blocks.0")]


def in_place(unet: nn.Module) -> None:
    for block in blocks_of(unet):
        block.compile(backend="eager")


def by_their_forward(unet: nn.Module) -> None:
    for block in blocks_of(unet):
        block.forward = torch.compile(block.forward, backend="eager")


@pytest.mark.parametrize("compile_it", [in_place, by_their_forward])
def test_the_person_acts_in_compiled_blocks_and_the_compiled_code_comes_back(
    compile_it: Callable[[nn.Module], None], unet: nn.Module, call: Call, guide: Guide
) -> None:
    torch._dynamo.reset()
    other = copy.deepcopy(unet)
    with attached(other, guide()):
        wanted = call(other)
    compile_it(other)
    kept = [(module._compiled_call_impl, vars(module).get("forward")) for module in other.modules()]
    plain = call(other)
    with attached(other, guide()):
        found = call(other)
    assert torch.equal(found, wanted)
    assert not torch.equal(found, plain)
    assert torch.equal(call(other), plain)
    assert [(module._compiled_call_impl, vars(module).get("forward")) for module in other.modules()] == kept


def test_a_part_that_was_replaced_by_its_compiled_twin_is_refused(unet: nn.Module, guide: Guide) -> None:
    other = copy.deepcopy(unet)
    name = next(name for name, _ in other.named_modules() if name.endswith("transformer_blocks.0"))
    parent, _, last = name.rpartition(".")
    other.get_submodule(parent)[int(last)] = torch.compile(other.get_submodule(name), backend="eager")
    with pytest.raises(UnsupportedModel, match=r"torch\.compile"):
        attached(other, guide())
