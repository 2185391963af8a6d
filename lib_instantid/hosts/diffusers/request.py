"""The request that the diffusers host takes, and the result that it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lib_instantid.adapters.family import Run
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.settings import Settings
from lib_instantid.constants import LATENT_FACTOR
from lib_instantid.encoders.face.similarity import likeness
from lib_instantid.errors import SettingsError
from lib_instantid.hosts.diffusers.sampling import check_scheduler

MAX_GUIDANCE_SCALE = 100
"""Higher values were only seen to give noise and black. The limit also excludes infinity, which JSON lacks."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to generate. width, height: of the output, in pixels. init_picture: for img2img, cropped and resized to the output.

    Raises SettingsError: a value out of range.
    """

    prompt: str
    negative_prompt: str = ""
    width: int = 1016  # 1024 invites stock-photo watermarks, 1016 does not
    height: int = 1016
    steps: int = 30
    guidance_scale: float = 5.0
    scheduler: str = "euler"
    seed: int = 0
    batch_size: int = 1
    init_picture: PictureSource | None = None
    denoising_strength: float = 0.75
    settings: Any = field(default_factory=Settings)

    def __post_init__(self) -> None:
        limits = {"steps": (1, 1000), "batch_size": (1, 64), "seed": (0, 2**63 - 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name}: found {getattr(self, name)}, expected {low} to {high}.")
        for name in ("width", "height"):
            size = getattr(self, name)
            if size < 64 or size % LATENT_FACTOR:
                raise SettingsError(f"{name}: found {size}, expected a multiple of {LATENT_FACTOR} from 64.")
        if not 0 < self.denoising_strength <= 1:
            raise SettingsError(f"denoising_strength: found {self.denoising_strength}, expected above 0 and up to 1.")
        if self.init_picture is not None and self.steps * self.denoising_strength < 1:
            raise SettingsError(
                f"steps: {self.steps} steps at denoising_strength {self.denoising_strength} leave none to run; raise either."
            )
        if not 0 <= self.guidance_scale <= MAX_GUIDANCE_SCALE:
            raise SettingsError(f"guidance_scale: found {self.guidance_scale}, expected 0 to {MAX_GUIDANCE_SCALE}.")
        check_scheduler(self.scheduler)
        if self.settings.hires == "second pass":
            raise SettingsError('hires: found "second pass", and this host has one pass; choose "both" or "first pass".')


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """Progress of sampling. picture: (h, w, 3) uint8 RGB, a rough preview of the first picture, one pixel per latent cell.
    step: from 1. steps: in all; both are counted over all batches."""

    picture: np.ndarray
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedPicture:
    """One picture of a result. similarity: cosine to each person, None if the picture has no face; empty if not measured."""

    image: Image.Image
    seed: int
    similarity: tuple[float | None, ...] = ()

    @property
    def likeness(self) -> float:
        """The value by which candidates are ordered: see `similarity.likeness`."""
        return likeness(self.similarity)


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The result of a request. pictures: the most similar first if similarity was measured, else by seed. runs: of the systems
    that acted. size: (width, height) in pixels. advice: sentences about the inputs. timings: seconds by stage."""

    pictures: tuple[GeneratedPicture, ...]
    runs: tuple[Run, ...]
    size: tuple[int, int]
    advice: tuple[str, ...]
    timings: dict[str, float]

    @property
    def control_maps(self) -> tuple[np.ndarray, ...]:
        """The hints of the ControlNets, (H, W, 3) uint8 RGB each."""
        return tuple(one for run in self.runs for one in run.control_maps(self.size))
