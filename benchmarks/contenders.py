"""Who is measured: the plain UNet, InstantID and image prompts on it, and diffusers' own parts put together as the official
pipelines do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor

from benchmarks.networks import Networks
from lib_instantid.adapters.instantid.prepare import PlacedPerson, Prepared, prepare
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import AttentionPart, Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import cross_attention_sites
from lib_instantid.networks.adapter import PromptTokens
from lib_instantid.networks.blocks import sinusoidal

PASS = 20
"""Steps of the pass of which the first are measured."""

STRENGTH = 0.8
TOKENS = 77
FACE = np.array([[0.38, 0.40], [0.62, 0.40], [0.50, 0.55], [0.41, 0.70], [0.59, 0.70]])

RunStep = Callable[[int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """width, height in pixels. batch: pictures; a UNet call has twice as many rows, for guidance."""

    width: int
    height: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to make a step.

    period: steps after which the work repeats. exact: whether the numbers are the reference's. limit: whose arithmetic is the
    least that this can cost; reference: whose noise prediction is the right one. Both are names.
    """

    name: str
    run: Callable[[Networks, Case], AbstractContextManager[RunStep]]
    people: int
    limit: str
    reference: str
    period: int = 1
    exact: bool = True


def plain() -> Contender:
    return Contender(name="plain", run=_plain, people=0, limit="plain", reference="plain")


def diffusers() -> Contender:
    """It makes constant work in every step; its limit is that of doing it once."""
    exact = name_of(1)
    return Contender(name="diffusers", run=_diffusers, people=1, limit=exact, reference=exact)


def instantid(people: int = 1, faster: str = "", **settings: Any) -> Contender:
    """faster: what the settings leave out, in words."""
    name = name_of(people) + (f", {faster}" if faster else "")

    def run(networks: Networks, case: Case) -> AbstractContextManager[RunStep]:
        return _attached(networks, case, guide(networks, case, people, settings).conditioning)

    period = settings.get("identitynet_every", 1)
    return Contender(
        name=name, run=run, people=people, limit=name, reference=name_of(people), period=period, exact=not settings
    )


def image_prompts(count: int = 1) -> Contender:
    """IP-Adapters with 16 tokens each, as Plus has."""
    name = prompts_name(count)

    def run(networks: Networks, case: Case) -> AbstractContextManager[RunStep]:
        tokens = [_prompt_tokens(networks, number) for number in range(count)]
        parts = tuple(AttentionPart(keys_values=one.keys_values, strength=STRENGTH, misfit="") for one in tokens)
        return _attached(networks, case, Conditioning(parts=parts, size=(case.width, case.height)))

    return Contender(name=name, run=run, people=0, limit=name, reference=name)


def diffusers_prompt() -> Contender:
    """diffusers' IP-Adapter, which makes keys and values of the tokens in every step."""
    exact = prompts_name(1)
    return Contender(name="diffusers' IP-Adapter", run=_diffusers_prompt, people=0, limit=exact, reference=exact)


def prompts_name(count: int) -> str:
    return "image prompt" if count == 1 else f"{count} image prompts"


def _prompt_tokens(networks: Networks, number: int) -> PromptTokens:
    return networks.faces.face_tokens(torch.from_numpy(embedding_of(number)), torch.zeros(512))


@contextmanager
def _attached(networks: Networks, case: Case, conditioning: Conditioning) -> Iterator[RunStep]:
    call, now = _unet_call(networks, case), [0]
    rows = (False,) * case.batch + (True,) * case.batch
    with attach(networks.unet, conditioning, rows_of=lambda _: rows, step=lambda: Step(index=now[0], total=PASS)):

        def step(number: int) -> Tensor:
            now[0] = number
            return call(number)

        yield step


def name_of(people: int) -> str:
    """Of InstantID as it is."""
    return "instantid" if people == 1 else f"instantid, {people} people"


def guide(networks: Networks, case: Case, people: int, settings: dict[str, Any]) -> Prepared:
    """Prepared for people beside each other, as from saved identities."""
    given = [Person(identity="saved", pose="none", adapter_strength=STRENGTH, identitynet_strength=STRENGTH)] * people
    own = Settings(enabled=True, people=given, **{"face_region": "everywhere", **settings})
    return prepare(own, people_in(case, people), (case.width, case.height), networks.faces, lambda: networks.identitynet)


def people_in(case: Case, people: int) -> list[PlacedPerson]:
    """People beside each other."""
    size = np.array([case.width / people, case.height])
    placed = []
    for number in range(people):
        keypoints = (FACE + [number, 0]) * size
        box = np.array([*keypoints.min(axis=0), *keypoints.max(axis=0)])
        placed.append(PlacedPerson(embedding=embedding_of(number), keypoints=keypoints, box=box))
    return placed


def embedding_of(number: int) -> np.ndarray:
    """(512,) float32, random."""
    return np.random.default_rng(number).standard_normal(512).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Latents that turn from one random picture to another, as over the steps of a pass. added: SDXL's pooled text and sizes,
    by diffusers' names."""

    start: Tensor
    end: Tensor
    text: Tensor
    added: dict[str, Tensor]

    @property
    def vector(self) -> Tensor:
        """The same as SDXL's `y`."""
        pooled, ids = self.added["text_embeds"], self.added["time_ids"]
        return torch.cat([pooled, sinusoidal(ids.flatten(), 256).reshape(len(ids), -1).to(pooled)], dim=-1)

    def x(self, step: int) -> Tensor:
        angle = step * math.pi / 2 / PASS
        return self.start * math.cos(angle) + self.end * math.sin(angle)

    def timestep(self, step: int) -> Tensor:
        return torch.full((len(self.start),), 999.0 * (1 - step / PASS), device=self.start.device)


def inputs(networks: Networks, case: Case) -> Inputs:
    rows = 2 * case.batch
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(networks.device, networks.dtype)

    ids = torch.tensor([[case.height, case.width, 0, 0, case.height, case.width]] * rows)
    return Inputs(
        start=random(rows, 4, case.height // 8, case.width // 8),
        end=random(rows, 4, case.height // 8, case.width // 8),
        text=random(rows, TOKENS, networks.identitynet.shape.attending.context_size),
        added={"text_embeds": random(rows, 1280), "time_ids": ids.to(networks.device, networks.dtype)},
    )


def _unet_call(networks: Networks, case: Case) -> RunStep:
    given = inputs(networks, case)
    vector, unet = given.vector, networks.unet

    @torch.no_grad()
    def call(number: int) -> Tensor:
        x, timestep = given.x(number), given.timestep(number)
        found: Tensor
        if isinstance(unet, UNet2DConditionModel):
            found = unet(x, timestep, given.text, added_cond_kwargs=given.added).sample
        else:
            found = unet(x, timestep, context=given.text, y=vector)
        return found

    return call


@contextmanager
def _plain(networks: Networks, case: Case) -> Iterator[RunStep]:
    yield _unet_call(networks, case)


@contextmanager
def _diffusers(networks: Networks, case: Case) -> Iterator[RunStep]:
    """Everything in every step: the keypoint map's convolutions, and the keys and values of the tokens."""
    given = inputs(networks, case)
    (person,) = guide(networks, case, 1, {}).people
    tokens = person.face.tokens.to(networks.device, networks.dtype).repeat_interleave(case.batch, dim=0)
    hint = person.keypoint_map.to(networks.device, networks.dtype).expand(len(given.start), -1, -1, -1)
    before = networks.unet.attn_processors
    networks.unet.set_attn_processor({**before, **_processors(networks)})

    @torch.no_grad()
    def step(number: int) -> Tensor:
        x, timestep = given.x(number), given.timestep(number)
        down, middle = networks.controlnet(
            x,
            timestep,
            tokens,
            hint,
            conditioning_scale=STRENGTH,
            added_cond_kwargs=given.added,
            return_dict=False,
        )
        found: Tensor = networks.unet(
            x,
            timestep,
            (given.text, [tokens[:, None]]),
            added_cond_kwargs=given.added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return found

    try:
        yield step
    finally:
        networks.unet.set_attn_processor(before)


@contextmanager
def _diffusers_prompt(networks: Networks, case: Case) -> Iterator[RunStep]:
    given = inputs(networks, case)
    own = _prompt_tokens(networks, 0).tokens.to(networks.device, networks.dtype)
    tokens = own.repeat_interleave(case.batch, dim=0)[:, None]
    before = networks.unet.attn_processors
    networks.unet.set_attn_processor({**before, **_processors(networks)})

    @torch.no_grad()
    def step(number: int) -> Tensor:
        x, timestep = given.x(number), given.timestep(number)
        found: Tensor = networks.unet(x, timestep, (given.text, [tokens]), added_cond_kwargs=given.added).sample
        return found

    try:
        yield step
    finally:
        networks.unet.set_attn_processor(before)


def _processors(networks: Networks) -> dict[str, IPAdapterAttnProcessor2_0]:
    """diffusers' processors on the adapter's very weights."""
    found = {}
    for site in cross_attention_sites(networks.unet):
        layers: Any = networks.adapter.ip_adapter[str(site.number)]
        with torch.device("meta"):
            processor = IPAdapterAttnProcessor2_0(
                site.width, networks.identitynet.shape.attending.context_size, (16,), STRENGTH
            )
        processor.to_k_ip[0].weight, processor.to_v_ip[0].weight = layers.to_k_ip.weight, layers.to_v_ip.weight
        found[site.name + ".processor"] = processor
    return found
