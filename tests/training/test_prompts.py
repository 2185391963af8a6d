"""FaceID and IP-Adapter of the small model: what the project makes of their files is what they learn with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lib_instantid.adapters import LOADERS, SYSTEM_FILES
from lib_instantid.adapters.faceid.recognise import FACEID_ADAPTER
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.adapters.tower_files import ENCODER
from lib_instantid.adapters.towers import black
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, LoraPart, Part
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.vision import pixels_of
from lib_instantid.networks.adapter import PromptTokens
from lib_instantid.weights.finding import find_models
from tests.conftest import relative_error
from training import faceid, ip_adapter
from training.adapter import Adapter, References, face_resampler
from training.checkpoint import TEXT, new_unet, part, time_ids
from training.codes import Batch
from training.diffusion import halves, heard

THERE = torch.tensor([False, True])
"""The rows of a call: unconditional, conditional."""


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    unet = new_unet().eval().requires_grad_(False)
    for name, weight in unet.named_parameters():
        if ".conv2." in name:  # a trained UNet's are not zero
            weight.normal_(std=0.05)
    return unet


@pytest.fixture(scope="module")
def state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in unet.state_dict().items()}


@torch.no_grad()
def call(unet: nn.Module, tokens: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 77, 2 * TEXT, generator=generator)
    added = {"text_embeds": torch.randn(2, TEXT, generator=generator), "time_ids": time_ids(2)}
    return unet(x, 500, context if tokens is None else (context, [tokens]), added_cond_kwargs=added).sample


def trained(kind: type[nn.Module], state: dict[str, Tensor]) -> tuple[nn.Module, nn.Module]:
    """The model and its UNet, with weights as after training."""
    unet = new_unet().eval().requires_grad_(False)
    unet.load_state_dict(state)
    torch.manual_seed(2)
    model = kind(unet)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn(weight.shape)
    return model, unet


def through_the_project(unet: nn.Module, tokens: PromptTokens, *others: Part) -> Tensor:
    own = AttentionPart(keys_values=tokens.keys_values, strength=1.0, misfit="")
    conditioning = Conditioning(parts=(own, *others), size=(64, 64))
    with attach(unet, conditioning, rows_of=lambda _: (False, True), step=lambda: Step(index=0, total=1)):
        return call(unet)


def test_faceid_acts_as_it_learnt(unet: UNet2DConditionModel, state: dict[str, Tensor], tmp_path: Path) -> None:
    model, own = trained(faceid.FaceID, state)
    torch.save(model.released(), tmp_path / faceid.NAME)
    (found,) = find_models([tmp_path], SYSTEM_FILES)
    assert (found.role, found.description) == (FACEID_ADAPTER, "a FaceID IP-Adapter, with a LoRA")
    adapter = LOADERS[FACEID_ADAPTER](found.path)
    assert adapter.by_antelope
    embedding = 20 * torch.randn(1, 512)
    expected = model(embedding.expand(2, -1), THERE).detach()
    tokens = adapter.tokens("someone", embedding)
    assert relative_error(tokens.tokens, expected) < 1e-5
    lora = LoraPart(layers=adapter.lora, strength=1.0, misfit="")
    answer = call(own, expected)
    assert relative_error(through_the_project(unet, tokens, lora), answer) < 1e-4
    assert relative_error(through_the_project(unet, tokens), answer) > 1e-3
    assert relative_error(call(unet), answer) > 1e-3


def test_ip_adapter_acts_as_it_learnt(unet: UNet2DConditionModel, state: dict[str, Tensor], tmp_path: Path) -> None:
    model, own = trained(ip_adapter.IPAdapter, state)
    torch.save(model.adapter.released(), tmp_path / ip_adapter.NAME)
    model.tower.save_pretrained(tmp_path / "image_encoder")
    found = {one.role: one.path for one in find_models([tmp_path], SYSTEM_FILES)}
    adapter, tower = LOADERS[IP_ADAPTER](found[IP_ADAPTER]), LOADERS[ENCODER](found[ENCODER])
    assert adapter.shape.kind == "plus"
    assert tower.fits(adapter.shape)
    picture = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    seen, none = tower.see({"picture": lambda side: pixels_of(picture, side, "centre"), "black": black})
    tokens = adapter.tokens("picture", [seen], none)
    expected = model(pixels_of(picture, ip_adapter.SIDE, "centre").expand(2, -1, -1, -1), THERE).detach()
    assert relative_error(tokens.tokens, expected) < 1e-4
    assert relative_error(through_the_project(unet, tokens), call(own, expected)) < 1e-4


def test_both_learn_everywhere_but_where_nothing_is_read(state: dict[str, Tensor]) -> None:
    pictures = torch.randn(2, 3, ip_adapter.SIDE, ip_adapter.SIDE)
    for kind, given in ((faceid.FaceID, torch.randn(2, 512)), (ip_adapter.IPAdapter, pictures)):
        model, unet = trained(kind, state)
        with torch.enable_grad():
            answer = unet(
                torch.randn(2, 4, 8, 8),
                500,
                (torch.randn(2, 77, 2 * TEXT), [model(given, THERE)]),
                added_cond_kwargs={"text_embeds": torch.randn(2, TEXT), "time_ids": time_ids(2)},
            ).sample
            answer.square().mean().backward()
        wanted = [name for name, weight in model.named_parameters() if weight.requires_grad and not name.startswith("read.")]
        silent = [name for name in wanted if not model.get_parameter(name).grad.any()]
        assert [name for name in silent if "k_proj.bias" not in name] == []  # what all keys have in common changes nothing
        assert not any(
            weight.requires_grad for weight in unet.parameters() if id(weight) not in set(map(id, model.parameters()))
        )


@pytest.fixture
def instantid(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """InstantID's adapter, as its training keeps it."""
    unet = new_unet()
    unet.load_state_dict(state)
    torch.manual_seed(3)
    adapter = Adapter(unet, face_resampler(2 * TEXT))
    for weight in adapter.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    return adapter.state_dict()


def tokens_of(instantid: dict[str, Tensor], embeddings: Tensor) -> Tensor:
    resampler = face_resampler(2 * TEXT)
    resampler.load_state_dict(part(instantid, "image_proj."))
    return resampler(embeddings[:, None])


def test_faceid_begins_with_tokens_like_instantids(
    state: dict[str, Tensor], instantid: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faceid, "FIRST_STEPS", 400)
    unet = new_unet()
    unet.load_state_dict(state)
    model = faceid.FaceID(unet)
    people = 20 * torch.randn(16, 512)
    with torch.enable_grad():
        model.begin_as_instantid(instantid, people)
    expected = tokens_of(instantid, people)[:, : faceid.TOKENS].detach()
    assert (
        relative_error(model(people, torch.ones(16)).detach(), expected) < 0.2 < relative_error(expected.roll(1, 0), expected)
    )
    layers = part(instantid, "ip_adapter.")
    assert all(torch.equal(weight, layers[name]) for name, weight in model.adapter.ip_adapter.state_dict().items())


def test_ip_adapters_tokens_are_taught_whose_face_it_is_and_what_is_where(
    state: dict[str, Tensor], instantid: dict[str, Tensor], tmp_path: Path
) -> None:
    (tmp_path / "embeddings").mkdir()
    embeddings = 20 * np.random.default_rng(2).standard_normal((600, 512)).astype(np.float32)
    np.save(tmp_path / "embeddings" / "embeddings-300.npy", embeddings)
    codes: Any = SimpleNamespace(number=np.array([307, 320]), index=np.array([44, 123]))
    teacher = ip_adapter.Teacher(instantid, References(tmp_path, codes.number), codes)
    batch = Batch(
        codes=torch.randn(2, 4, 16, 16), points=np.zeros((2, 5, 2)), rows=np.array([1, 0]), size=128, corners=np.zeros((2, 2))
    )
    faces = tokens_of(instantid, torch.from_numpy(embeddings[[123, 44]])).detach()
    assert relative_error(teacher.faces(batch), faces) < 1e-5
    model, _ = trained(ip_adapter.IPAdapter, state)
    places = torch.nn.functional.adaptive_avg_pool2d(batch.codes, ip_adapter.COARSE).flatten(1)
    model.read.weight.data.zero_()
    model.read.bias.data.copy_(places[0])
    tokens = faces.clone()
    tokens[0, 0] += 1.0
    apart = (places[1] - places[0]).square().mean().item()
    assert teacher.missed(model, tokens, batch).tolist() == pytest.approx([1 / 8, apart], rel=1e-3)


def test_the_tower_sees_the_window_itself_as_it_was_styled_and_mirrored(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (100, 192, 192, 3), dtype=np.uint8)
    np.save(tmp_path / "pictures-300.npy", pictures)
    np.savez(tmp_path / "views-300.npz", number=np.arange(300, 400))
    codes: Any = SimpleNamespace(
        number=np.array([307, 320]),
        index=np.array([7, 20]),
        style=np.array(["photo", "poster"]),
        mirrored=np.array([True, False]),
    )
    batch = Batch(
        codes=torch.zeros(2, 4, 16, 16),
        points=np.zeros((2, 5, 2)),
        rows=np.array([0, 1]),
        size=128,
        corners=np.array([[8, 64], [0, 0]]),
    )
    found = ip_adapter.Shown(tmp_path, codes).of(batch)
    mirrored = pictures[7][:, ::-1][64:192, 8:136]
    assert torch.equal(found[:1], pixels_of(np.ascontiguousarray(mirrored), ip_adapter.SIDE, "centre"))
    assert relative_error(found[1:], pixels_of(pictures[20][:128, :128], ip_adapter.SIDE, "centre")) > 0.1


def test_a_caption_and_a_face_are_left_out_alone_and_together_as_often() -> None:
    captioned, faced = heard(100_000, np.random.default_rng(0))
    for left_out in (~captioned & faced, captioned & ~faced, ~captioned & ~faced):
        assert abs(left_out.double().mean() - 0.05) < 0.005


def test_errors_are_told_by_how_much_noise_there_was() -> None:
    assert halves(torch.tensor([1.0, 2, 3, 4]), torch.tensor([900, 1, 500, 2])).tolist() == [2.0, 3.0]
