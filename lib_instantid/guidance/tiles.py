"""A sampling pass of a picture that the host computes in parts, several of them in one UNet call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_instantid.guidance.guidance import Guidance, PersonGuidance
from lib_instantid.guidance.sampling import RowsOf, SamplingPass
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.unets import Call
from lib_instantid.nets.identitynet import Residuals
from lib_instantid.nets.sites import Site


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A part of the output, in its pixels."""

    left: int
    top: int
    width: int
    height: int


class TiledPass:
    """As `SamplingPass`, where a call may be for tiles: equal shares of its rows, in their order. Each tile has a pass of its
    own, with its part of the keypoint maps and regions."""

    def __init__(self, guidance: Guidance, sites: tuple[Site, ...], rows_of: RowsOf, step: Callable[[], Step]) -> None:
        self._guidance = guidance
        self._sites, self._rows_of, self._step = sites, rows_of, step
        self._passes: dict[Tile | None, SamplingPass] = {}
        self._acting: list[SamplingPass] = []
        self.residuals: Residuals | None = None

    def begin(self, call: Call, tiles: Sequence[Tile] = ()) -> None:
        """Take a UNet call's inputs. tiles: none for the whole picture."""
        self._acting = [self._pass_of(tile) for tile in tiles] if tiles else [self._pass_of(None)]
        share = len(call.x) // len(self._acting)
        for i, own in enumerate(self._acting):
            own.begin(call.rows(list(range(i * share, (i + 1) * share))) if tiles else call)
        self.residuals = _joined([own.residuals for own in self._acting])

    def end(self) -> None:
        for own in self._acting:
            own.end()
        self.residuals = None

    def face_attention(self, site_index: int, query: Tensor) -> Tensor | None:
        """See `SamplingPass.face_attention`."""
        shares = query.chunk(len(self._acting))
        found = [own.face_attention(site_index, share) for own, share in zip(self._acting, shares, strict=True)]
        parts = [part for part in found if part is not None]
        return torch.cat(parts) if parts else None

    def _pass_of(self, tile: Tile | None) -> SamplingPass:
        if tile not in self._passes:
            own = self._guidance if tile is None else cut(self._guidance, tile)
            self._passes[tile] = SamplingPass(own, self._sites, self._rows_of, self._step)
        return self._passes[tile]


def _joined(parts: Sequence[Residuals | None]) -> Residuals | None:
    """Of all tiles; they act in the same steps and rows, so that all have residuals or none."""
    there = [part for part in parts if part is not None]
    if len(there) < 2:
        return there[0] if there else None
    down = zip(*(part.down for part in there), strict=True)
    return Residuals(down=tuple(torch.cat(level) for level in down), middle=torch.cat([part.middle for part in there]))


def cut(guidance: Guidance, tile: Tile) -> Guidance:
    """What of a guidance lies in a tile."""
    y, x = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)

    def part(person: PersonGuidance) -> PersonGuidance:
        region = None if person.region is None else person.region[y, x]
        return dataclasses.replace(person, keypoint_map=person.keypoint_map[..., y, x], region=region)

    return dataclasses.replace(guidance, people=tuple(map(part, guidance.people)))
