"""One generation of IP-Adapter: looks at the pictures once and makes an attention part of each image prompt."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from PIL import Image
from torch import Tensor

from lib_instantid.adapters.adapter_files import chosen_adapter, misfit
from lib_instantid.adapters.family import Run, Size, Sources
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.ip_adapter.layers import strength_of
from lib_instantid.adapters.ip_adapter.networks import PictureAdapter
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.adapters.ip_adapter.settings import ImagePrompt, IPAdapterSettings
from lib_instantid.adapters.known import read_region, region_of
from lib_instantid.adapters.record import recorded_entry, recorded_own
from lib_instantid.adapters.towers import PictureEncoder, black, mean_of, tower_for
from lib_instantid.conditioning.parts import AttentionPart, Conditioning
from lib_instantid.conditioning.schedule import Window
from lib_instantid.encoders.face.faces import HASH_DIGITS, Picture, digest_of
from lib_instantid.encoders.face.geometry import square_around
from lib_instantid.encoders.face.photos import upright
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.vision import Crop, pixels_of
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
    """An image prompt that acts. misfit: see `AttentionPart`."""

    settings: ImagePrompt
    tokens: PromptTokens
    misfit: str


class IPAdapterRun(Run):
    """See `family.Run`. Each picture is read and seen once."""

    def __init__(self, settings: IPAdapterSettings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources

    def advice(self, size: Size) -> tuple[str, ...]:
        for number, prompt in enumerate(self._settings.image_prompts, 1):
            read_region(prompt.region, size, f"image_prompts[{number}]")
            if prompt.strength:
                self._networks(number)
        assert self._pictures is not None  # read now, so that errors are known before sampling
        return ()

    def conditioning(self, size: Size) -> Conditioning:
        parts = [
            AttentionPart(
                keys_values=one.tokens.keys_values,
                strength=strength_of(one.settings.layers, one.settings.strength),
                misfit=one.misfit,
                window=Window(start=one.settings.start, end=one.settings.end),
                region=region_of(one.settings.region, size, "image_prompts"),
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

    @cached_property
    def _pictures(self) -> tuple[tuple[SeenPicture, ...], ...]:
        """The pictures of each image prompt. Raises PictureError or NoFaceFound."""
        return tuple(self._seen(prompt, number) for number, prompt in enumerate(self._settings.image_prompts, 1))

    def _seen(self, prompt: ImagePrompt, number: int) -> tuple[SeenPicture, ...]:
        field = f"image_prompts[{number}].pictures"
        return tuple(self._see(one, prompt.crop, f"{field}[{i}]") for i, one in enumerate(prompt.pictures, 1))

    def _see(self, source: PictureSource, crop: Crop, field: str) -> SeenPicture:
        picture = read_picture(source, field)
        if crop != "face":
            return SeenPicture(digest=digest_of(picture), picture=picture)
        face = self._sources.analyser.face_of(Image.fromarray(picture), "largest", None, field)
        cut = square_around(upright(picture, face.turned), face.face.box, FACE_MARGIN)
        return SeenPicture(digest=face.digest, picture=cut)

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
        tokens = adapter.tokens(key, [mean_of(features)] if prompt.combine == "mean" else features, none)
        return PreparedPrompt(settings=prompt, tokens=tokens, misfit=misfit(PictureAdapter, name, adapter.shape, tokens))

    def _networks(self, number: int) -> tuple[str, PictureAdapter, PictureEncoder]:
        """The IP-Adapter of an image prompt, with its name, and the vision tower that fits it. Errors: see `chosen_adapter`
        and `tower_for`."""
        field, sources = f"image_prompts[{number}].model", self._sources
        model = self._settings.image_prompts[number - 1].model
        name, adapter = chosen_adapter(sources, IP_ADAPTER, model, field, PictureAdapter)
        return name, adapter, tower_for(sources, adapter.shape, name, field)
