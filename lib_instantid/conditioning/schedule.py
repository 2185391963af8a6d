"""Decides when and how strongly parts act, by the step and the control mode, and lets several steps share residuals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lib_instantid.networks.controlnet import Residuals

ControlMode = Literal["balanced", "prompt", "identity"]
"""balanced: residuals at full weight, as in training. prompt: residuals weigh less, the farther they are from the middle
block. identity: the same weights as prompt, but only on conditional rows."""

SOFT_WEIGHT_BASE = 0.825
"""Factor between the weights of neighbouring residuals, from the middle block outwards. Source: sd-webui-controlnet, its
modes other than "balanced"."""

SOFT_WEIGHT_FIRST_POWER = 12
"""Exponent of `SOFT_WEIGHT_BASE` for the first residual: SD1.5's thirteen residuals have 12 to 0, SDXL's ten have 12 to 3."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Position in one sampling pass. index: from 0. total: number of steps that the pass runs."""

    index: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """The steps in which a part acts. start, end: fractions of the pass, from 0 to 1."""

    start: float
    end: float

    def holds(self, step: Step) -> bool:
        """Whether a step lies wholly inside the window, as in the reference (`control_guidance_start` and `_end`).

        Source: InstantID pipeline at 2145b67, "controlnet_keep".
        """
        return step.index / step.total >= self.start and (step.index + 1) / step.total <= self.end


ALWAYS = Window(start=0.0, end=1.0)


def residual_weights(mode: ControlMode, count: int) -> tuple[float, ...]:
    """Weights of `count` residuals, in the order of the encoder, with the middle block's last."""
    if mode == "balanced":
        return (1.0,) * count
    return tuple(SOFT_WEIGHT_BASE ** (SOFT_WEIGHT_FIRST_POWER - i) for i in range(count))


def acts_on_unconditional(mode: ControlMode) -> bool:
    """Whether a ControlNet acts on unconditional rows too, as the reference does."""
    return mode != "identity"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    step: int
    kind: Hashable
    residuals: Residuals | None


class Reuse:
    """Computes residuals at every `every`-th step and repeats them in the steps between, as they change slowly. With 1
    nothing is kept.

    Returns copies, because Forge changes residuals in place. A step may have several UNet calls, for separate rows or prompts;
    the residuals of its first, second, ... call are repeated in the first, second, ... call of the next steps.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._kept: dict[int, _Kept] = {}
        self._step = -1
        self._call = 0

    def residuals(self, step: int, kind: Hashable, compute: Callable[[], Residuals | None]) -> Residuals | None:
        """Residuals of a UNet call, kept or from `compute`. step: its index. kind: rows and size of the call; residuals kept
        for another kind are not used."""
        if self._every == 1:
            return compute()
        self._call = self._call + 1 if step == self._step else 0
        self._step = step
        kept = self._kept.get(self._call)
        if kept is None or kept.kind != kind or not kept.step <= step < kept.step + self._every:
            kept = self._kept[self._call] = _Kept(step=step, kind=kind, residuals=compute())
        return None if kept.residuals is None else _copy(kept.residuals)


def _copy(residuals: Residuals) -> Residuals:
    down = tuple(part.clone() for part in residuals.down)
    return dataclasses.replace(residuals, down=down, middle=residuals.middle.clone())
