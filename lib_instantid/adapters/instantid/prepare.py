"""Makes the parts that act in a UNet of InstantID's settings and people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from lib_instantid.adapters.instantid.settings import IdentityNetPeople, InstantIDSettings
from lib_instantid.adapters.people import Person
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, ControlContext, ControlPart
from lib_instantid.conditioning.regions import box_region, grown_box, nearest_person
from lib_instantid.conditioning.schedule import ControlMode, Window
from lib_instantid.conditioning.unets import layout_of
from lib_instantid.constants import EMBEDDING_SIZE, LATENT_CHANNELS, LATENT_FACTOR
from lib_instantid.encoders.face.keypoints import black_map, draw_keypoints
from lib_instantid.errors import SettingsError, UnsupportedModel
from lib_instantid.networks.adapter import FaceTokenMaker, PromptTokens
from lib_instantid.networks.controlnet import ControlNet

CURE = "Choose an SDXL checkpoint"


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedPerson:
    """A person's embedding and place in the output.

    embedding: (512,) raw. keypoints: (5, 2) XY in output pixels, or None for a free head. box: (4,) x1 y1 x2 y2 of the
    face in output pixels, None with a free head. region: (height, width) mask in [0, 1], for face_region "mask".
    """

    embedding: np.ndarray
    keypoints: np.ndarray | None = None
    box: np.ndarray | None = None
    region: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedPerson:
    """A person as input of the networks. keypoint_map: (1, 3, H, W) RGB in [0, 1]. region: (H, W) mask in output pixels, None
    for everywhere."""

    face: PromptTokens
    keypoint_map: Tensor
    region: Tensor | None
    adapter_strength: float
    identitynet_strength: float

    @property
    def keypoint_picture(self) -> np.ndarray:
        """The keypoint map as a picture, (H, W, 3) uint8 RGB."""
        picture: np.ndarray = (self.keypoint_map[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        return picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """The people of one sampling pass, and how InstantID acts in it. identitynet: None if it acts for nobody; the caller moves
    it to its device and keeps it. size: (width, height) of the output in pixels."""

    people: tuple[PreparedPerson, ...]
    size: tuple[int, int]
    identitynet: ControlNet | None
    adapter_window: Window
    identitynet_window: Window
    control_mode: ControlMode
    identitynet_every: int
    identitynet_people: IdentityNetPeople
    cfg_rescale: float

    @property
    def conditioning(self) -> Conditioning:
        """The parts: an attention for each person, and a run of IdentityNet for each person or for all."""
        faces = [self._attention(person) for person in self.people if person.adapter_strength]
        nets = [] if self.identitynet is None else [self._control(self.identitynet, group) for group in self._groups()]
        return Conditioning(parts=(*faces, *nets), size=self.size, cfg_rescale=self.cfg_rescale, checks=(check_latents,))

    def _groups(self) -> list[tuple[PreparedPerson, ...]]:
        """The groups of people that share a run of IdentityNet."""
        people = tuple(person for person in self.people if person.identitynet_strength)
        return [people] if people and self.identitynet_people == "together" else [(person,) for person in people]

    def _attention(self, person: PreparedPerson) -> AttentionPart:
        count = len(person.face.keys_values)
        return AttentionPart(
            keys_values=person.face.keys_values,
            strength=person.adapter_strength,
            misfit=f"the InstantID adapter is for an SDXL UNet with {count} cross-attentions. {CURE}, or turn InstantID off.",
            window=self.adapter_window,
            region=person.region,
        )

    def _control(self, net: ControlNet, people: tuple[PreparedPerson, ...]) -> ControlPart:
        """A run of IdentityNet. Its context is the faces' tokens instead of the text; its hint has everyone's keypoints."""
        return ControlPart(
            network=net,
            hint=reduce(torch.maximum, (person.keypoint_map for person in people)),
            contexts=tuple(
                ControlContext(strength=person.identitynet_strength, tokens=person.face.tokens, region=person.region)
                for person in people
            ),
            window=self.identitynet_window,
            mode=self.control_mode,
            every=self.identitynet_every,
            title="IdentityNet",
            cure=f"{CURE}.",
        )


def check_sdxl(unet: nn.Module) -> None:
    """Raise UnsupportedModel for a UNet that takes no vector besides the text, such as SD1.5's and SD2's. Does not check
    whether particular networks fit."""
    if not layout_of(unet).vector_size(unet):
        raise UnsupportedModel(f"The loaded checkpoint is not SDXL: its UNet takes no vector besides the text. {CURE}.")


def check_latents(unet: nn.Module) -> None:
    """Raise UnsupportedModel for a UNet whose latents have other channels than SDXL's."""
    inward, outward = layout_of(unet).latent_channels(unet)
    inpainting = 2 * LATENT_CHANNELS + 1  # the latents, a mask, and the picture's latents
    if inward not in (LATENT_CHANNELS, inpainting) or outward != LATENT_CHANNELS:
        raise UnsupportedModel(
            f"This checkpoint's UNet only looks like SDXL's: it takes {inward} latent channels and gives {outward}, where SDXL "
            f"takes {LATENT_CHANNELS} ({inpainting} for inpainting) and gives {LATENT_CHANNELS}. {CURE}."
        )


def prepare(
    settings: InstantIDSettings,
    placed: Sequence[PlacedPerson],
    size: tuple[int, int],
    adapter: FaceTokenMaker,
    identitynet: Callable[[], ControlNet],
) -> Prepared:
    """Prepare InstantID for a pass. size: (width, height) in pixels. placed: in the order of `settings.people`.

    identitynet: called only if IdentityNet acts for somebody.
    Raises SettingsError: the size is not a multiple of 8, or see `regions_of`.
    """
    width, height = size
    if width % LATENT_FACTOR or height % LATENT_FACTOR or min(size) < LATENT_FACTOR:
        raise SettingsError(f"width, height: found {width}×{height}, expected multiples of {LATENT_FACTOR}.")
    people = [
        PreparedPerson(
            face=_face_tokens(adapter, one.embedding, settings.negative_noise),
            keypoint_map=_hint(one.keypoints, width, height),
            region=region,
            adapter_strength=float(person.adapter_strength),
            identitynet_strength=float(person.identitynet_strength),
        )
        for person, one, region in zip(settings.people, placed, regions_of(settings, placed, size), strict=True)
    ]
    return Prepared(
        people=tuple(people),
        size=size,
        identitynet=identitynet() if settings.uses_identitynet else None,
        adapter_window=Window(start=settings.adapter_start, end=settings.adapter_end),
        identitynet_window=Window(start=settings.identitynet_start, end=settings.identitynet_end),
        control_mode=settings.control_mode,
        identitynet_every=settings.identitynet_every,
        identitynet_people=settings.identitynet_people,
        cfg_rescale=float(settings.cfg_rescale),
    )


def _face_tokens(adapter: FaceTokenMaker, embedding: np.ndarray, negative_noise: float) -> PromptTokens:
    conditional = torch.from_numpy(np.asarray(embedding, dtype=np.float32).copy())
    return adapter.face_tokens(conditional, unconditional_embedding(negative_noise))


def unconditional_embedding(noise: float) -> Tensor:
    """The embedding for unconditional rows: zeros, as in the reference, or uniform noise in ±`noise`. returns: (512,) float32.

    The noise does not depend on the person's embedding, whose last digits differ between machines, so that a generation can be
    repeated everywhere. Its mean is zero. ComfyUI's noise, uniform from 0 to 0.35, has the same power as 0.35 here, but shifts
    every component to one side.
    """
    uniform = torch.rand(EMBEDDING_SIZE, generator=torch.Generator().manual_seed(0))
    return noise * (2 * uniform - 1)


def _hint(keypoints: np.ndarray | None, width: int, height: int) -> Tensor:
    picture = black_map(width, height) if keypoints is None else draw_keypoints(keypoints, width, height)
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def regions_of(settings: InstantIDSettings, placed: Sequence[PlacedPerson], size: tuple[int, int]) -> tuple[Tensor | None, ...]:
    """Each person's region, (H, W) float32 from 0 to 1, None for everywhere. size: (width, height) in pixels.

    Regions overlap only if given masks do. A person without a placed head has no face box: alone, such a person acts
    everywhere. Raises SettingsError: an empty mask, a face box outside the picture, or one of several people who act is not
    placed.
    """
    if settings.face_region == "mask":
        return tuple(_given(one.region, number) for number, one in enumerate(placed, 1))
    own = [_own_region(settings, one, size) for one in placed]
    acting = [i for i, person in enumerate(settings.people) if person.acts]
    if len(acting) > 1:
        centres = [_centre(settings.people[i], placed[i], i + 1) for i in acting]
        for i, share in zip(acting, nearest_person(centres, *size), strict=True):
            region = own[i]
            own[i] = share if region is None else share * region
    return tuple(own)


def _given(region: np.ndarray | None, number: int) -> Tensor:
    if region is None or not region.any():
        raise SettingsError(
            f"people[{number}].region: the mask is empty; paint the region white, or choose another face_region."
        )
    return torch.from_numpy(np.asarray(region, dtype=np.float32).copy())


def _own_region(settings: InstantIDSettings, one: PlacedPerson, size: tuple[int, int]) -> Tensor | None:
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
