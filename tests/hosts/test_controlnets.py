"""Whole generations with ControlNets against diffusers' own pipelines: SD1.5 and SDXL, one to three at once, Union, windows,
and InstantID beside them with the official full pipeline's routing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from PIL import Image

from lib_instantid.adapters.controlnet.files import FILES
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.runs import begin_runs, joined
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.cli import main
from lib_instantid.conditioning.attachment import attach
from lib_instantid.hosts.diffusers.host import DiffusersHost, _Progress, _rows_of
from lib_instantid.hosts.diffusers.sampling import scheduler_like
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from tests.conftest import SMALL
from tests.controlnets import controlnet, sd15, sdxl, small, union
from tests.encoders.face.scenes import squares
from tests.hosts.reference import FaceTokenControlNet, Reference
from tests.hosts.test_ip_adapter import sd15 as sd15_pipeline

SIZE = (128, 96)
STEPS, SEED, CFG = 5, 3, 5.0
MAPS = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)) for i in range(3)]
SHAPE = {
    "block_out_channels": SMALL.channels,
    "transformer_layers_per_block": SMALL.depths,
    "cross_attention_dim": SMALL.context,
    "addition_time_embed_dim": SMALL.time_id,
    "projection_class_embeddings_input_dim": SMALL.vector,
}
NETS = {
    "SD1.5": {
        **{name: partial(controlnet, i, **sd15()) for i, name in enumerate(("canny", "depth", "openpose"))},
        "shuffle": partial(controlnet, 5, **sd15(global_pool_conditions=True)),
    },
    "SDXL": {
        "canny": partial(controlnet, 1, **sdxl(**SHAPE)),
        "depth": partial(controlnet, 2, **{**small("mid"), **SHAPE}),
        "openpose": partial(controlnet, 3, **sdxl(**SHAPE)),
        "union": partial(union, 4, num_control_type=8, **SHAPE),
    },
}


class World:
    """A pipeline and ControlNets for it, as files that this project reads and diffusers' models that wrote them."""

    def __init__(self, pipeline: Any, version: str, folder: Path) -> None:
        self.pipeline, self.version = pipeline, version
        pipeline.set_progress_bar_config(disable=True)
        self.nets = {name: make() for name, make in NETS[version].items()}
        for name, net in self.nets.items():
            net.save_pretrained(folder / f"controlnet-{name}")
        files = {name: folder / f"controlnet-{name}" / "diffusion_pytorch_model.safetensors" for name in self.nets}
        load = lambda _, path: FILES.load[CONTROLNET](path)  # noqa: E731
        self.sources = LoadedSources(
            analyser=None,  # type: ignore[arg-type]
            identities=folder,
            networks={},
            files={CONTROLNET: files},
            load=load,
        )

    def arguments(self, cfg: float = CFG) -> dict[str, Any]:
        return {
            "prompt": "a house",
            "negative_prompt": "blurry",
            "num_inference_steps": STEPS,
            "guidance_scale": cfg,
            "width": SIZE[0],
            "height": SIZE[1],
            "generator": torch.Generator().manual_seed(SEED),
        }

    def found(self, *controls: dict[str, Any], cfg: float = CFG, sources: Any = None, **settings: Any) -> np.ndarray:
        given = settings_from_dict({"enabled": True, "controls": controls, **settings})
        return generated(self.pipeline, given, sources or self.sources, self.arguments(cfg))

    def expected(self, *controls: dict[str, Any], cfg: float = CFG) -> np.ndarray:
        """By diffusers' pipeline for ControlNets of these names."""
        kind = StableDiffusionXLControlNetPipeline if self.version == "SDXL" else StableDiffusionControlNetPipeline
        nets = MultiControlNetModel([self.nets[control["model"]] for control in controls])
        own = kind(**self.pipeline.components, controlnet=nets)
        return self._made(own, controls, cfg)

    def alone(self, net: ControlNetModel, control: dict[str, Any]) -> np.ndarray:
        """By diffusers' pipeline for one ControlNet of SD1.5, which pools as its configuration says."""
        own = StableDiffusionControlNetPipeline(**self.pipeline.components, controlnet=net)
        own.set_progress_bar_config(disable=True)
        scale = control["strength"]
        images = own(**self.arguments(), image=control["picture"], controlnet_conditioning_scale=scale).images
        return np.asarray(images[0]).astype(float)

    def expected_of_unions(self, *controls: dict[str, Any]) -> np.ndarray:
        nets: Any = [self.nets["union"] for _ in controls]
        net = nets[0] if len(nets) == 1 else MultiControlNetUnionModel(nets)
        own = StableDiffusionXLControlNetUnionPipeline(**self.pipeline.components, controlnet=net)
        own.set_progress_bar_config(disable=True)
        tasks = [{"openpose": 0, "depth": 1, "soft edges": 2, "canny": 3}[control["map"]] for control in controls]
        images = own(
            **self.arguments(),
            control_image=[control["picture"] for control in controls],
            control_mode=tasks,
            controlnet_conditioning_scale=[control["strength"] for control in controls],
        ).images
        return np.asarray(images[0]).astype(float)

    def _made(self, pipeline: Any, controls: Sequence[dict[str, Any]], cfg: float) -> np.ndarray:
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            **self.arguments(cfg),
            image=[control["picture"] for control in controls],
            controlnet_conditioning_scale=[control.get("strength", 1.0) for control in controls],
            control_guidance_start=[control.get("start", 0.0) for control in controls],
            control_guidance_end=[control.get("end", 1.0) for control in controls],
        ).images
        return np.asarray(images[0]).astype(float)

    def plain(self, cfg: float = CFG) -> np.ndarray:
        return np.asarray(self.pipeline(**self.arguments(cfg)).images[0]).astype(float)


def generated(pipeline: Any, settings: Any, sources: Any, arguments: dict[str, Any]) -> np.ndarray:
    runs = begin_runs(settings, sources)
    for run in runs:
        run.advice(SIZE)
    progress = _Progress(pipeline, lambda *_: True)
    with attach(pipeline.unet, joined(settings, runs, SIZE), rows_of=_rows_of(pipeline), step=progress.step):
        images = pipeline(**arguments, callback_on_step_end=progress.after_step).images
    return np.asarray(images[0]).astype(float)


@pytest.fixture(scope="module", params=["SDXL", "SD1.5"])
def world(request: pytest.FixtureRequest, weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    if request.param == "SDXL":
        pipeline = StableDiffusionXLPipeline.from_pretrained(weights_folder / "checkpoint", add_watermarker=False)
    else:
        pipeline = sd15_pipeline(weights_folder)
    return World(pipeline, request.param, tmp_path_factory.mktemp("controls"))


def control(number: int, model: str, **values: Any) -> dict[str, Any]:
    return {"picture": MAPS[number], "model": model, "strength": 0.8 - 0.2 * number, **values}


def near(found: np.ndarray, expected: np.ndarray, other: np.ndarray) -> bool:
    """Near diffusers' picture, and far nearer to it than to another."""
    return bool(np.abs(found - expected).mean() < min(1.0, 0.02 * np.abs(found - other).mean()))


ONE = [control(0, "canny")]
TWO = [*ONE, control(1, "depth")]
THREE = [*TWO, control(2, "openpose")]


@pytest.mark.parametrize("controls", [ONE, TWO, THREE], ids=["one", "two", "three"])
@pytest.mark.parametrize("cfg", [CFG, 1.0], ids=["with CFG", "without"])
def test_one_to_three_at_once(world: World, controls: list[dict[str, Any]], cfg: float) -> None:
    expected = world.expected(*controls, cfg=cfg)  # first, as it may change the settings of the scheduler of both
    without_last = world.expected(*controls[:-1], cfg=cfg) if controls[1:] else world.plain(cfg)
    assert near(world.found(*controls, cfg=cfg), expected, without_last)


def test_windows(world: World) -> None:
    controls = [control(0, "canny", start=0.2, end=0.7), control(1, "depth", end=0.5)]
    always = [{**one, "start": 0.0, "end": 1.0} for one in controls]
    assert near(world.found(*controls), world.expected(*controls), world.expected(*always))


def test_a_strength_of_2_and_one_of_0(world: World) -> None:
    controls = [control(0, "canny", strength=2.0), control(1, "depth", strength=0.0)]
    expected = world.expected(controls[0])
    assert near(world.found(*controls), expected, world.expected(control(0, "canny")))


def test_shuffle_is_pooled_and_acts_on_conditional_rows(world: World) -> None:
    if world.version != "SD1.5":
        return
    shuffle = control(0, "shuffle")
    net = world.nets["shuffle"]
    expected = world.alone(net, shuffle)
    net.register_to_config(global_pool_conditions=False)
    assert near(world.found(shuffle), expected, world.alone(net, shuffle))


@pytest.mark.parametrize("maps", [["canny"], ["depth"], ["canny", "openpose"], ["depth", "canny", "soft edges"]])
def test_a_union_by_its_tasks(world: World, maps: list[str]) -> None:
    if world.version != "SDXL":
        return
    names = {"canny": "lines", "openpose": "pose"}
    controls = [control(i, "union", map=one) for i, one in enumerate(maps)]
    given = [{**one, "map": names.get(one["map"], one["map"])} for one in controls]
    wrong = [{**one, "map": "normals"} for one in given]
    expected = world.expected_of_unions(*controls)
    assert near(world.found(*given), expected, world.found(*wrong))


def test_the_command_line_makes_diffusers_picture_of_either_checkpoint(world: World, tmp_path: Path) -> None:
    """Of a folder's ControlNets the one for canny is taken."""
    world.pipeline.save_pretrained(tmp_path / "checkpoint")
    write_face_models(tmp_path / "models" / "antelopev2")
    for name, net in world.nets.items():
        net.save_pretrained(tmp_path / "models" / f"controlnet-{name}")
    MAPS[0].save(tmp_path / "map.png")
    given = {**world.arguments(), "seed": SEED}
    del given["generator"]
    options = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    options[options.index("--num-inference-steps")] = "--steps"
    where = ["--checkpoint", tmp_path / "checkpoint", "--models-dir", tmp_path / "models", "--out", tmp_path / "a.png"]
    control = ["--control-picture", tmp_path / "map.png", "--control-map", "lines", "--control-strength", 0.8]
    assert main(["generate", *map(str, where), *options, *map(str, control)]) == 0
    found = np.asarray(Image.open(tmp_path / "a.png")).astype(float)
    assert near(found, world.expected(*ONE), world.plain())


class Beside:
    """A person and controls in one generation, and the same of diffusers' parts."""

    def __init__(self, host: DiffusersHost, weights: Path, folder: Path, controls: list[dict[str, Any]]) -> None:
        self.world, self.controls = World(host.pipeline, "SDXL", folder), controls
        networks = {role: host.sources.network(role, None) for role in (ADAPTER, IDENTITYNET)}
        own = LoadedSources(
            analyser=host.sources.analyser,
            identities=host.sources.identities,
            networks=networks,
            files=self.world.sources._files,
            load=self.world.sources._load,
        )
        photo = Image.fromarray(squares(300, 200, [(90, 60, 70)]))
        person = {"photos": [photo], "adapter_strength": 0.7, "identitynet_strength": 0.9}
        settings = {"enabled": True, "controls": controls, "people": [person], "face_region": "everywhere"}
        made = settings_from_dict(settings)
        self.found = generated(host.pipeline, made, own, self.world.arguments())
        (person_run, _) = begin_runs(made, own)
        self.keypoints = Image.fromarray(person_run.control_maps(SIZE)[0])
        self.reference = Reference(weights, torch.from_numpy(person_run.embeddings[0]), 0.7, cfg=True)
        self.reference.pipeline.scheduler = scheduler_like(host.pipeline.scheduler, "euler")
        self.face = self.reference.pipeline.controlnet

    def expected(self, others: Sequence[ControlNetModel]) -> np.ndarray:
        """By MultiControlNet of IdentityNet, which reads the face's tokens, and these others."""
        self.reference.pipeline.register_modules(controlnet=MultiControlNetModel([self.face, *others]))
        used = self.controls[: len(others)]
        images = self.reference(
            **self.world.arguments(),
            image=[self.keypoints, *(control["picture"] for control in used)],
            controlnet_conditioning_scale=[0.9, *(control["strength"] for control in used)],
        )
        return np.asarray(images[0]).astype(float)


def test_beside_instantid_the_others_read_the_text(host: DiffusersHost, weights_folder: Path, tmp_path: Path) -> None:
    beside = Beside(host, weights_folder, tmp_path, ONE)
    net = beside.world.nets["canny"]
    misled = FaceTokenControlNet.from_config(net.config)
    misled.load_state_dict(net.state_dict())
    misled.tokens = beside.face.tokens
    assert near(beside.found, beside.expected([net]), beside.expected([misled.eval()]))


def test_three_beside_instantid(host: DiffusersHost, weights_folder: Path, tmp_path: Path) -> None:
    beside = Beside(host, weights_folder, tmp_path, THREE)
    nets = [beside.world.nets[control["model"]] for control in THREE]
    assert near(beside.found, beside.expected(nets), beside.expected(nets[:-1]))
