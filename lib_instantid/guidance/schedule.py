"""What acts when, and how strongly: pure functions of the step and the control mode."""

from __future__ import annotations

from dataclasses import dataclass

from lib_instantid.guidance.settings import ControlMode

SOFT_WEIGHT_BASE = 0.825
"""sd-webui-controlnet's decay of the residuals from the middle block outwards, in its modes other than "balanced"."""

SOFT_WEIGHT_FIRST_POWER = 12
"""Its exponent for the first residual: SD1.5's thirteen residuals count 12 to 0, and SDXL's ten start alike."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Position in one sampling pass: the index counts from 0, `total` is the number of steps that the pass runs."""

    index: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """Fractions of the steps between which a part acts."""

    start: float
    end: float

    def holds(self, step: Step) -> bool:
        """The reference's rule for `control_guidance_start` and `_end`: only steps wholly inside the window act.

        Source: InstantID pipeline at 2145b67, "controlnet_keep".
        """
        return step.index / step.total >= self.start and (step.index + 1) / step.total <= self.end


def residual_weights(mode: ControlMode, count: int) -> tuple[float, ...]:
    """Weights of `count` residuals in the encoder's order, the middle block's last."""
    if mode == "balanced":
        return (1.0,) * count
    return tuple(SOFT_WEIGHT_BASE ** (SOFT_WEIGHT_FIRST_POWER - i) for i in range(count))


def acts_on_unconditional(mode: ControlMode) -> bool:
    """Whether IdentityNet acts on unconditional rows too, as the reference does."""
    return mode != "identity"
