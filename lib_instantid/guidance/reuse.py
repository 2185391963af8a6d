"""Residuals that several steps share: IdentityNet's answer changes slowly from one step to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from lib_instantid.nets.identitynet import Residuals


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    step: int
    kind: Hashable
    residuals: Residuals | None


class Reuse:
    """Computes at every `every`-th step and answers from memory between. With 1 nothing is kept.

    What is handed out is the receiver's, a copy: Forge adds another unit's residuals to it in place. A step may have several
    UNet calls, for separate rows or prompts; each is answered by the call at the same place before.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._kept: dict[int, _Kept] = {}
        self._step = -1
        self._call = 0

    def residuals(self, step: int, kind: Hashable, compute: Callable[[], Residuals | None]) -> Residuals | None:
        """step: its index. kind: which rows and size this call has; what was kept for another kind is of no use."""
        if self._every == 1:
            return compute()
        self._call = self._call + 1 if step == self._step else 0
        self._step = step
        kept = self._kept.get(self._call)
        if kept is None or kept.kind != kind or not kept.step <= step < kept.step + self._every:
            kept = self._kept[self._call] = _Kept(step=step, kind=kind, residuals=compute())
        return None if kept.residuals is None else _copy(kept.residuals)


def _copy(residuals: Residuals) -> Residuals:
    return Residuals(down=tuple(part.clone() for part in residuals.down), middle=residuals.middle.clone())
