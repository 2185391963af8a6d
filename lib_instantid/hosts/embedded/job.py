"""What the embedded host is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from lib_instantid.errors import SettingsError
from lib_instantid.face.similarity import likeness
from lib_instantid.guidance.guidance import Guidance
from lib_instantid.guidance.people import ResolvedPerson
from lib_instantid.guidance.settings import Picture as Source
from lib_instantid.guidance.settings import Settings
from lib_instantid.hosts.embedded.schedulers import check_scheduler
from lib_instantid.units import LATENT_FACTOR

MAX_GUIDANCE_SCALE = 100
"""Above it nothing but noise and black has ever been seen; it keeps infinity out of the pictures' records."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to make. width and height in pixels, of the output. init_picture: for img2img, cropped and resized to it."""

    prompt: str
    negative_prompt: str = ""
    width: int = 1016  # 1024 invites stock-photo watermarks, 1016 does not
    height: int = 1016
    steps: int = 30
    guidance_scale: float = 5.0
    scheduler: str = "euler"
    seed: int = 0
    batch_size: int = 1
    init_picture: Source | None = None
    denoising_strength: float = 0.75
    settings: Settings = field(default_factory=Settings)

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
    """Where sampling is. picture: (h, w, 3) uint8 RGB, a rough preview of the first picture, a pixel per latent cell. step:
    from 1, of steps; both over all batches."""

    picture: np.ndarray
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One result. similarity: cosine to each person, None where the result has no face or it was not measured."""

    image: Image.Image
    seed: int
    similarity: tuple[float | None, ...] = ()

    @property
    def likeness(self) -> float:
        """What candidates are ordered by: the least of the people's similarities, -1 where a face is missing."""
        return likeness(self.similarity)


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """pictures: most like the people first where likeness was asked for, else by seed. timings: seconds by stage."""

    pictures: tuple[Picture, ...]
    people: tuple[ResolvedPerson, ...]
    guidance: Guidance | None
    timings: dict[str, float]

    @property
    def keypoint_maps(self) -> tuple[np.ndarray, ...]:
        """(H, W, 3) uint8 RGB, one per person, as IdentityNet saw it."""
        return tuple(person.keypoint_picture for person in (self.guidance.people if self.guidance else ()))
