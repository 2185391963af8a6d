"""After detaching, the UNet is what it was: bit-equal output, no hook, no attribute; also after an error at any stage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lib_instantid.adapters.instantid.prepare import Prepared
from lib_instantid.conditioning import acting
from lib_instantid.conditioning.attachment import Attachment, attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import cross_attention_sites
from tests.conftest import ROWS, Call, Guide, place


class Injected(Exception):
    """Stands for whatever goes wrong in a host."""


def attached(unet: nn.Module, guidance: Prepared) -> Attachment:
    return attach(unet, guidance.conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1))


def hooks(unet: nn.Module) -> int:
    kinds = [name for name in vars(nn.Module()) if name.endswith("_hooks") or "_hooks_" in name]
    assert len(kinds) >= 6
    return sum(len(getattr(module, kind)) for module in unet.modules() for kind in kinds)


def shape(unet: nn.Module) -> list[tuple[str, frozenset[str]]]:
    """Names of all modules, and of every module's attributes."""
    return [(name, frozenset(vars(module))) for name, module in unet.named_modules()]


@pytest.fixture
def untouched(unet: nn.Module, call: Call) -> Iterator[None]:
    """Fails if the test leaves a trace."""
    before, attributes = call(unet), shape(unet)
    methods = [(module, "forward" in vars(module)) for module in unet.modules()]
    assert hooks(unet) == 0
    yield
    assert torch.equal(call(unet), before)
    assert hooks(unet) == 0
    assert shape(unet) == attributes
    assert [(module, "forward" in vars(module)) for module in unet.modules()] == methods


@pytest.mark.usefixtures("untouched")
def test_attach_call_and_detach(unet: nn.Module, call: Call, guide: Guide) -> None:
    plain = call(unet)
    attachment = attached(unet, guide())
    assert hooks(unet) > 0
    assert not torch.equal(call(unet), plain)
    attachment.detach()
    attachment.detach()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("order", list(itertools.permutations([0, 1])))
def test_two_attachments_come_off_in_any_order(unet: nn.Module, call: Call, guide: Guide, order: tuple[int, int]) -> None:
    plain, first, second = call(unet), guide([place(0)]), guide([place(1)])
    with attached(unet, first if order[0] else second):
        alone = call(unet)
    attachments = [attached(unet, first), attached(unet, second)]
    both = call(unet)
    attachments[order[0]].detach()
    assert torch.equal(call(unet), alone)
    assert not torch.equal(both, alone)
    attachments[order[1]].detach()
    assert torch.equal(call(unet), plain)


@pytest.mark.usefixtures("untouched")
def test_an_error_while_attaching_undoes_what_was_attached(
    unet: nn.Module, guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every one of the attachment's registrations in turn."""
    count = registrations(unet, guide(), monkeypatch, fail_at=None)
    assert count == 2 + 2 * len(cross_attention_sites(unet)) + (10 if hasattr(unet, "output_blocks") else 0)
    for fail_at in range(count):
        with pytest.raises(Injected):
            registrations(unet, guide(), monkeypatch, fail_at)
        assert hooks(unet) == 0


def registrations(unet: nn.Module, guidance: Prepared, monkeypatch: pytest.MonkeyPatch, fail_at: int | None) -> int:
    """Attach and detach; the registration with this number raises. Returns how many there were."""
    counter = itertools.count()

    def counting(name: str) -> None:
        original = getattr(nn.Module, name)

        def register(module: nn.Module, *args: object, **kwargs: object) -> object:
            if next(counter) == fail_at:
                raise Injected
            return original(module, *args, **kwargs)

        patch.setattr(nn.Module, name, register)

    with monkeypatch.context() as patch:
        counting("register_forward_hook")
        counting("register_forward_pre_hook")
        attached(unet, guidance).detach()
    return next(counter)


def stages(unet: nn.Module) -> dict[str, nn.Module]:
    """A module in each part of the UNet, and each kind of attention layer that is hooked."""
    site = cross_attention_sites(unet)[len(cross_attention_sites(unet)) // 2].module
    ldm = hasattr(unet, "output_blocks")
    return {
        "first convolution": unet.input_blocks[0] if ldm else unet.conv_in,
        "middle": unet.middle_block if ldm else unet.mid_block,
        "last block": unet.output_blocks[-1] if ldm else unet.up_blocks[-1],
        "query": site.to_q,
        "key, between query and output": site.to_k,
        "output projection": site.to_out[0],
    }


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "stage", ["first convolution", "middle", "last block", "query", "key, between query and output", "output projection"]
)
def test_an_error_in_the_host_leaves_no_trace_and_the_next_run_is_right(
    unet: nn.Module, call: Call, guide: Guide, stage: str
) -> None:
    guidance = guide()
    with attached(unet, guidance):
        right = call(unet)

    def fail(*_: object) -> None:
        raise Injected

    handle = stages(unet)[stage].register_forward_pre_hook(fail)
    with pytest.raises(Injected), attached(unet, guidance):
        call(unet)
    handle.remove()
    with attached(unet, guidance):
        assert torch.equal(call(unet), right)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("where", ["rows_of", "step", "identitynet", "attention"])
def test_an_error_in_guidance_is_not_swallowed_and_leaves_no_trace(
    unet: nn.Module, call: Call, guide: Guide, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Injected

    guidance = guide()
    rows_of = fail if where == "rows_of" else lambda _: ROWS
    step = fail if where == "step" else lambda: Step(index=0, total=1)
    if where == "identitynet":
        monkeypatch.setattr(guidance.identitynet, "forward", fail)
    if where == "attention":
        monkeypatch.setattr(acting, "attend", fail)
    with pytest.raises(Injected), attach(unet, guidance.conditioning, rows_of=rows_of, step=step):  # type: ignore[arg-type]
        call(unet)


@pytest.mark.usefixtures("untouched")
def test_own_modules_are_never_registered_in_the_unet(unet: nn.Module, call: Call, guide: Guide) -> None:
    """fp8 storage and medvram convert or move whatever is registered there."""
    guidance, before = guide(), set(unet.state_dict())
    with attached(unet, guidance):
        call(unet)
        assert set(unet.state_dict()) == before
        own = {id(m) for m in guidance.identitynet.modules()}
        assert not own & {id(module) for module in unet.modules()}
