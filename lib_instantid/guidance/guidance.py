"""What one sampling pass needs, free of any host: tokens, maps, regions, strengths and windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib_instantid.errors import SettingsError
from lib_instantid.face.keypoints import black_map, draw_keypoints
from lib_instantid.guidance.regions import box_region, grown_box, nearest_person
from lib_instantid.guidance.schedule import Window
from lib_instantid.guidance.settings import ControlMode, IdentityNetPeople, Person, Settings
from lib_instantid.nets.adapter import FaceTokenMaker, FaceTokens
from lib_instantid.nets.identitynet import IdentityNet
from lib_instantid.units import EMBEDDING_SIZE, LATENT_FACTOR


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedPerson:
    """A person as the output needs them.

    embedding: (512,) raw. keypoints: (5, 2) XY in output pixels, or None for a free head. box: (4,) x1 y1 x2 y2 of the
    face in output pixels, None with a free head. region: (height, width) mask in [0, 1], for face_region "mask".
    """

    embedding: np.ndarray
    keypoints: np.ndarray | None = None
    box: np.ndarray | None = None
    region: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonGuidance:
    """keypoint_map: (1, 3, H, W) RGB in [0, 1]. region: (H, W) mask in output pixels, None for everywhere."""

    face: FaceTokens
    keypoint_map: Tensor
    region: Tensor | None
    adapter_strength: float
    identitynet_strength: float

    @property
    def keypoint_picture(self) -> np.ndarray:
        """The keypoint map as IdentityNet sees it, as (H, W, 3) uint8 RGB."""
        picture: np.ndarray = (self.keypoint_map[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        return picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Guidance:
    """Everything that one sampling pass needs. identitynet: None where it acts for nobody; else it stays the caller's, on which
    device and for how long."""

    people: tuple[PersonGuidance, ...]
    identitynet: IdentityNet | None
    adapter_window: Window
    identitynet_window: Window
    control_mode: ControlMode
    identitynet_every: int
    identitynet_people: IdentityNetPeople
    cfg_rescale: float


def make_guidance(
    settings: Settings,
    placed: Sequence[PlacedPerson],
    size: tuple[int, int],
    adapter: FaceTokenMaker,
    identitynet: Callable[[], IdentityNet],
) -> Guidance:
    """Guidance for a picture of `size` (width, height) in pixels; `placed` in the order of `settings.people`.

    identitynet: asked only where it acts for anyone.
    Raises SettingsError for a size that is no multiple of 8, or regions that the people cannot have.
    """
    width, height = size
    if width % LATENT_FACTOR or height % LATENT_FACTOR or min(size) < LATENT_FACTOR:
        raise SettingsError(f"width, height: found {width}×{height}, expected multiples of {LATENT_FACTOR}.")
    people = [
        PersonGuidance(
            face=_face_tokens(adapter, one.embedding, settings.negative_noise),
            keypoint_map=_hint(one.keypoints, width, height),
            region=region,
            adapter_strength=float(person.adapter_strength),
            identitynet_strength=float(person.identitynet_strength),
        )
        for person, one, region in zip(settings.people, placed, regions_of(settings, placed, size), strict=True)
    ]
    return Guidance(
        people=tuple(people),
        identitynet=identitynet() if settings.uses_identitynet else None,
        adapter_window=Window(start=settings.adapter_start, end=settings.adapter_end),
        identitynet_window=Window(start=settings.identitynet_start, end=settings.identitynet_end),
        control_mode=settings.control_mode,
        identitynet_every=settings.identitynet_every,
        identitynet_people=settings.identitynet_people,
        cfg_rescale=float(settings.cfg_rescale),
    )


def _face_tokens(adapter: FaceTokenMaker, embedding: np.ndarray, negative_noise: float) -> FaceTokens:
    conditional = torch.from_numpy(np.asarray(embedding, dtype=np.float32).copy())
    return adapter.face_tokens(conditional, unconditional_embedding(negative_noise))


def unconditional_embedding(noise: float) -> Tensor:
    """The zero vector, as the reference has it, or uniform noise in ±`noise`.

    The noise is the same for everyone, so that a generation repeats on every machine, where an embedding's last digits
    differ. It has no mean: ComfyUI's, which is uniform from 0 to 0.35, has the power of 0.35 here but shifts every component
    to one side.
    """
    uniform = torch.rand(EMBEDDING_SIZE, generator=torch.Generator().manual_seed(0))
    return noise * (2 * uniform - 1)


def _hint(keypoints: np.ndarray | None, width: int, height: int) -> Tensor:
    picture = black_map(width, height) if keypoints is None else draw_keypoints(keypoints, width, height)
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def regions_of(settings: Settings, placed: Sequence[PlacedPerson], size: tuple[int, int]) -> tuple[Tensor | None, ...]:
    """Each person's (H, W) region, None for everywhere. Several people never overlap, but for masks that they were given.

    A free head has no face box: one person with it acts everywhere, several need placed heads or masks.
    """
    if settings.face_region == "mask":
        return tuple(_given(one.region, number) for number, one in enumerate(placed, 1))
    if len(placed) == 1:
        return (_own_region(settings, placed[0], size),)
    numbered = enumerate(zip(settings.people, placed, strict=True), 1)
    shares = nearest_person([_centre(person, one, number) for number, (person, one) in numbered], *size)
    own = [_own_region(settings, one, size) for one in placed]
    return tuple(share if region is None else share * region for share, region in zip(shares, own, strict=True))


def _given(region: np.ndarray | None, number: int) -> Tensor:
    if region is None or not region.any():
        raise SettingsError(
            f"people[{number}].region: the mask is empty; paint the region white, or choose another face_region."
        )
    return torch.from_numpy(np.asarray(region, dtype=np.float32).copy())


def _own_region(settings: Settings, one: PlacedPerson, size: tuple[int, int]) -> Tensor | None:
    if settings.face_region == "everywhere" or one.box is None:
        return None
    return box_region(grown_box(one.box, settings.face_region_grow), *size)


def _centre(person: Person, one: PlacedPerson, number: int) -> np.ndarray:
    if one.keypoints is None:
        raise SettingsError(
            f'people[{number}].pose: found "{person.pose}"; several people need placed heads, so that each has a region. '
            'Choose "photo", "pose picture" or "keypoints", or set face_region to "mask" with a mask for each.'
        )
    centre: np.ndarray = one.keypoints.mean(axis=0)
    return centre
