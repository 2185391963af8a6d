"""Beyond the reference's arithmetic: what each faster setting leaves out, and what it leaves as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.adapters.instantid.prepare import Prepared
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.sampling import SamplingPass
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.unets import UNetInputs
from lib_instantid.networks.controlnet import ControlNet
from tests.conftest import HEIGHT, ROWS, SMALL, WIDTH, Call, Guide, place, relative_error

STEPS = 4
APART = [place(1), place(2, shift=60)]


Plan = list[list[list[int]]]
"""For each step its UNet calls, for each call its rows; even rows are unconditional."""


def over_all_steps(*rows: list[int]) -> Plan:
    """Each step with these calls; its latents are its own."""
    return [[[row + 2 * step for row in call] for call in rows] for step in range(STEPS)]


def steps(unet: nn.Module, call: Call, guidance: Prepared, plan: Plan | None = None) -> list[list[Tensor]]:
    """The UNet's answers over a pass."""
    step, roles, found = 0, ROWS, []
    with attach(unet, guidance.conditioning, rows_of=lambda _: roles, step=lambda: Step(index=step, total=STEPS)):
        for step, calls in enumerate(plan or over_all_steps([0, 1])):  # noqa: B007 - read by the lambda
            answers = []
            for rows in calls:
                roles = tuple(ROWS[row % 2] for row in rows)
                answers.append(call(unet, rows))
            found.append(answers)
    return found


@pytest.mark.parametrize("rows", [([0, 1],), ([1], [0]), ([0, 1], [1])], ids=["joined", "separate", "unequal"])
@pytest.mark.parametrize("every", [2, 3, 8])
def test_between_every_nth_step_the_call_at_the_same_place_gives_the_residuals(
    unet: nn.Module, call: Call, guide: Guide, identitynet: ControlNet, every: int, rows: tuple[list[int], ...]
) -> None:
    runs: list[int] = []
    handle = identitynet.register_forward_hook(lambda *_: runs.append(1))
    plan = over_all_steps(*rows)
    shared, exact = steps(unet, call, guide(identitynet_every=every), plan), steps(unet, call, guide(), plan)
    handle.remove()
    for step in range(STEPS):
        for answer, reference in zip(shared[step], exact[step], strict=True):
            if step % every == 0:
                assert torch.equal(answer, reference)
            else:
                assert relative_error(answer, reference) > 1e-4
    assert len(runs) == len(rows) * (-(-STEPS // every) + STEPS)


def test_nothing_of_another_size_or_pass_is_used_again(unet: nn.Module, call: Call, guide: Guide) -> None:
    guidance = guide(identitynet_every=8)
    sizes = [[[0, 1]], [[1]], [[0, 1, 2, 3]]]
    shared, exact = steps(unet, call, guidance, sizes), steps(unet, call, guide(), sizes)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(shared, exact, strict=True))
    first, second = steps(unet, call, guidance), steps(unet, call, guidance)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def residuals(guidance: Prepared, x: Tensor, vector: Tensor) -> tuple[Tensor, ...]:
    sampling = SamplingPass(guidance.conditioning, lambda _: ROWS, lambda: Step(index=0, total=1))
    text = torch.zeros(2, 77, SMALL.context)
    sampling.begin(UNetInputs(x=x, timestep=torch.full((2,), 601.0), context=text, vector=vector))
    assert sampling.residuals is not None
    return (*sampling.residuals.down, sampling.residuals.middle)


class ByRegion:
    """diffusers' attention processor: each cell attends to the tokens of the person who is nearer, computed by hand."""

    def __init__(self, split: float) -> None:
        self.split = split

    def __call__(
        self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: object, **__: object
    ) -> Tensor:
        query, key, value = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (query, key, value))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        cells, tokens = scores.shape[-2:]
        scale = round((HEIGHT * WIDTH / 64 / cells) ** 0.5) * 8
        x = torch.arange(cells) % (WIDTH // scale) * scale
        right = (x >= self.split)[:, None]
        second = (torch.arange(tokens) >= tokens // 2)[None]
        weights = scores.masked_fill(right != second, float("-inf")).softmax(-1)
        out: Tensor = attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
        return out


def test_one_run_for_two_people_is_a_controlnet_whose_cells_attend_to_their_own_person(
    guide: Guide, weights_folder: Path
) -> None:
    """Against diffusers' ControlNetModel, with both faces in the map and both people's tokens in the context."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, HEIGHT // 8, WIDTH // 8)
    text, ids = torch.randn(2, SMALL.text[1]), torch.tensor([[96.0, 128, 0, 0, 96, 128]] * 2)
    reference = ControlNetModel.from_pretrained(weights_folder / "ControlNetModel").eval()
    vector = torch.cat([text, reference.add_time_proj(ids.flatten()).reshape(2, -1)], dim=-1)
    guidance = guide(APART, person={"identitynet_strength": 1.0}, identitynet_people="together")
    first, second = guidance.people
    split = (APART[0].keypoints.mean(axis=0)[0] + APART[1].keypoints.mean(axis=0)[0]) / 2  # type: ignore[union-attr]
    processors = {
        name: ByRegion(split) if name.endswith("attn2.processor") else old for name, old in reference.attn_processors.items()
    }
    reference.set_attn_processor(processors)
    with torch.no_grad():
        down, middle = reference(
            x,
            torch.full((2,), 601.0),
            torch.cat([first.face.tokens, second.face.tokens], dim=1),
            torch.maximum(first.keypoint_map, second.keypoint_map).expand(2, -1, -1, -1),
            added_cond_kwargs={"text_embeds": text, "time_ids": ids},
            return_dict=False,
        )
    for found, expected in zip(residuals(guidance, x, vector), (*down, middle), strict=True):
        weight = sum(F.interpolate(one.region[None, None], found.shape[2:], mode="bilinear") for one in (first, second))
        assert relative_error(found, expected * weight) < 1e-5


@pytest.mark.parametrize("people", [2, 4])
def test_one_run_serves_all_people(unet: nn.Module, call: Call, guide: Guide, identitynet: ControlNet, people: int) -> None:
    placed = [place(i, shift=20 * i) for i in range(people)]
    runs: list[int] = []
    handle = identitynet.register_forward_hook(lambda *_: runs.append(1))
    together = steps(unet, call, guide(placed, identitynet_people="together"))
    handle.remove()
    assert len(runs) == STEPS
    each, plain = steps(unet, call, guide(placed)), call(unet)
    assert relative_error(together[0][0], each[0][0]) < relative_error(plain, each[0][0])


def test_one_person_alone_is_the_same_either_way(unet: nn.Module, call: Call, guide: Guide) -> None:
    each, together = steps(unet, call, guide()), steps(unet, call, guide(identitynet_people="together"))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(each, together, strict=True))
