"""The embedded host: diffusers' SDXL pipelines with InstantID attached to their UNet."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image

from lib_instantid.errors import SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.face.geometry import apply_placement, crop_and_resize
from lib_instantid.face.picture import read_picture
from lib_instantid.face.similarity import similarities
from lib_instantid.guidance.attachment import attach
from lib_instantid.guidance.guidance import Guidance, make_guidance
from lib_instantid.guidance.people import ResolvedPerson, resolve_people
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.unets import Call
from lib_instantid.hosts.embedded.job import Job, Picture, Result, Sampled
from lib_instantid.hosts.embedded.preview import rough_picture
from lib_instantid.hosts.embedded.schedulers import scheduler_like
from lib_instantid.nets.adapter import Adapter
from lib_instantid.nets.identitynet import IdentityNet

Watch = Callable[[Sampled], bool]


def _nobody_watches(_: Sampled) -> bool:
    return True


class EmbeddedHost:
    """A pipeline, InstantID's networks and a face analyser, all loaded and on their device."""

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        adapter: Adapter,
        identitynet: IdentityNet,
        analyser: Analyser,
        identities: Path,
    ) -> None:
        self.pipeline = pipeline
        self.adapter = adapter
        self.identitynet = identitynet
        self.analyser = analyser
        self.identities = identities

    def generate(self, job: Job, watch: Watch = _nobody_watches) -> Result:
        """Make the job's pictures. With `settings.enabled` off, plain SDXL.

        watch: told after each step; once it answers False, what there is by then becomes the pictures.
        """
        settings, size = job.settings, (job.width, job.height)
        if settings.identitynet_file is not None:
            raise SettingsError("identitynet_file: this host has one IdentityNet, the one it was opened with; leave this out.")
        clock = _Clock()
        people = resolve_people(settings, size, self.analyser, self.identities) if settings.enabled else ()
        clock.lap("faces")
        placed = [person.placed for person in people]
        guidance = make_guidance(settings, placed, size, self.adapter, lambda: self.identitynet) if settings.enabled else None
        clock.lap("tokens and maps")
        pictures: list[Picture] = []
        watching = _Watching(watch)
        for batch, seed in enumerate(self._seeds(job)):
            if watching.goes_on:
                pictures += self._sample(job, guidance, seed, watching.of_batch(batch, len(self._seeds(job))))
        clock.lap("sampling")
        if settings.enabled and (settings.report_similarity or settings.best_of > 1):
            pictures = sorted((self._measured(picture, people) for picture in pictures), key=lambda p: -p.likeness)
            clock.lap("similarity")
            pictures = pictures[: job.batch_size] if settings.only_best else pictures
        return Result(pictures=tuple(pictures), people=people, guidance=guidance, timings=clock.laps)

    def _seeds(self, job: Job) -> range:
        """The first seed of each batch; every picture has its own."""
        return range(job.seed, job.seed + job.batch_size * job.settings.best_of, job.batch_size)

    def _sample(self, job: Job, guidance: Guidance | None, seed: int, watch: Callable[..., bool]) -> list[Picture]:
        pipeline = self._pipeline_for(job)
        seeds = [seed + i for i in range(job.batch_size)]
        progress = _Progress(pipeline, watch)
        arguments = {
            "prompt": job.prompt,
            "negative_prompt": job.negative_prompt,
            "num_inference_steps": job.steps,
            "guidance_scale": job.guidance_scale,
            "guidance_rescale": job.settings.cfg_rescale,
            "num_images_per_prompt": job.batch_size,
            "generator": [torch.Generator().manual_seed(s) for s in seeds],
            "callback_on_step_end": progress.after_step,
            **self._size_or_picture(job),
        }
        if guidance is None:
            images = pipeline(**arguments).images
        else:
            with attach(pipeline.unet, guidance, rows_of=_rows_of(pipeline), step=progress.step):
                images = pipeline(**arguments).images
        return [Picture(image=image, seed=s) for image, s in zip(images, seeds, strict=True)]

    def _pipeline_for(self, job: Job) -> Any:
        components = {**self.pipeline.components, "scheduler": scheduler_like(self.pipeline.scheduler, job.scheduler)}
        kind = StableDiffusionXLPipeline if job.init_picture is None else StableDiffusionXLImg2ImgPipeline
        return kind(**components, add_watermarker=False)

    @staticmethod
    def _size_or_picture(job: Job) -> dict[str, Any]:
        if job.init_picture is None:
            return {"width": job.width, "height": job.height}
        size = job.width, job.height
        picture = read_picture(job.init_picture, "init_picture")
        placement = crop_and_resize((picture.shape[1], picture.shape[0]), size)
        image = Image.fromarray(apply_placement(picture, placement, size))
        return {"image": image, "strength": job.denoising_strength}

    def _measured(self, picture: Picture, people: tuple[ResolvedPerson, ...]) -> Picture:
        embeddings = [person.identity.embedding for person in people]
        found = similarities(self.analyser, np.asarray(picture.image), embeddings)
        return Picture(image=picture.image, seed=picture.seed, similarity=found)


class _Watching:
    """Who watches, over all batches."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.goes_on = True

    def of_batch(self, batch: int, batches: int) -> Callable[[torch.Tensor, int, int], bool]:
        def after_step(latents: torch.Tensor, step: int, steps: int) -> bool:
            done = batch * steps + step
            self.goes_on = self._watch(Sampled(picture=rough_picture(latents[0]), step=done, steps=batches * steps))
            return self.goes_on

        return after_step


class _Progress:
    """Counts a pipeline's steps for guidance, and tells who watches."""

    def __init__(self, pipeline: Any, watch: Callable[[torch.Tensor, int, int], bool]) -> None:
        self._pipeline = pipeline
        self._watch = watch
        self._index = 0

    def step(self) -> Step:
        return Step(index=self._index, total=self._pipeline.num_timesteps)

    def after_step(self, pipeline: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        """diffusers' `callback_on_step_end`."""
        del timestep
        self._index = index + 1
        if not self._watch(values["latents"], self._index, pipeline.num_timesteps):
            pipeline._interrupt = True  # diffusers' way to leave out the remaining steps
        return values


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def _rows_of(pipeline: Any) -> Callable[[Call], tuple[bool, ...]]:
    """diffusers' order: with CFG the first half is unconditional, without it every row is conditional."""

    def rows_of(call: Call) -> tuple[bool, ...]:
        count = len(call.x)
        first = count // 2 if pipeline.do_classifier_free_guidance else 0
        return (False,) * first + (True,) * (count - first)

    return rows_of
