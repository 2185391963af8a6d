"""The diffusers host: diffusers' pipelines of SDXL and SD1.5 with the systems attached to their UNet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from lib_instantid.adapters.family import Sources
from lib_instantid.adapters.runs import begin_runs, joined
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.unets import UNetInputs
from lib_instantid.encoders.face.geometry import apply_placement, crop_and_resize
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.face.similarity import similarities
from lib_instantid.errors import SettingsError
from lib_instantid.hosts.diffusers.request import GeneratedPicture, GenerationRequest, Result, Sampled
from lib_instantid.hosts.diffusers.sampling import rough_picture, scheduler_like

Watch = Callable[[Sampled], bool]


def _nobody_watches(_: Sampled) -> bool:
    return True


class DiffusersHost:
    """Generates pictures with a loaded pipeline and the networks of the systems, which are on its device."""

    def __init__(self, pipeline: DiffusionPipeline, sources: Sources) -> None:
        self.pipeline = pipeline
        self._xl = isinstance(pipeline, StableDiffusionXLPipeline)
        self.sources = sources

    def generate(self, request: GenerationRequest, watch: Watch = _nobody_watches) -> Result:
        """Make the pictures of a request; with `settings.enabled` off, by the checkpoint alone.

        watch: called after each step. If it returns False, sampling stops and the unfinished latents become the pictures.
        Raises an InstantIDError: wrong inputs, see `Run.advice` and `Run.conditioning`.
        """
        settings, size = request.settings, (request.width, request.height)
        clock = _Clock()
        runs = begin_runs(settings, self.sources)
        advice = tuple(sentence for run in runs for sentence in run.advice(size))
        clock.lap("faces")
        conditioning = joined(settings, runs, size) if runs else None
        clock.lap("tokens and maps")
        pictures: list[GeneratedPicture] = []
        watching = _Watching(watch, self._xl)
        for batch, seed in enumerate(self._seeds(request)):
            if watching.goes_on:
                pictures += self._sample(request, conditioning, seed, watching.of_batch(batch, len(self._seeds(request))))
        clock.lap("sampling")
        if runs and (settings.report_similarity or settings.best_of > 1):
            embeddings = [embedding for run in runs for embedding in run.embeddings]
            pictures = sorted((self._measured(picture, embeddings) for picture in pictures), key=lambda p: -p.likeness)
            clock.lap("similarity")
            pictures = pictures[: request.batch_size] if settings.only_best else pictures
        return Result(pictures=tuple(pictures), runs=runs, size=size, advice=advice, timings=clock.laps)

    def _seeds(self, request: GenerationRequest) -> range:
        """The first seed of each batch. Every picture has its own seed."""
        return range(request.seed, request.seed + request.batch_size * request.settings.best_of, request.batch_size)

    def _sample(
        self, request: GenerationRequest, conditioning: Conditioning | None, seed: int, watch: Callable[..., bool]
    ) -> list[GeneratedPicture]:
        pipeline, rescale = self._pipeline_for(request), request.settings.cfg_rescale
        seeds = [seed + i for i in range(request.batch_size)]
        progress = _Progress(pipeline, watch)
        arguments = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance_scale,
            "num_images_per_prompt": request.batch_size,
            "generator": [torch.Generator().manual_seed(s) for s in seeds],
            "callback_on_step_end": progress.after_step,
            **({"guidance_rescale": rescale} if rescale else {}),
            **self._size_or_picture(request),
        }
        if conditioning is None:
            images = pipeline(**arguments).images
        else:
            with attach(pipeline.unet, conditioning, rows_of=_rows_of(pipeline), step=progress.step):
                images = pipeline(**arguments).images
        return [GeneratedPicture(image=image, seed=s) for image, s in zip(images, seeds, strict=True)]

    def _pipeline_for(self, request: GenerationRequest) -> Any:
        components = {**self.pipeline.components, "scheduler": scheduler_like(self.pipeline.scheduler, request.scheduler)}
        from_picture = request.init_picture is not None
        if self._xl:
            kind = StableDiffusionXLImg2ImgPipeline if from_picture else StableDiffusionXLPipeline
            return kind(**components, add_watermarker=False)
        if from_picture and request.settings.cfg_rescale:
            raise SettingsError("cfg_rescale: SD1.5 from a picture has none here; leave it at 0.")
        return (StableDiffusionImg2ImgPipeline if from_picture else StableDiffusionPipeline)(
            **components, requires_safety_checker=False
        )

    @staticmethod
    def _size_or_picture(request: GenerationRequest) -> dict[str, object]:
        if request.init_picture is None:
            return {"width": request.width, "height": request.height}
        size = request.width, request.height
        picture = read_picture(request.init_picture, "init_picture")
        placement = crop_and_resize((picture.shape[1], picture.shape[0]), size)
        image = Image.fromarray(apply_placement(picture, placement, size))
        return {"image": image, "strength": request.denoising_strength}

    def _measured(self, picture: GeneratedPicture, embeddings: Sequence[np.ndarray]) -> GeneratedPicture:
        found = similarities(self.sources.analyser, np.asarray(picture.image), embeddings)
        return GeneratedPicture(image=picture.image, seed=picture.seed, similarity=found)


class _Watching:
    """Calls `watch` with steps counted over all batches."""

    def __init__(self, watch: Watch, xl: bool) -> None:
        self._watch = watch
        self._xl = xl
        self.goes_on = True

    def of_batch(self, batch: int, batches: int) -> Callable[[torch.Tensor, int, int], bool]:
        def after_step(latents: torch.Tensor, step: int, steps: int) -> bool:
            done = batch * steps + step
            self.goes_on = self._watch(Sampled(picture=rough_picture(latents[0], self._xl), step=done, steps=batches * steps))
            return self.goes_on

        return after_step


class _Progress:
    """Counts a pipeline's steps for the conditioning, and calls `watch` after each."""

    def __init__(self, pipeline: Any, watch: Callable[[torch.Tensor, int, int], bool]) -> None:
        self._pipeline = pipeline
        self._watch = watch
        self._index = 0

    def step(self) -> Step:
        return Step(index=self._index, total=self._pipeline.num_timesteps)

    def after_step(
        self, pipeline: Any, index: int, timestep: object, values: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """diffusers' `callback_on_step_end`."""
        del timestep
        self._index = index + 1
        if not self._watch(values["latents"], self._index, pipeline.num_timesteps):
            pipeline._interrupt = True  # makes diffusers skip the remaining steps
        return values


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def _rows_of(pipeline: Any) -> Callable[[UNetInputs], tuple[bool, ...]]:
    """Tells which rows are conditional: with classifier-free guidance the second half, without it every row."""

    def rows_of(inputs: UNetInputs) -> tuple[bool, ...]:
        count = len(inputs.x)
        first = count // 2 if pipeline.do_classifier_free_guidance else 0
        return (False,) * first + (True,) * (count - first)

    return rows_of
