"""Sums what the parts of a conditioning add to each UNet call of a sampling pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

import torch
from torch import Tensor

from lib_instantid.conditioning.acting import ActingAttention, ActingContext, ActingControl, ActingLora, Moment
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, ContextPart, ControlPart, LoraPart
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import Site
from lib_instantid.conditioning.unets import Rows, UNetInputs
from lib_instantid.networks.controlnet import Residuals

RowsOf = Callable[[UNetInputs], Rows]
"""The host's function that tells which rows of a UNet call are conditional."""


class SamplingPass:
    """The state of one attachment. Call `begin` before each UNet call and `end` after it."""

    def __init__(self, conditioning: Conditioning, rows_of: RowsOf, step: Callable[[], Step]) -> None:
        self._rows_of, self._step = rows_of, step
        parts = conditioning.parts
        self._attentions = [ActingAttention(part) for part in parts if isinstance(part, AttentionPart)]
        self._controls = [ActingControl(part) for part in parts if isinstance(part, ControlPart)]
        self._loras = [ActingLora(part) for part in parts if isinstance(part, LoraPart)]
        self._contexts = [ActingContext(part) for part in parts if isinstance(part, ContextPart)]
        self._moment: Moment | None = None
        self.residuals: Residuals | None = None

    @torch.no_grad()
    def begin(self, inputs: UNetInputs) -> None:
        """Take the inputs of a UNet call: find the roles of its rows and compute the ControlNets' residuals.

        Raises ValueError: the host names another number of rows than the call has.
        """
        rows = self._rows_of(inputs)
        if len(rows) != len(inputs.x):
            raise ValueError(f"the host named {len(rows)} rows of a call with {len(inputs.x)}")
        moment = Moment(step=self._step(), rows=rows, latent_size=(inputs.x.shape[2], inputs.x.shape[3]))
        self._moment = moment
        self.residuals = _total(acting(inputs, moment) for acting in self._controls)

    def end(self) -> None:
        """Forget the UNet call."""
        self._moment = self.residuals = None

    def attention(self, site: Site, query: Tensor) -> Tensor | None:
        """query (B, N, C) of a cross-attention → the attention that the parts add to the text's, (B, N, C); None if none
        acts."""
        return self._sum(acting(site, query, self._now) for acting in self._attentions)

    def low_rank(self, layer: tuple[int, str], x: Tensor) -> Tensor | None:
        """Input x (…, in) of a linear layer → the tensor that the parts add to its output, (…, out); None if none acts.

        layer: named as in `LoraPart`.
        """
        return self._sum(acting(layer, x, self._now) for acting in self._loras)

    def context(self, context: Tensor) -> Tensor:
        """The text's context (B, T, C) → (B, T + tokens of the parts, C), the parts' tokens last."""
        return reduce(lambda given, acting: acting(given, self._now), self._contexts, context)

    @property
    def _now(self) -> Moment:
        assert self._moment is not None, "a UNet call has begun"
        return self._moment

    @staticmethod
    def _sum(parts: Iterable[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return reduce(torch.add, there) if there else None


def _total(parts: Iterable[Residuals | None]) -> Residuals | None:
    there = [part for part in parts if part is not None]
    return reduce(_add, there) if there else None


def _add(a: Residuals, b: Residuals) -> Residuals:
    return Residuals(down=tuple(x + y for x, y in zip(a.down, b.down, strict=True)), middle=a.middle + b.middle)
