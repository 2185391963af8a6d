"""Whole generations with FaceID against diffusers' own IP-Adapter pipelines, and SD1.5 checkpoints without a WebUI."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from lib_instantid.adapters.faceid.networks import FaceAdapter
from lib_instantid.adapters.faceid.recognise import FACEID_ADAPTER
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.cli import main
from lib_instantid.conditioning.sites import attention_sites
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.hosts.diffusers.checkpoint import check_checkpoint, load_pipeline
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.sampling import scheduler_like
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.hosts.stand_ins.face_models import write_face_models, write_recogniser
from tests.encoders.face.scenes import squares
from tests.hosts.single_file import write_single_file
from tests.hosts.test_ip_adapter import sd15
from tests.parity.faces import RANK, face_projection_shapes
from tests.parity.fixture import adapter_layer_shapes, filled

SIZE = (128, 96)
STEPS, SEED, CFG, STRENGTH, LORA = 5, 3, 5.0, 0.7, 0.6
PHOTOS = [Image.fromarray(squares(300, 200, [(90, 60, 70)], (255, shade, 0))) for shade in (0, 40)]


def lora_of(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    torch.manual_seed(2)
    layers = {}
    for site in attention_sites(unet):
        for name in ("to_q", "to_k", "to_v", "to_out"):
            layer: Any = site.linear(name)
            layers[f"{site.number}.{name}_lora.down.weight"] = torch.randn(RANK, layer.in_features) * 0.1
            layers[f"{site.number}.{name}_lora.up.weight"] = torch.randn(layer.out_features, RANK) * 0.1
    return layers


class World:
    """A pipeline, FaceID adapters for it, and a host with one of them."""

    def __init__(self, pipeline: Any, weights: Path, folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        self.pipeline.set_progress_bar_config(disable=True)
        self.analyser = Photos(open_analyser("builtin", weights))
        unet, context = pipeline.unet, int(pipeline.unet.config.cross_attention_dim)
        layers, self.lora = filled(adapter_layer_shapes(unet), "ip_adapter", 1), lora_of(unet)
        self.files = {}
        for kind, own in (("faceid", self.lora), ("faceid-portrait", {})):
            image_proj = filled(face_projection_shapes(kind, 1, context), "image_proj", 1)
            self.files[kind] = {"image_proj": image_proj, "ip_adapter": {**layers, **own}}
            torch.save(self.files[kind], folder / f"{kind}-antelopev2.bin")

    def found(self, kind: str, photos: list[Image.Image], scheduler: str = "euler", **settings: Any) -> np.ndarray:
        networks = {FACEID_ADAPTER: FaceAdapter(self.folder / f"{kind}-antelopev2.bin")}
        sources = LoadedSources(analyser=self.analyser, identities=self.folder, networks=networks)
        person = {"photos": photos, "system": "FaceID", "adapter_strength": STRENGTH, "lora_strength": LORA, **settings}
        request = GenerationRequest(
            prompt="a house",
            negative_prompt="blurry",
            width=SIZE[0],
            height=SIZE[1],
            steps=STEPS,
            seed=SEED,
            guidance_scale=CFG,
            scheduler=scheduler,
            settings=settings_from_dict({"enabled": True, "people": [person]}),
        )
        return np.asarray(DiffusersHost(self.pipeline, sources).generate(request).pictures[0].image).astype(float)

    def expected(self, kind: str, photos: list[Image.Image], scheduler: str = "euler") -> np.ndarray:
        """By diffusers' own loader and processors; the LoRA is in a copy's weights."""
        chosen = {"scheduler": scheduler_like(self.pipeline.scheduler, scheduler)}
        own = self.pipeline.__class__(**{**self.pipeline.components, **chosen})
        own.unet = copy.deepcopy(self.pipeline.unet)
        sites = {site.number: site for site in attention_sites(own.unet)}
        for name, down in self.lora.items() if kind == "faceid" else ():
            number, _, layer = name.partition(".")
            if ".down." in name:
                up = self.lora[name.replace(".down.", ".up.")]
                sites[int(number)].linear(layer.partition("_lora")[0]).weight.data += LORA * up @ down  # type: ignore[operator]
        own.unet._load_ip_adapter_weights([self.files[kind]], low_cpu_mem_usage=False)
        own.set_ip_adapter_scale(STRENGTH)
        own.set_progress_bar_config(disable=True)
        faces = [self.analyser.face_of(photo, "largest", None, "photo").face.embedding for photo in photos]
        normed = normalize(torch.from_numpy(np.stack(faces)), dim=-1)[None]
        embeds = torch.cat([torch.zeros_like(normed), normed])[:, :, None]
        made = own(**self.arguments(), ip_adapter_image_embeds=[embeds])
        return np.asarray(made.images[0]).astype(float)

    def arguments(self) -> dict[str, Any]:
        return {
            "prompt": "a house",
            "negative_prompt": "blurry",
            "num_inference_steps": STEPS,
            "guidance_scale": CFG,
            "width": SIZE[0],
            "height": SIZE[1],
            "generator": torch.Generator().manual_seed(SEED),
        }

    def plain(self) -> np.ndarray:
        return np.asarray(self.pipeline(**self.arguments()).images[0]).astype(float)


@pytest.fixture(scope="module", params=["SDXL", "SD1.5"])
def world(request: pytest.FixtureRequest, weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    if request.param == "SDXL":
        pipeline = StableDiffusionXLPipeline.from_pretrained(weights_folder / "checkpoint", add_watermarker=False)
    else:
        pipeline = sd15(weights_folder)
    return World(pipeline, weights_folder, tmp_path_factory.mktemp("adapters"))


@pytest.mark.parametrize("scheduler", ["euler", "dpm++ 2m", "ddim"])
def test_faceid_with_its_lora(world: World, scheduler: str) -> None:
    expected = world.expected("faceid", PHOTOS[:1], scheduler)
    found = world.found("faceid", PHOTOS[:1], scheduler)
    assert np.abs(found - expected).mean() < min(1.0, 0.02 * np.abs(found - world.plain()).mean())


def test_portrait_with_two_photos_side_by_side(world: World) -> None:
    expected, found = world.expected("faceid-portrait", PHOTOS), world.found("faceid-portrait", PHOTOS)
    assert np.abs(found - expected).mean() < min(1.0, 0.02 * np.abs(found - world.plain()).mean())


@pytest.fixture(scope="module")
def sd15_folder(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SD1.5 checkpoint as a diffusers folder."""
    folder = tmp_path_factory.mktemp("sd15")
    sd15(weights_folder).save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_a_checkpoint_of_sd15_makes_diffusers_pictures(sd15_folder: Path, tmp_path: Path, layout: str) -> None:
    path, config = sd15_folder, None
    if layout == "file":
        path, config = tmp_path / "model.safetensors", str(sd15_folder)
        write_single_file(sd15_folder, path)
    assert check_checkpoint(path) == 64
    pipeline = load_pipeline(path, torch.float32, config)
    sources = LoadedSources(analyser=None, identities=tmp_path, networks={})  # type: ignore[arg-type]
    request = GenerationRequest(prompt="a house", width=128, height=96, steps=4, seed=5, settings=settings_from_dict({}))
    (found,) = DiffusersHost(pipeline, sources).generate(request).pictures
    own = load_pipeline(sd15_folder, torch.float32)
    own.set_progress_bar_config(disable=True)
    own.register_modules(scheduler=scheduler_like(own.scheduler, "euler"))
    given = {"prompt": "a house", "negative_prompt": "", "num_inference_steps": 4, "guidance_scale": 5.0}
    expected = own(**given, width=128, height=96, generator=torch.Generator().manual_seed(5)).images[0]
    assert np.abs(np.asarray(found.image).astype(float) - np.asarray(expected)).mean() < 1


def test_the_command_line_makes_a_picture_of_sd15_with_faceid(sd15_folder: Path, tmp_path: Path) -> None:
    unet, models = load_pipeline(sd15_folder, torch.float32).unet, tmp_path / "models"
    write_face_models(models / "antelopev2")
    write_recogniser(models / "buffalo_l" / "w600k_r50.onnx", seed=7)
    layers = {**filled(adapter_layer_shapes(unet), "ip_adapter", 1), **lora_of(unet)}
    content = {"image_proj": filled(face_projection_shapes("faceid", 1, 64), "image_proj", 1), "ip_adapter": layers}
    torch.save(content, models / "faceid.bin")
    PHOTOS[0].save(tmp_path / "photo.png")

    def made(name: str, *more: str) -> np.ndarray:
        out = tmp_path / f"{name}.png"
        where = ("--checkpoint", str(sd15_folder), "--models-dir", str(models), "--out", str(out))
        picture = ("--prompt", "a house", "--steps", "2", "--width", "64", "--height", "64")
        arguments = (*picture, "--photo", str(tmp_path / "photo.png"), "--system", "FaceID")
        assert main(["generate", *where, *arguments, *more]) == 0
        return np.asarray(Image.open(out)).astype(float)

    whole = made("whole")
    assert np.abs(whole - made("less", "--lora-strength", "0", "--adapter-strength", "0.2")).mean() > 0.5


def test_instantid_on_sd15_says_which_checkpoint_it_needs(
    sd15_folder: Path, weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PHOTOS[0].save(tmp_path / "photo.png")
    where = ("--checkpoint", str(sd15_folder), "--models-dir", str(weights_folder), "--out", str(tmp_path / "a.png"))
    arguments = ("--prompt", "a", "--steps", "1", "--width", "64", "--height", "64", "--photo", str(tmp_path / "photo.png"))
    assert main(["generate", *where, *arguments, "--system", "InstantID"]) == 1
    assert "Choose an SDXL checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
