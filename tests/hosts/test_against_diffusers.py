"""Whole generations against a pipeline assembled from diffusers' own parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.request import GenerationRequest, Result
from lib_instantid.hosts.diffusers.sampling import SCHEDULERS, scheduler_like
from tests.encoders.face.scenes import squares
from tests.hosts.reference import Reference

SIZE = {"width": 128, "height": 96}
STEPS, SEED, CFG = 6, 5, 5.0
TOLERANCE = 1.0  # mean difference of 0 to 255


PHOTO = Image.fromarray(squares(300, 200, [(90, 60, 70)]))


def job(**changes: Any) -> GenerationRequest:
    person = {"adapter_strength": 0.7, "identitynet_strength": 0.9} | changes.pop("person", {})
    settings = {"face_region": "everywhere"} | changes.pop("settings", {})
    people = [Person(photos=[PHOTO], **person)]
    given = {"prompt": "a person on the moon", "negative_prompt": "blurry", **SIZE, "steps": STEPS, "seed": SEED}
    return GenerationRequest(
        **{**given, "guidance_scale": CFG, **changes}, settings=Settings(enabled=True, people=people, **settings)
    )


def expected_pictures(weights: Path, job: GenerationRequest, result: Result) -> np.ndarray:
    """The same generation by diffusers' parts. The photo's embedding and the keypoint map are this project's own."""
    embedding = torch.from_numpy(result.runs[0].embeddings[0])
    person, img2img = job.settings.people[0], job.init_picture is not None
    reference = Reference(weights, embedding, person.adapter_strength, cfg=job.guidance_scale > 1, img2img=img2img)
    reference.pipeline.scheduler = scheduler_like(reference.pipeline.scheduler, job.scheduler)
    keypoint_map = Image.fromarray(result.control_maps[0])
    picture = {"control_image": keypoint_map, "image": job.init_picture, "strength": job.denoising_strength}
    images = reference(
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance_scale,
        num_images_per_prompt=job.batch_size,
        controlnet_conditioning_scale=float(person.identitynet_strength),
        control_guidance_start=job.settings.identitynet_start,
        control_guidance_end=job.settings.identitynet_end,
        generator=[torch.Generator().manual_seed(job.seed + i) for i in range(job.batch_size)],
        **(picture if img2img else {"image": keypoint_map}),
    )
    return as_array(images)


def as_array(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=np.float64) for image in images])


def pictures(result: Result) -> np.ndarray:
    return as_array([picture.image for picture in result.pictures])


def check(host: DiffusersHost, weights: Path, job: GenerationRequest) -> None:
    """Near the reference; and far nearer to it than to a picture without InstantID, so that the agreement says something."""
    result = host.generate(job)
    found, expected = pictures(result), expected_pictures(weights, job, result)
    assert found.shape == expected.shape == (job.batch_size, SIZE["height"], SIZE["width"], 3)
    plain = pictures(host.generate(GenerationRequest(**{**vars(job), "settings": Settings()})))
    assert np.abs(found - expected).mean() < min(TOLERANCE, 0.02 * np.abs(found - plain).mean())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_txt2img_with_every_scheduler(host: DiffusersHost, weights_folder: Path, scheduler: str) -> None:
    check(host, weights_folder, job(scheduler=scheduler))


def test_a_batch(host: DiffusersHost, weights_folder: Path) -> None:
    check(host, weights_folder, job(batch_size=3))


def test_without_cfg(host: DiffusersHost, weights_folder: Path) -> None:
    check(host, weights_folder, job(guidance_scale=1.0))


def test_identitynets_window(host: DiffusersHost, weights_folder: Path) -> None:
    check(host, weights_folder, job(settings={"identitynet_start": 0.2, "identitynet_end": 0.7}))


@pytest.mark.parametrize(("detail", "fidelity"), [(0.0, 0.8), (0.8, 0.0), (1.5, 1.5)])
def test_strengths(host: DiffusersHost, weights_folder: Path, detail: float, fidelity: float) -> None:
    check(host, weights_folder, job(person={"adapter_strength": detail, "identitynet_strength": fidelity}))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_img2img(host: DiffusersHost, weights_folder: Path, strength: float) -> None:
    start = np.random.default_rng(0).integers(0, 255, (SIZE["height"], SIZE["width"], 3), dtype=np.uint8)
    check(host, weights_folder, job(init_picture=Image.fromarray(start), denoising_strength=strength))


def test_cfg_rescale_is_diffusers(host: DiffusersHost) -> None:
    """With both strengths at zero, the plain pipeline's own rescaling is the reference."""
    off = {"adapter_strength": 0.0, "identitynet_strength": 0.0}
    result = host.generate(job(person=off, settings={"cfg_rescale": 0.7}, guidance_scale=20.0))
    images = host.pipeline(
        "a person on the moon",
        negative_prompt="blurry",
        **SIZE,
        num_inference_steps=STEPS,
        guidance_scale=20.0,
        guidance_rescale=0.7,
        generator=torch.Generator().manual_seed(SEED),
    ).images
    assert np.array_equal(pictures(result), as_array(images))
    assert not np.array_equal(pictures(host.generate(job(person=off, guidance_scale=20.0))), as_array(images))
