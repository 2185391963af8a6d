"""A sampling pass of a host that computes the picture in tiles, with several tiles in one UNet call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.sampling import RowsOf, SamplingPass
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import Site
from lib_instantid.conditioning.unets import UNetInputs
from lib_instantid.networks.controlnet import Residuals


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A piece of the output, in pixels of the output."""

    left: int
    top: int
    width: int
    height: int


class TiledPass:
    """A `SamplingPass` whose UNet calls may be for tiles: the rows of a call are divided equally among its tiles, in order.

    Each tile has a `SamplingPass` of its own, with its piece of the hints and regions.
    """

    def __init__(self, conditioning: Conditioning, rows_of: RowsOf, step: Callable[[], Step]) -> None:
        self._conditioning, self._rows_of, self._step = conditioning, rows_of, step
        self._passes: dict[Tile | None, SamplingPass] = {}
        self._acting: list[SamplingPass] = []
        self.residuals: Residuals | None = None

    def begin(self, inputs: UNetInputs, tiles: Sequence[Tile] = ()) -> None:
        """Take the inputs of a UNet call. tiles: of the call; none if it is for the whole picture."""
        self._acting = [self._pass_of(tile) for tile in tiles] if tiles else [self._pass_of(None)]
        share = len(inputs.x) // len(self._acting)
        for i, own in enumerate(self._acting):
            own.begin(inputs.rows(list(range(i * share, (i + 1) * share))) if tiles else inputs)
        self.residuals = _joined([own.residuals for own in self._acting])

    def end(self) -> None:
        """Forget the UNet call."""
        for own in self._acting:
            own.end()
        self.residuals = None

    def attention(self, site: Site, query: Tensor) -> Tensor | None:
        """See `SamplingPass.attention`."""
        return self._each(lambda own, share: own.attention(site, share), query)

    def low_rank(self, layer: tuple[int, str], x: Tensor) -> Tensor | None:
        """See `SamplingPass.low_rank`."""
        return self._each(lambda own, share: own.low_rank(layer, share), x)

    def context(self, context: Tensor) -> Tensor:
        """See `SamplingPass.context`."""
        found = self._each(lambda own, share: own.context(share), context)
        return context if found is None else found

    def _each(self, act: Callable[[SamplingPass, Tensor], Tensor | None], rows: Tensor) -> Tensor | None:
        """Apply `act` to each tile's share of the rows and join the results. Parts act in the same steps in every tile, so
        either all results are None or none is."""
        found = [act(own, share) for own, share in zip(self._acting, rows.chunk(len(self._acting)), strict=True)]
        parts = [part for part in found if part is not None]
        return torch.cat(parts) if parts else None

    def _pass_of(self, tile: Tile | None) -> SamplingPass:
        if tile not in self._passes:
            whole = self._conditioning
            own = whole if tile is None else whole.cut(tile.left, tile.top, tile.width, tile.height)
            self._passes[tile] = SamplingPass(own, self._rows_of, self._step)
        return self._passes[tile]


def _joined(parts: Sequence[Residuals | None]) -> Residuals | None:
    """Join the residuals of all tiles. Parts act in the same steps and rows in every tile, so all have residuals or none."""
    there = [part for part in parts if part is not None]
    if len(there) < 2:
        return there[0] if there else None
    down = zip(*(part.down for part in there), strict=True)
    return Residuals(down=tuple(torch.cat(level) for level in down), middle=torch.cat([part.middle for part in there]))
