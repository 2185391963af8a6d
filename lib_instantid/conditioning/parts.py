"""The parts of a conditioning: what each adds to a UNet call, how strongly, in which steps and where in the picture.

The systems in `adapters/` make parts; `sampling` sums them. A part does not know which system made it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lib_instantid.conditioning.schedule import ALWAYS, ControlMode, Window
from lib_instantid.conditioning.sites import Site
from lib_instantid.networks.attention import KeyValue
from lib_instantid.networks.controlnet import ControlNet

Span = tuple[slice, slice]
"""A piece of the output: slices of its rows and columns, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionPart:
    """Attention to additional keys and values, added to the attention to the text at each cross-attention.

    keys_values: by the number of the attention (`sites`), (2, T, width of the attention) each; row 0 is unconditional, row 1
    conditional.
    strength: one for all attentions, or a function of a `Site`'s `block` and `blocks`.
    region: (H, W) mask in output pixels, from 0 to 1; None for everywhere.
    misfit: end of the error for a UNet with other attentions: whose keys and values these are, and the cure.
    """

    keys_values: Mapping[int, KeyValue]
    strength: float | Callable[[int, int], float]
    misfit: str
    window: Window = ALWAYS
    region: Tensor | None = None

    def strength_at(self, site: Site) -> float:
        """The strength at an attention."""
        return self.strength if isinstance(self.strength, float | int) else self.strength(site.block, site.blocks)

    def cut(self, span: Span) -> AttentionPart:
        """The part for a piece of the output."""
        return dataclasses.replace(self, region=_cut(self.region, span))


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlContext:
    """One context of a ControlNet's run, such as a person.

    tokens: (2, T, context size), given to the network instead of the text, row 0 unconditional, row 1 conditional; None for
    the text of the UNet call. region: where the residuals act, as in `AttentionPart`.
    """

    strength: float
    tokens: Tensor | None = None
    region: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlPart:
    """A ControlNet's residuals, added to the UNet's skip connections and middle block.

    network: the caller moves it to its device and keeps it. hint: (1, 3, H, W) RGB from 0 to 1, in output pixels.
    contexts: one, or several that share a run. With several, each cell attends to the contexts whose region contains it, and
    the residuals are weighted with the sum of region times strength. The text may only be the context if it is the only one.
    task: which of a Union's tasks the hint is for; None for other networks. every: steps that share one run. title: what errors
    call the network. cure: end of the error that refuses a UNet.
    """

    network: ControlNet
    hint: Tensor
    contexts: tuple[ControlContext, ...]
    title: str
    cure: str
    window: Window = ALWAYS
    mode: ControlMode = "balanced"
    task: int | None = None
    every: int = 1

    def cut(self, span: Span) -> ControlPart:
        """The part for a piece of the output."""
        contexts = (dataclasses.replace(context, region=_cut(context.region, span)) for context in self.contexts)
        return dataclasses.replace(self, hint=self.hint[..., span[0], span[1]], contexts=tuple(contexts))


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """Two matrices whose product, up @ down, is added to a linear layer's weight: down (rank, in), up (out, rank)."""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraPart:
    """Low-rank products added to linear layers of the attentions. They act on every row.

    layers: by the number of the attention, including self-attentions, and the layer's name: "to_q", "to_k", "to_v" or
    "to_out". misfit: see `AttentionPart`.
    """

    layers: Mapping[tuple[int, str], LowRank]
    strength: float
    misfit: str
    window: Window = ALWAYS

    def cut(self, span: Span) -> LoraPart:
        """The part itself, as it acts alike in every piece of the output."""
        del span
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextPart:
    """Tokens appended to those of the text. tokens: (2, T, context size), row 0 unconditional, row 1 conditional."""

    tokens: Tensor
    window: Window = ALWAYS

    def cut(self, span: Span) -> ContextPart:
        """The part itself, as it acts alike in every piece of the output."""
        del span
        return self


Part = AttentionPart | ControlPart | LoraPart | ContextPart


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """The parts that act in one sampling pass, of any kind and number.

    size: (width, height) of the output in pixels. cfg_rescale: from 0 to 1, see `cfg`.
    checks: one or more per system; each raises UnsupportedModel for a UNet in which its system cannot act.
    """

    parts: tuple[Part, ...]
    size: tuple[int, int]
    cfg_rescale: float = 0.0
    checks: tuple[Callable[[nn.Module], None], ...] = ()

    @property
    def networks(self) -> tuple[ControlNet, ...]:
        """Every ControlNet of the parts, once, in the order of the parts."""
        return tuple(dict.fromkeys(part.network for part in self.parts if isinstance(part, ControlPart)))

    def cut(self, left: int, top: int, width: int, height: int) -> Conditioning:
        """The conditioning for a piece of the output. left, top, width, height: the piece, in pixels of the output."""
        span = slice(top, top + height), slice(left, left + width)
        return dataclasses.replace(self, parts=tuple(part.cut(span) for part in self.parts), size=(width, height))


def rows_of_both(tokens: Tensor, rows: tuple[bool, ...]) -> Tensor:
    """tokens (2, …), row 0 unconditional, row 1 conditional → (B, …), one of them for each row of a call. rows: True for a
    conditional row."""
    return tokens[list(map(int, rows))]


def _cut(region: Tensor | None, span: Span) -> Tensor | None:
    return None if region is None else region[span]
