"""One generation of IP-Adapter: looks at the pictures once and makes an attention part of each image prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from torch import Tensor

from lib_instantid.adapters.family import Size, Sources
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.ip_adapter.layers import strength_of
from lib_instantid.adapters.ip_adapter.networks import PictureAdapter, PictureEncoder, black, joined
from lib_instantid.adapters.ip_adapter.recognise import ENCODER, IP_ADAPTER
from lib_instantid.adapters.ip_adapter.settings import ImagePrompt, IPAdapterSettings
from lib_instantid.adapters.record import recorded_entry, recorded_own
from lib_instantid.adapters.regions import region_of
from lib_instantid.conditioning.parts import AttentionPart, Conditioning
from lib_instantid.conditioning.schedule import Window
from lib_instantid.encoders.face.faces import HASH_DIGITS, Picture
from lib_instantid.encoders.face.geometry import square_around
from lib_instantid.encoders.face.photos import upright
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.vision import Crop, pixels_of
from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.networks.adapter import PromptTokens

FACE_MARGIN = 0.3
"""Margin on each side of a face that is cut out, as a part of its size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenPicture:
    """A picture that was read. digest: of its pixels, before it was cut. picture: (H, W, 3) uint8 RGB, cut to the face where
    that is asked for."""

    digest: str
    picture: Picture


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedPrompt:
    """An image prompt that acts. model: the name of its IP-Adapter. context: numbers of its tokens."""

    settings: ImagePrompt
    tokens: PromptTokens
    model: str
    context: int


class IPAdapterRun:
    """See `family.Run`. Each picture is read and seen once."""

    def __init__(self, settings: IPAdapterSettings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources

    def advice(self, size: Size) -> tuple[str, ...]:
        for number, prompt in enumerate(self._settings.image_prompts, 1):
            region_of(prompt.region, size, f"image_prompts[{number}].region")
            if prompt.strength:
                self._networks(number)
        assert self._pictures is not None  # read now, so that errors are known before sampling
        return ()

    def conditioning(self, size: Size) -> Conditioning:
        parts = [
            AttentionPart(
                keys_values=one.tokens.keys_values,
                strength=strength_of(one.settings.layers, one.settings.strength),
                misfit=f"the IP-Adapter {one.model} is for a UNet with a context of {one.context} numbers and "
                f"{len(one.tokens.keys_values)} cross-attentions. Choose an IP-Adapter for this checkpoint.",
                window=Window(start=one.settings.start, end=one.settings.end),
                region=region_of(one.settings.region, size, "image_prompts.region"),
            )
            for one in self.prepared
        ]
        return Conditioning(parts=tuple(parts), size=size)

    def recorded(self, size: Size) -> Mapping[str, object]:
        del size
        entries = [
            recorded_entry(prompt, {"pictures": [one.digest[:HASH_DIGITS] for one in seen]})
            for prompt, seen in zip(self._settings.image_prompts, self._pictures, strict=True)
        ]
        return {"image_prompts": entries, **recorded_own(self._settings, IPAdapterSettings)}

    def metadata(self, size: Size) -> Mapping[str, object]:
        """For each image prompt the hashes of its pictures."""
        del size
        return {"image_prompts": [{"pictures": [one.digest[:16] for one in own]} for own in self._pictures]}

    @property
    def embeddings(self) -> tuple[np.ndarray, ...]:
        """See `family.Run`: none, as pictures are nobody."""
        return ()

    def control_maps(self, size: Size) -> tuple[np.ndarray, ...]:
        """See `family.Run`: none."""
        del size
        return ()

    @cached_property
    def _pictures(self) -> tuple[tuple[SeenPicture, ...], ...]:
        """The pictures of each image prompt. Raises PictureError or NoFaceFound."""
        return tuple(self._seen(prompt, number) for number, prompt in enumerate(self._settings.image_prompts, 1))

    def _seen(self, prompt: ImagePrompt, number: int) -> tuple[SeenPicture, ...]:
        field = f"image_prompts[{number}].pictures"
        return tuple(self._see(one, prompt.crop, f"{field}[{i}]") for i, one in enumerate(prompt.pictures, 1))

    def _see(self, source: PictureSource, crop: Crop, field: str) -> SeenPicture:
        if crop != "face":
            picture = read_picture(source, field)
            return SeenPicture(digest=_digest(picture), picture=picture)
        face = self._sources.analyser.face_of(source, "largest", None, field)
        picture = upright(read_picture(source, field), face.turned)
        return SeenPicture(digest=face.digest, picture=square_around(picture, face.face.box, FACE_MARGIN))

    @cached_property
    def prepared(self) -> tuple[PreparedPrompt, ...]:
        """The image prompts that act; one of strength 0 loads nothing."""
        numbered = enumerate(zip(self._settings.image_prompts, self._pictures, strict=True), 1)
        return tuple(self._prepare(number, prompt, seen) for number, (prompt, seen) in numbered if prompt.strength)

    def _prepare(self, number: int, prompt: ImagePrompt, seen: tuple[SeenPicture, ...]) -> PreparedPrompt:
        name, adapter, encoder = self._networks(number)
        pixels: dict[Hashable, Callable[[int], Tensor]] = {
            (one.digest, prompt.crop): partial(pixels_of, one.picture, crop=prompt.crop) for one in seen
        }
        *features, none = encoder.see({**pixels, "black": black})
        key = (*pixels, prompt.combine, encoder.width)
        tokens = adapter.tokens(key, joined(features, prompt.combine == "mean"), none)
        return PreparedPrompt(settings=prompt, tokens=tokens, model=name, context=adapter.shape.context)

    def _networks(self, number: int) -> tuple[str, PictureAdapter, PictureEncoder]:
        """The IP-Adapter of an image prompt, with its name, and the vision tower that fits it.

        Raises MissingModelFile or SettingsError: none fits. BadModelFile: a file is damaged.
        """
        prompt, field = self._settings.image_prompts[number - 1], f"image_prompts[{number}].model"
        name = self._sources.file_name(IP_ADAPTER, prompt.model, field) if prompt.model else self._first_that_fits(field)
        adapter: PictureAdapter = self._sources.network(IP_ADAPTER, name)
        encoders = {}
        for own in self._sources.names(ENCODER) or (self._sources.file_name(ENCODER, None, ENCODER),):
            encoders[own] = encoder = self._sources.network(ENCODER, own)
            if encoder.fits(adapter):
                return name, adapter, encoder
        taken = "embeddings" if adapter.takes_embedding else "features"
        raise MissingModelFile(
            f"{field}: {name} takes {taken} of {adapter.shape.features} numbers, and the image encoders that are here give "
            f"others ({', '.join(encoders)}); add {_wanted_tower(adapter)}."
        )

    def _first_that_fits(self, field: str) -> str:
        """The first IP-Adapter for the checkpoint that is loaded; the first of all where the host does not know it."""
        context, others = self._sources.context_size, []
        first = self._sources.file_name(IP_ADAPTER, None, field)
        for name in self._sources.names(IP_ADAPTER) if context else (first,):
            adapter: PictureAdapter = self._sources.network(IP_ADAPTER, name)
            if not context or adapter.shape.context == context:
                return name
            others.append(f"{name} for {adapter.shape.context}")
        raise SettingsError(
            f"{field}: no IP-Adapter is for the loaded checkpoint, whose text has {context} numbers ({', '.join(others)}); add "
            "one for it, or choose another checkpoint."
        )


TOWERS = {
    1024: "the ViT-H image encoder (models/image_encoder of h94/IP-Adapter)",
    1280: "the ViT-bigG image encoder (sdxl_models/image_encoder of h94/IP-Adapter)",
}
"""Which released tower gives embeddings of so many numbers."""

FEATURES = {1280: TOWERS[1024], 1664: TOWERS[1280]}
"""Which released tower gives features of so many numbers."""


def _wanted_tower(adapter: PictureAdapter) -> str:
    known = TOWERS if adapter.takes_embedding else FEATURES
    return known.get(adapter.shape.features, "the one that it was trained with")


def _digest(picture: Picture) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()
