"""Every row by its role: however the host cuts its rows into calls, each row gets what it gets in the joined call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lib_instantid.adapters.instantid.prepare import Prepared
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from tests.conftest import Call, Guide, place, relative_error

# Rows 0 to 2 are unconditional, the others conditional.
ROLES = (False, False, False, True, True, True, True, True)
JOINED = list(range(8))
CUTS = {
    "cond first, as A1111 does": [[3, 4, 0, 1, 5, 6, 7, 2]],
    "separate cond and uncond": [[0, 1, 2], [3, 4, 5, 6, 7]],
    "row by row": [[i] for i in JOINED],
    "batch that shrinks": [[0, 1, 3, 4], [5, 6], [7, 2]],
    "several prompts and one negative": [[3, 4, 5, 0], [6, 7, 1], [2]],
}


def guided(unet: nn.Module, guidance: Prepared, call: Call, cuts: list[list[int]]) -> Tensor:
    """Noise of rows 0 to 7, computed in these calls during one attachment."""
    current: list[int] = []
    noise: list[Tensor] = [torch.empty(0)] * len(ROLES)
    with attach(
        unet, guidance.conditioning, rows_of=lambda _: tuple(ROLES[i] for i in current), step=lambda: Step(index=0, total=1)
    ):
        for rows in cuts:
            current[:] = rows
            for row, out in zip(rows, call(unet, rows), strict=True):
                noise[row] = out
    return torch.stack(noise)


@pytest.mark.parametrize("mode", ["balanced", "identity"])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_rows_do_not_depend_on_how_they_are_cut_into_calls(
    unet: nn.Module, call: Call, guide: Guide, cuts: list[list[int]], mode: str
) -> None:
    guidance = guide(control_mode=mode)
    joined = guided(unet, guidance, call, [JOINED])
    assert relative_error(guided(unet, guidance, call, cuts), joined) < 1e-5


def test_the_role_of_a_row_matters(unet: nn.Module, call: Call, guide: Guide) -> None:
    """A conditional row taken for an unconditional one is another picture, so the tests above can fail."""
    guidance = guide()
    with attach(unet, guidance.conditioning, rows_of=lambda _: (True,), step=lambda: Step(index=0, total=1)):
        conditional = call(unet, [0])
    with attach(unet, guidance.conditioning, rows_of=lambda _: (False,), step=lambda: Step(index=0, total=1)):
        unconditional = call(unet, [0])
    assert relative_error(conditional, unconditional) > 1e-3


def test_identity_mode_leaves_unconditional_rows_to_the_adapter(unet: nn.Module, call: Call, guide: Guide) -> None:
    """Only IdentityNet is held back; the adapter's unconditional tokens act as in the reference."""
    adapter_only = guide(person={"identitynet_strength": 0.0})
    found = guided(unet, guide(control_mode="identity"), call, [JOINED])
    expected = guided(unet, adapter_only, call, [JOINED])
    assert relative_error(found[:3], expected[:3]) < 1e-6
    assert relative_error(found[3:], expected[3:]) > 1e-3


def test_two_people_in_every_cut(unet: nn.Module, call: Call, guide: Guide) -> None:
    guidance = guide([place(0), place(1, shift=40)], face_region="face")
    joined = guided(unet, guidance, call, [JOINED])
    for cuts in CUTS.values():
        assert relative_error(guided(unet, guidance, call, cuts), joined) < 1e-5


def test_naming_too_few_rows_is_an_error(unet: nn.Module, call: Call, guide: Guide) -> None:
    with (
        attach(unet, guide().conditioning, rows_of=lambda _: (True,), step=lambda: Step(index=0, total=1)),
        pytest.raises(ValueError, match="named 1 rows of a call with 2"),
    ):
        call(unet)
