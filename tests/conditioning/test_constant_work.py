"""What does not change over the steps is done once per generation; what is not needed is not done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from torch import nn

from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.networks.adapter import Adapter
from lib_instantid.networks.controlnet import ControlNet
from tests.conftest import ROWS, Call, Guide, place

STEPS = 6


@contextmanager
def counted(adapter: Adapter, net: ControlNet) -> Iterator[Counter[str]]:
    """How often each kind of layer runs."""
    counts: Counter[str] = Counter()
    constant = {"resampler": [adapter.image_proj], "hint": [net.controlnet_cond_embedding]}
    constant["site keys and values"] = [m for pair in adapter.ip_adapter.values() for m in pair.children()]
    constant["own keys and values"] = [
        layer for name, layer in net.named_modules() if name.endswith(("attn2.to_k", "attn2.to_v"))
    ]
    with ExitStack() as undo:
        for name, modules in {**constant, "identitynet": [net], "self-attention": [net.mid_block]}.items():
            for module in modules:
                undo.callback(module.register_forward_hook(lambda *_, name=name: counts.update([name])).remove)
        yield counts


def run(unet: nn.Module, call: Call, guidance: object, calls_per_step: int = 1) -> None:
    step = 0
    with attach(unet, guidance.conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=step, total=STEPS)):  # type: ignore[arg-type]
        for step in range(STEPS):  # noqa: B007 - read by the lambda
            for _ in range(calls_per_step):
                call(unet)


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("calls_per_step", [1, 2])
def test_constant_work_is_done_once_per_person_and_generation(
    unet: nn.Module, call: Call, guide: Guide, adapter: Adapter, identitynet: ControlNet, people: int, calls_per_step: int
) -> None:
    sites = len(adapter.ip_adapter)
    own = sum(name.endswith("attn2.to_k") for name, _ in identitynet.named_modules())
    with counted(adapter, identitynet) as counts:
        run(unet, call, guide([place(i, shift=15 * i) for i in range(people)]), calls_per_step)
    assert counts["resampler"] == people
    assert counts["site keys and values"] == 2 * sites * people
    assert counts["hint"] == people
    assert counts["own keys and values"] == 2 * own * people
    assert counts["identitynet"] == counts["self-attention"] == STEPS * calls_per_step * people


def test_identitynet_runs_only_inside_its_window(
    unet: nn.Module, call: Call, guide: Guide, adapter: Adapter, identitynet: ControlNet
) -> None:
    with counted(adapter, identitynet) as counts:
        run(unet, call, guide(identitynet_start=0.3, identitynet_end=0.7))
    assert counts["identitynet"] == 2  # of six steps, 2 and 3 lie wholly between 0.3 and 0.7


@pytest.mark.parametrize(("part", "silent"), [("adapter", "site keys and values"), ("identitynet", "identitynet")])
def test_strength_zero_does_no_work(
    unet: nn.Module, call: Call, guide: Guide, adapter: Adapter, identitynet: ControlNet, part: str, silent: str
) -> None:
    guidance = guide(person={f"{part}_strength": 0.0})
    with counted(adapter, identitynet) as counts:
        run(unet, call, guidance)
    assert counts[silent] == 0
