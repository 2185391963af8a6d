"""Computes what each part adds to a UNet call. Results that do not change during a sampling pass are kept."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from lib_instantid.conditioning.parts import (
    AttentionPart,
    ContextPart,
    ControlContext,
    ControlPart,
    LoraPart,
    LowRank,
    rows_of_both,
)
from lib_instantid.conditioning.regions import attention_mask, on_features, on_tokens
from lib_instantid.conditioning.schedule import Reuse, Step, acts_on_unconditional, residual_weights
from lib_instantid.conditioning.sites import Site
from lib_instantid.conditioning.unets import Rows, UNetInputs
from lib_instantid.networks.attention import KeyValue, attend
from lib_instantid.networks.controlnet import PreparedHint, Residuals


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What parts need to know about a UNet call. rows: the role of each row. latent_size: (height, width) in latent cells."""

    step: Step
    rows: Rows
    latent_size: tuple[int, int]


class ActingAttention:
    """Computes what an `AttentionPart` adds."""

    def __init__(self, part: AttentionPart) -> None:
        self._part = part
        self._keys_values: dict[tuple[int, Rows, torch.dtype], KeyValue] = {}
        self._weights: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, site: Site, query: Tensor, moment: Moment) -> Tensor | None:
        """query (B, N, C) of a cross-attention → the attention to add to the text's, (B, N, C); None if the part does not
        act."""
        strength = self._part.strength_at(site)
        if not strength or not self._part.window.holds(moment.step):
            return None
        added = attend(query, self._keys_values_at(site.number, moment.rows, query), site.heads)
        return added * self._weight(strength, query, moment)

    def _keys_values_at(self, number: int, rows: Rows, like: Tensor) -> KeyValue:
        place = (number, rows, like.dtype)
        if place not in self._keys_values:
            both = self._part.keys_values[number]
            key, value = (rows_of_both(one, rows).to(like) for one in (both.key, both.value))
            self._keys_values[place] = KeyValue(key, value)
        return self._keys_values[place]

    def _weight(self, strength: float, query: Tensor, moment: Moment) -> Tensor | float:
        if self._part.region is None:
            return strength
        key = (strength, query.shape[1], moment.latent_size, query.dtype)
        if key not in self._weights:
            mask = on_tokens(self._part.region, *moment.latent_size, query.shape[1])
            self._weights[key] = mask.to(query) * strength
        return self._weights[key]


class ActingControl:
    """Computes what a `ControlPart` adds."""

    def __init__(self, part: ControlPart) -> None:
        self._part = part
        self._contexts = [context for context in part.contexts if context.strength]
        self._hint: PreparedHint | None = None
        self._own_context: dict[Rows, tuple[KeyValue, ...]] = {}
        self._masks: dict[tuple[object, ...], Tensor] = {}
        self._reuse = Reuse(part.every)

    def __call__(self, inputs: UNetInputs, moment: Moment) -> Residuals | None:
        """The weighted residuals of a UNet call, zero in rows on which the part does not act; None if it acts on no row."""
        if not self._contexts or not self._part.window.holds(moment.step):
            return None
        kind = (moment.rows, moment.latent_size)
        return self._reuse.residuals(moment.step.index, kind, lambda: self._residuals(inputs, moment))

    def _residuals(self, inputs: UNetInputs, moment: Moment) -> Residuals | None:
        unconditional_too = acts_on_unconditional(self._part.mode) and not self._part.network.pooled
        acting = [i for i, conditional in enumerate(moment.rows) if conditional or unconditional_too]
        if not acting:
            return None
        if len(acting) == len(moment.rows):
            return self._run(inputs, moment.rows, moment)
        part = self._run(inputs.rows(acting), tuple(moment.rows[i] for i in acting), moment)
        return _spread(part, acting, len(moment.rows))

    def _run(self, inputs: UNetInputs, rows: Rows, moment: Moment) -> Residuals:
        net = self._part.network
        if self._hint is None:
            self._hint = net.prepare_hint(self._part.hint, self._part.task)
        x = inputs.x[:, : net.shape.latent_channels]  # without the mask and picture of an inpainting UNet
        own = net(x, inputs.timestep, inputs.vector, self._hint, self._context(inputs, rows, moment))
        weights = residual_weights(self._part.mode, len(own.down) + 1)
        weighted = [
            (residual * (weight * self._weight(residual))).to(inputs.x)
            for residual, weight in zip((*own.down, own.middle), weights, strict=True)
        ]
        return Residuals(down=tuple(weighted[:-1]), middle=weighted[-1])

    def _context(self, inputs: UNetInputs, rows: Rows, moment: Moment) -> tuple[KeyValue, ...]:
        """Keys and values of the cross-attentions. Those of the contexts' own tokens are computed once, those of the text in
        each call."""
        tokens = [context.tokens for context in self._contexts if context.tokens is not None]
        if not tokens:
            return self._part.network.prepare_context(inputs.context)
        if rows not in self._own_context:
            together = torch.cat([rows_of_both(one, rows) for one in tokens], dim=1)
            self._own_context[rows] = self._part.network.prepare_context(together)
        if len(tokens) == 1:
            return self._own_context[rows]
        counts = [one.shape[1] for one in tokens]
        allowed = lambda cells: self._allowed(counts, cells, moment.latent_size)  # noqa: E731
        return tuple(one._replace(allowed=allowed) for one in self._own_context[rows])

    def _allowed(self, counts: list[int], cells: int, latent_size: tuple[int, int]) -> Tensor:
        """See `attention_mask`. counts: number of tokens of each context."""
        key = ("allowed", cells, latent_size)
        if key not in self._masks:
            mask = attention_mask([context.region for context in self._contexts], counts, *latent_size, cells)
            self._masks[key] = mask.to(self._hint.features.device)  # type: ignore[union-attr]
        return self._masks[key]

    def _weight(self, residual: Tensor) -> Tensor | float:
        return reduce(operator.add, (self._weight_of(i, one, residual) for i, one in enumerate(self._contexts)))

    def _weight_of(self, number: int, context: ControlContext, residual: Tensor) -> Tensor | float:
        if context.region is None:
            return context.strength
        key = (number, *residual.shape[2:], residual.dtype)
        if key not in self._masks:
            self._masks[key] = on_features(context.region, *residual.shape[2:]).to(residual) * context.strength
        return self._masks[key]


class ActingLora:
    """Computes what a `LoraPart` adds."""

    def __init__(self, part: LoraPart) -> None:
        self._part = part
        self._moved: dict[tuple[int, str, torch.dtype], LowRank] = {}

    @property
    def layers(self) -> frozenset[tuple[int, str]]:
        """The layers in which the part acts, named as in `LoraPart`."""
        return frozenset(self._part.layers)

    def __call__(self, layer: tuple[int, str], x: Tensor, moment: Moment) -> Tensor | None:
        """Input x (…, in) of a linear layer → the tensor to add to its output, (…, out); None if the part does not act."""
        if layer not in self._part.layers or not self._part.strength or not self._part.window.holds(moment.step):
            return None
        key = (*layer, x.dtype)
        if key not in self._moved:
            own = self._part.layers[layer]
            self._moved[key] = LowRank(down=own.down.to(x), up=own.up.to(x) * self._part.strength)
        return x @ self._moved[key].down.T @ self._moved[key].up.T


class ActingContext:
    """Adds the tokens of a `ContextPart`."""

    def __init__(self, part: ContextPart) -> None:
        self._part = part

    def __call__(self, context: Tensor, moment: Moment) -> Tensor:
        """context (B, T, C) → (B, T + tokens of the part, C), the part's tokens last."""
        if not self._part.window.holds(moment.step):
            return context
        return torch.cat([context, rows_of_both(self._part.tokens, moment.rows).to(context)], dim=1)


def _spread(residuals: Residuals, rows: list[int], count: int) -> Residuals:
    """Spread residuals over `count` rows. rows: the rows that they belong to; the others become zero."""

    def spread(part: Tensor) -> Tensor:
        whole = part.new_zeros(count, *part.shape[1:])
        whole[rows] = part
        return whole

    return Residuals(down=tuple(map(spread, residuals.down)), middle=spread(residuals.middle))
