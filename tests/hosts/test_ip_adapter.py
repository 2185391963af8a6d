"""Whole generations with pictures as prompts against diffusers' own IP-Adapter pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection
from transformers.models.clip import CLIPImageProcessorPil

from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.ip_adapter.networks import PictureAdapter
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.adapters.runs import begin_runs, joined
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.adapters.tower_files import ENCODER
from lib_instantid.adapters.towers import PictureEncoder
from lib_instantid.conditioning.attachment import attach
from lib_instantid.hosts.diffusers.host import DiffusersHost, _Progress, _rows_of
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.sampling import scheduler_like
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.hosts.stand_ins.weights import TOWER, Size, adapter_file
from tests.conftest import SMALL
from tests.encoders.face.scenes import squares
from tests.parity.fixture import filled
from tests.parity.prompts import projection_shapes

SIZE = (128, 96)
STEPS, SEED, CFG, STRENGTH = 5, 3, 5.0, 0.7
PICTURES = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (80, 120, 3), dtype=np.uint8)) for i in (1, 2)]
STYLE = {"up": {"block_0": [0.0, STRENGTH, 0.0]}}
COMPOSITION = {"down": {"block_2": [0.0, STRENGTH]}}


def plain_file(unet: UNet2DConditionModel) -> dict[str, Any]:
    """A plain IP-Adapter for the stand-ins' tower."""
    context = int(unet.config.cross_attention_dim)
    shapes = projection_shapes("plain", TOWER // 2, TOWER, context)
    return {"image_proj": filled(shapes, "image_proj", 1), "ip_adapter": adapter_file(SMALL, unet)["ip_adapter"]}


class World:
    """A pipeline, IP-Adapters for it, and the stand-ins' tower."""

    def __init__(self, pipeline: Any, weights: Path, folder: Path) -> None:
        self.pipeline, self.weights = pipeline, weights
        self.pipeline.set_progress_bar_config(disable=True)
        unet, context = pipeline.unet, int(pipeline.unet.config.cross_attention_dim)
        size = Size(channels=SMALL.channels, text=(context - 8, 8), resampler=64)
        self.files = {"plain": plain_file(unet), "plus": adapter_file(size, unet, features=TOWER)}
        self.folder = folder

    def sources(self, kind: str) -> LoadedSources:
        path = self.folder / f"{kind}.bin"
        torch.save(self.files[kind], path)
        encoder = PictureEncoder(self.weights / "image_encoder" / "model.safetensors")
        networks = {IP_ADAPTER: PictureAdapter(path), ENCODER: encoder}
        return LoadedSources(analyser=None, identities=self.folder, networks=networks)  # type: ignore[arg-type]

    def arguments(self, cfg: float) -> dict[str, Any]:
        return {
            "prompt": "a house",
            "negative_prompt": "blurry",
            "num_inference_steps": STEPS,
            "guidance_scale": cfg,
            "width": SIZE[0],
            "height": SIZE[1],
            "generator": torch.Generator().manual_seed(SEED),
        }

    def found(self, kind: str, pictures: list[Image.Image], cfg: float, **prompt: Any) -> np.ndarray:
        given = {"pictures": pictures, "strength": STRENGTH, **prompt}
        settings = settings_from_dict({"enabled": True, "image_prompts": [given]})
        conditioning = joined(settings, begin_runs(settings, self.sources(kind)), SIZE)
        progress = _Progress(self.pipeline, lambda *_: True)
        with attach(self.pipeline.unet, conditioning, rows_of=_rows_of(self.pipeline), step=progress.step):
            images = self.pipeline(**self.arguments(cfg), callback_on_step_end=progress.after_step).images
        return np.asarray(images[0]).astype(float)

    def expected(self, kind: str, pictures: list[Image.Image], cfg: float, scale: Any = STRENGTH) -> np.ndarray:
        """By diffusers' own loader and processors."""
        own = self.pipeline.__class__(**self.pipeline.components)
        own.unet = UNet2DConditionModel.from_config(self.pipeline.unet.config).eval()
        own.unet.load_state_dict(self.pipeline.unet.state_dict())
        encoder = CLIPVisionModelWithProjection.from_pretrained(self.weights / "image_encoder").eval()
        own.register_modules(image_encoder=encoder, feature_extractor=CLIPImageProcessorPil())
        own.unet._load_ip_adapter_weights([self.files[kind]], low_cpu_mem_usage=False)
        own.set_ip_adapter_scale(scale)
        own.set_progress_bar_config(disable=True)
        return np.asarray(own(**self.arguments(cfg), ip_adapter_image=[pictures]).images[0]).astype(float)

    def plain(self, cfg: float) -> np.ndarray:
        return np.asarray(self.pipeline(**self.arguments(cfg)).images[0]).astype(float)


def sd15(folder: Path) -> StableDiffusionPipeline:
    """SD1.5's structure, small."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "checkpoint" / "tokenizer")
    text = CLIPTextConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, vocab_size=len(tokenizer)
    )
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "checkpoint" / "vae"),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(block_out_channels=(32, 64, 64, 64), cross_attention_dim=64, attention_head_dim=8).eval(),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="module", params=["SDXL", "SD1.5"])
def world(request: pytest.FixtureRequest, weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    if request.param == "SDXL":
        pipeline = StableDiffusionXLPipeline.from_pretrained(weights_folder / "checkpoint", add_watermarker=False)
    else:
        pipeline = sd15(weights_folder)
    return World(pipeline, weights_folder, tmp_path_factory.mktemp("adapters"))


def check(world: World, kind: str, pictures: list[Image.Image], cfg: float = CFG, scale: Any = STRENGTH, **prompt: Any) -> None:
    """Near diffusers' picture, and far nearer to it than to one without pictures as prompts."""
    expected = world.expected(kind, pictures, cfg, scale)  # first, as it may change the settings of the scheduler of both
    found = world.found(kind, pictures, cfg, **prompt)
    assert np.abs(found - expected).mean() < min(1.0, 0.02 * np.abs(found - world.plain(cfg)).mean())


@pytest.mark.parametrize("kind", ["plain", "plus"])
@pytest.mark.parametrize("cfg", [CFG, 1.0], ids=["with CFG", "without"])
def test_one_picture(world: World, kind: str, cfg: float) -> None:
    check(world, kind, PICTURES[:1], cfg)


def test_two_pictures_side_by_side(world: World) -> None:
    check(world, "plus", PICTURES)


@pytest.mark.parametrize("scheduler", ["dpm++ 2m", "ddim", "unipc", "euler a"])
def test_other_schedulers(world: World, scheduler: str) -> None:
    before = world.pipeline.scheduler
    world.pipeline.register_modules(scheduler=scheduler_like(before, scheduler))
    try:
        check(world, "plus", PICTURES[:1])
    finally:
        world.pipeline.register_modules(scheduler=before)


@pytest.mark.parametrize(("layers", "scale"), [("style", STYLE), ("composition", COMPOSITION)])
def test_style_and_composition_of_sdxl(world: World, layers: str, scale: dict[str, Any]) -> None:
    if isinstance(world.pipeline, StableDiffusionXLPipeline):
        check(world, "plain", PICTURES[:1], scale=scale, layers=layers)


def test_beside_a_person_both_act_and_strength_0_is_nothing(host: DiffusersHost, weights_folder: Path) -> None:
    sources = host.sources
    networks = {role: sources.network(role, None) for role in (ADAPTER, IDENTITYNET)}
    networks[IP_ADAPTER] = PictureAdapter(weights_folder / "ip-adapter-plus.bin")
    networks[ENCODER] = PictureEncoder(weights_folder / "image_encoder" / "model.safetensors")
    own = LoadedSources(analyser=sources.analyser, identities=sources.identities, networks=networks)
    both = DiffusersHost(host.pipeline, own)

    def made(**settings: Any) -> np.ndarray:
        given = settings_from_dict({"enabled": True, **settings})
        request = GenerationRequest(prompt="a house", width=SIZE[0], height=SIZE[1], steps=3, settings=given)
        return np.asarray(both.generate(request).pictures[0].image).astype(float)

    people = [{"photos": [Image.fromarray(squares(300, 200, [(90, 60, 70)]))]}]
    person, picture = made(people=people), made(image_prompts=[{"pictures": PICTURES[:1]}])
    together = made(people=people, image_prompts=[{"pictures": PICTURES[:1]}])
    assert np.abs(together - person).mean() > 0.5
    assert np.abs(together - picture).mean() > 0.5
    assert (made(people=people, image_prompts=[{"pictures": PICTURES[:1], "strength": 0.0}]) == person).all()
