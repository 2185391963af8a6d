"""One generation of ControlNets: draws each map once for each size, and makes a control part of each control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.controlnet.choose import Chosen, choose
from lib_instantid.adapters.controlnet.draw import draw
from lib_instantid.adapters.controlnet.kinds import TASKS
from lib_instantid.adapters.controlnet.maps import INPAINT, as_hint, without
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.controlnet.settings import Control, ControlNetSettings
from lib_instantid.adapters.family import Run, Size, Sources
from lib_instantid.adapters.known import region_of
from lib_instantid.adapters.record import recorded_entry, recorded_own
from lib_instantid.conditioning.parts import Conditioning, ControlContext, ControlPart
from lib_instantid.conditioning.schedule import ControlMode, Window
from lib_instantid.constants import LATENT_FACTOR
from lib_instantid.encoders.face.faces import HASH_DIGITS, Picture, digest_of
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.errors import SettingsError

MODES: Mapping[str, ControlMode] = {"balanced": "balanced", "prompt": "prompt", "control": "identity"}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadPicture:
    """A control's picture. digest: of its pixels."""

    digest: str
    picture: Picture


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnControl:
    """A control for an output of one size. drawn: its map, (H, W, 3) uint8 RGB. region: (H, W) mask, None for everywhere."""

    drawn: Picture
    region: Tensor | None


class ControlNetRun(Run):
    """See `family.Run`."""

    def __init__(self, settings: ControlNetSettings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources
        self._drawn: dict[Size, tuple[DrawnControl, ...]] = {}

    def advice(self, size: Size) -> tuple[str, ...]:
        if size[0] % LATENT_FACTOR or size[1] % LATENT_FACTOR:
            raise SettingsError(f"width, height: found {size[0]}×{size[1]}, expected multiples of {LATENT_FACTOR}.")
        assert self._chosen is not None  # found now, so that errors are known before sampling
        self.drawn(size)
        return ()

    def conditioning(self, size: Size) -> Conditioning:
        numbered = zip(self._settings.controls, self._chosen, self.drawn(size), strict=True)
        parts = [self._part(control, chosen, drawn) for control, chosen, drawn in numbered if chosen is not None]
        return Conditioning(parts=tuple(parts), size=size)

    def _part(self, control: Control, chosen: Chosen, drawn: DrawnControl) -> ControlPart:
        repaints = control.drawn_by == INPAINT
        return ControlPart(
            network=self._sources.network(CONTROLNET, chosen.name),
            hint=_hint(drawn, chosen, repaints),
            contexts=(ControlContext(strength=float(control.strength), region=None if repaints else drawn.region),),
            title=f"the ControlNet {chosen.name}",
            cure="Choose a ControlNet for this checkpoint.",
            window=Window(start=control.start, end=control.end),
            mode=MODES[control.control_mode],
            task=TASKS[chosen.kind] if chosen.union and chosen.kind else None,
        )

    def recorded(self, size: Size) -> Mapping[str, object]:
        del size
        entries = [
            recorded_entry(control, {"picture": read.digest[:HASH_DIGITS]})
            for control, read in zip(self._settings.controls, self._pictures, strict=True)
        ]
        return {"controls": entries, **recorded_own(self._settings, ControlNetSettings)}

    def metadata(self, size: Size) -> Mapping[str, object]:
        """For each control the hash of its picture and its ControlNet; none for one of strength 0."""
        del size
        names = [chosen and chosen.name for chosen in self._chosen]
        each = zip(self._pictures, names, strict=True)
        return {"controls": [{"picture": read.digest[:16], "model": name} for read, name in each]}

    def control_maps(self, size: Size) -> tuple[np.ndarray, ...]:
        """See `family.Run`."""
        return tuple(one.drawn for one in self.drawn(size))

    def drawn(self, size: Size) -> tuple[DrawnControl, ...]:
        """The controls for an output of this size. Errors: see `draw` and `region_of`."""
        if size not in self._drawn:
            each = enumerate(zip(self._settings.controls, self._pictures, strict=True), 1)
            self._drawn[size] = tuple(
                DrawnControl(
                    drawn=draw(control, read.picture, size, self._sources, f"controls[{number}]"),
                    region=region_of(control.region, size, f"controls[{number}]"),
                )
                for number, (control, read) in each
            )
        return self._drawn[size]

    @cached_property
    def _pictures(self) -> tuple[ReadPicture, ...]:
        """The picture of each control. Raises PictureError."""
        return tuple(_read(control, number) for number, control in enumerate(self._settings.controls, 1))

    @cached_property
    def _chosen(self) -> tuple[Chosen | None, ...]:
        """The ControlNet of each control; None for one of strength 0, which loads nothing. Errors: see `choose`."""
        each = enumerate(self._settings.controls, 1)
        return tuple(choose(control, self._sources, f"controls[{i}]") if control.strength else None for i, control in each)


def _read(control: Control, number: int) -> ReadPicture:
    assert control.picture is not None  # the settings have checked it
    picture = read_picture(control.picture, f"controls[{number}].picture")
    return ReadPicture(digest=digest_of(picture), picture=picture)


def _hint(drawn: DrawnControl, chosen: Chosen, repaints: bool) -> Tensor:
    """(1, 3, H, W) RGB from 0 to 1."""
    if repaints and drawn.region is not None:
        hint = without(drawn.drawn, drawn.region.numpy(), 0.0 if chosen.union else -1.0)
    else:
        hint = as_hint(drawn.drawn)
    return torch.from_numpy(hint).permute(2, 0, 1)[None]
