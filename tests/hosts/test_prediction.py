"""A checkpoint is sampled as it says that it was trained: one file by its keys, its metadata or the
configuration beside it, a folder by its scheduler's configuration.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)
from safetensors.torch import load_file, save_file

from lib_instantid.errors import BadModelFile, SettingsError, UnsupportedModel
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.sampling import SCHEDULERS, scheduler_like
from tests.hosts.single_file import write_single_file

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
SAID = {
    (): {"timestep_spacing": "leading"},
    ("v_pred",): {"timestep_spacing": "leading", "prediction_type": "v_prediction"},
    ("v_pred", "ztsnr"): {"prediction_type": "v_prediction", **ZERO_SNR},
    ("ztsnr",): ZERO_SNR,
}


@pytest.fixture(scope="module")
def plain_file(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "model.safetensors"
    write_single_file(weights_folder / "checkpoint", path)
    return path


def file_with(plain_file: Path, folder: Path, keys: tuple[str, ...], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "model.safetensors"
    save_file({**load_file(plain_file), **{key: torch.zeros(0) for key in keys}}, path, metadata)
    return path


def folder_with(weights_folder: Path, folder: Path, **scheduler: Any) -> Path:
    """A copy of the small checkpoint whose scheduler's configuration says this, too."""
    checkpoint = folder / "checkpoint"
    shutil.copytree(weights_folder / "checkpoint", checkpoint)
    path = checkpoint / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **scheduler}))
    return checkpoint


def sampled(pipeline: StableDiffusionXLPipeline, host: DiffusersHost) -> np.ndarray:
    """By the diffusers host, with InstantID off."""
    pipeline.set_progress_bar_config(disable=True)
    one = DiffusersHost(pipeline, host.sources)
    return np.asarray(
        one.generate(GenerationRequest(prompt="a person", width=128, height=96, steps=3, seed=5)).pictures[0].image, float
    )


@pytest.fixture(scope="module")
def by_diffusers(weights_folder: Path) -> dict[tuple[str, ...], np.ndarray]:
    """diffusers' own picture with the scheduler that each such checkpoint needs."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(weights_folder / "checkpoint", add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    given = {"negative_prompt": "", "width": 128, "height": 96, "num_inference_steps": 3, "guidance_scale": 5.0}
    pictures = {}
    for said, scheduler in SAID.items():
        pipeline.scheduler = EulerDiscreteScheduler(**SCHEDULE, **scheduler)
        image = pipeline("a person", generator=torch.Generator().manual_seed(5), **given).images[0]
        pictures[said] = np.asarray(image, float)
    return pictures


def assert_sampled_as(said: tuple[str, ...], found: np.ndarray, by_diffusers: dict[tuple[str, ...], np.ndarray]) -> None:
    """And as no other kind of checkpoint."""
    for other, picture in by_diffusers.items():
        assert (np.abs(found - picture).mean() < 0.5) == (other == said), other


@pytest.mark.parametrize("keys", SAID)
def test_one_file_is_sampled_as_its_keys_say(
    keys: tuple[str, ...], plain_file: Path, weights_folder: Path, host: DiffusersHost, by_diffusers: Any, tmp_path: Path
) -> None:
    """And not as the configurations beside it, which may be those of any SDXL checkpoint."""
    config = folder_with(weights_folder, tmp_path, prediction_type="epsilon" if keys else "v_prediction")
    pipeline = load_pipeline(file_with(plain_file, tmp_path, keys), torch.float32, str(config))
    assert_sampled_as(keys, sampled(pipeline, host), by_diffusers)


@pytest.mark.parametrize(
    ("metadata", "configuration"),
    [
        ({"modelspec.prediction_type": "v"}, None),
        (None, "parameterization: v"),
        (None, "denoiser_config: {params: {scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}}}"),
    ],
)
def test_one_file_is_sampled_as_its_metadata_or_the_configuration_beside_it_says(
    metadata: dict[str, str] | None,
    configuration: str | None,
    plain_file: Path,
    weights_folder: Path,
    host: DiffusersHost,
    by_diffusers: Any,
    tmp_path: Path,
) -> None:
    path = file_with(plain_file, tmp_path, (), metadata)
    if configuration is not None:
        path.with_suffix(".yaml").write_text(f"model: {{params: {{{configuration}}}}}", encoding="utf-8")
    pipeline = load_pipeline(path, torch.float32, str(weights_folder / "checkpoint"))
    assert_sampled_as(("v_pred",), sampled(pipeline, host), by_diffusers)


@pytest.mark.parametrize("text", ["model: [", "a list of nothing", "model: {params: none}"])
def test_a_damaged_configuration_beside_a_file_is_told_by_name(text: str, plain_file: Path, tmp_path: Path) -> None:
    path = file_with(plain_file, tmp_path, ())
    path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadModelFile, match=r"model\.yaml: not a checkpoint's configuration"):
        load_pipeline(path, torch.float32)


@pytest.mark.parametrize("said", SAID)
def test_a_folder_is_sampled_as_its_schedulers_configuration_says(
    said: tuple[str, ...], weights_folder: Path, host: DiffusersHost, by_diffusers: Any, tmp_path: Path
) -> None:
    pipeline = load_pipeline(folder_with(weights_folder, tmp_path, **SAID[said]), torch.float32)
    assert_sampled_as(said, sampled(pipeline, host), by_diffusers)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_begins_where_there_is_nothing_but_noise_or_is_refused(name: str) -> None:
    checkpoint = EulerDiscreteScheduler(**SCHEDULE, **SAID["v_pred", "ztsnr"])
    if name == "heun":  # diffusers' has no zero terminal SNR
        with pytest.raises(SettingsError, match=r"scheduler: 'heun'.*zero terminal SNR.*choose euler"):
            scheduler_like(checkpoint, name)
        return
    scheduler = scheduler_like(checkpoint, name)
    scheduler.set_timesteps(4)
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.alphas_cumprod[-1] < 1e-6
    assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchEulerDiscreteScheduler(),
        EDMEulerScheduler(),
        UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_folder_that_predicts_neither_noise_nor_v_is_refused(scheduler: Any, weights_folder: Path, tmp_path: Path) -> None:
    checkpoint = folder_with(weights_folder, tmp_path)
    scheduler.save_pretrained(checkpoint / "scheduler")
    index = checkpoint / "model_index.json"
    index.write_text(index.read_text().replace("EulerDiscreteScheduler", type(scheduler).__name__))
    with pytest.raises(UnsupportedModel, match=r"expected noise or v .*as SDXL and SD1.5"):
        load_pipeline(checkpoint, torch.float32)


@pytest.mark.parametrize("keys", [("edm_mean", "edm_std"), ("edm_vpred.sigma_max", "edm_vpred.sigma_min")])
def test_one_file_of_edms_noise_is_refused(
    keys: tuple[str, ...], plain_file: Path, weights_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match="EDM"):
        load_pipeline(file_with(plain_file, tmp_path, keys), torch.float32, str(weights_folder / "checkpoint"))
