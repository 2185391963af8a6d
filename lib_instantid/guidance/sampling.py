"""One sampling pass at work: constants made once, residuals once per UNet call, face attention once per site and call."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from lib_instantid.guidance.guidance import Guidance, PersonGuidance
from lib_instantid.guidance.regions import attention_mask, on_features, on_tokens
from lib_instantid.guidance.reuse import Reuse
from lib_instantid.guidance.schedule import Step, acts_on_unconditional, residual_weights
from lib_instantid.guidance.unets import Call
from lib_instantid.nets.attention import KeyValue, attend
from lib_instantid.nets.identitynet import IdentityNet, Residuals
from lib_instantid.nets.sites import Site

Rows = tuple[bool, ...]
"""The role of each row of a UNet call: True where it is conditional."""

Group = tuple[int, ...]
"""The people, by their numbers, who share a run of IdentityNet."""

RowsOf = Callable[[Call], Rows]
"""The host's answer to which rows of this call are conditional."""


class SamplingPass:
    """The state behind one attachment. `begin` starts a UNet call, `end` ends it."""

    def __init__(self, guidance: Guidance, sites: tuple[Site, ...], rows_of: RowsOf, step: Callable[[], Step]) -> None:
        self._guidance = guidance
        self._sites = sites
        self._rows_of = rows_of
        self._step = step
        self._hints: dict[Group, Tensor] = {}
        self._net_contexts: dict[tuple[Group, Rows], tuple[KeyValue, ...]] = {}
        self._row_contexts: dict[tuple[int, int, Rows, torch.dtype], KeyValue] = {}
        self._masks: dict[tuple[object, ...], Tensor] = {}
        self._reuse = Reuse(guidance.identitynet_every)
        self._rows: Rows = ()
        self._latent_size = (0, 0)
        self._adapter_acts = False
        self.residuals: Residuals | None = None

    @torch.no_grad()
    def begin(self, call: Call) -> None:
        """Take a UNet call's inputs: settle who its rows are and what acts, and compute IdentityNet's residuals."""
        self._rows = self._rows_of(call)
        if len(self._rows) != len(call.x):
            raise ValueError(f"the host named {len(self._rows)} rows of a call with {len(call.x)}")
        self._latent_size = (call.x.shape[2], call.x.shape[3])
        step = self._step()
        self._adapter_acts = self._guidance.adapter_window.holds(step)
        if self._guidance.identitynet_window.holds(step):
            kind = (self._rows, self._latent_size)
            self.residuals = self._reuse.residuals(step.index, kind, lambda: self._residuals_of(call))
        else:
            self.residuals = None

    def end(self) -> None:
        self.residuals = None

    def face_attention(self, site_index: int, query: Tensor) -> Tensor | None:
        """query (B, N, C) of a site → what the people's faces add to its text attention, None where nothing acts."""
        if not self._adapter_acts:
            return None
        heads = self._sites[site_index].heads
        parts = []
        for i, person in enumerate(self._guidance.people):
            if person.adapter_strength:
                part = attend(query, self._context(i, site_index, query), heads)
                parts.append(part * self._attention_weight(i, person, query))
        return reduce(torch.add, parts) if parts else None

    def _context(self, person: int, site_index: int, like: Tensor) -> KeyValue:
        """The person's keys and values at a site, one for each row of the call."""
        key = (person, site_index, self._rows, like.dtype)
        if key not in self._row_contexts:
            both = self._guidance.people[person].face.keys_values[self._sites[site_index].number]
            index = list(map(int, self._rows))
            self._row_contexts[key] = KeyValue(both.key[index].to(like), both.value[index].to(like))
        return self._row_contexts[key]

    def _attention_weight(self, index: int, person: PersonGuidance, query: Tensor) -> Tensor | float:
        if person.region is None:
            return person.adapter_strength
        key = (index, "tokens", query.shape[1], self._latent_size, query.dtype)
        if key not in self._masks:
            mask = on_tokens(person.region, *self._latent_size, query.shape[1])
            self._masks[key] = mask.to(query) * person.adapter_strength
        return self._masks[key]

    def _residuals_of(self, call: Call) -> Residuals | None:
        """The people's residuals, weighted and summed; zero in rows on which IdentityNet does not act."""
        guidance = self._guidance
        unconditional_too = acts_on_unconditional(guidance.control_mode)
        acting = [i for i, conditional in enumerate(self._rows) if conditional or unconditional_too]
        people = tuple(i for i, person in enumerate(guidance.people) if person.identitynet_strength)
        if not acting or not people:
            return None
        all_act = len(acting) == len(self._rows)
        part = call if all_act else call.rows(acting)
        rows = tuple(self._rows[i] for i in acting)
        groups = [people] if guidance.identitynet_people == "together" else [(i,) for i in people]
        total = reduce(_sum, (self._residuals_of_group(group, part, rows) for group in groups))
        return total if all_act else _spread(total, acting, len(self._rows))

    def _residuals_of_group(self, group: Group, call: Call, rows: Rows) -> Residuals:
        """One run of IdentityNet for these people."""
        net = self._identitynet
        if group not in self._hints:
            maps = (self._guidance.people[i].keypoint_map for i in group)
            self._hints[group] = net.prepare_hint(reduce(torch.maximum, maps))
        if (group, rows) not in self._net_contexts:
            self._net_contexts[group, rows] = self._net_context(group, rows)
        x = call.x[:, : net.shape.latent_channels]  # an inpainting UNet gets mask and picture behind the latents
        own = net(x, call.timestep, call.vector, self._hints[group], self._net_contexts[group, rows])
        weights = residual_weights(self._guidance.control_mode, len(own.down) + 1)
        weighted = [
            (r * (weight * self._group_weight(group, r))).to(call.x)
            for r, weight in zip((*own.down, own.middle), weights, strict=True)
        ]
        return Residuals(down=tuple(weighted[:-1]), middle=weighted[-1])

    @property
    def _identitynet(self) -> IdentityNet:
        net = self._guidance.identitynet
        assert net is not None  # it acts for somebody
        return net

    def _net_context(self, group: Group, rows: Rows) -> tuple[KeyValue, ...]:
        """IdentityNet's keys and values for these people. Of several, each cell attends to those whose region holds it."""
        people = [self._guidance.people[i] for i in group]
        tokens = torch.cat([person.face.tokens[list(map(int, rows))] for person in people], dim=1)
        context = self._identitynet.prepare_context(tokens)
        if len(people) == 1:
            return context
        return tuple(one._replace(allowed=lambda cells: self._allowed(group, cells)) for one in context)

    def _allowed(self, group: Group, cells: int) -> Tensor:
        key = (group, "allowed", cells, self._latent_size)
        if key not in self._masks:
            people = [self._guidance.people[i] for i in group]
            tokens = [person.face.tokens.shape[1] for person in people]
            mask = attention_mask([person.region for person in people], tokens, *self._latent_size, cells)
            self._masks[key] = mask.to(self._hints[group].device)
        return self._masks[key]

    def _group_weight(self, group: Group, feature: Tensor) -> Tensor | float:
        return reduce(operator.add, (self._feature_weight(i, self._guidance.people[i], feature) for i in group))

    def _feature_weight(self, index: int, person: PersonGuidance, feature: Tensor) -> Tensor | float:
        if person.region is None:
            return person.identitynet_strength
        key = (index, "features", *feature.shape[2:], feature.dtype)
        if key not in self._masks:
            mask = on_features(person.region, *feature.shape[2:])
            self._masks[key] = mask.to(feature) * person.identitynet_strength
        return self._masks[key]


def _sum(a: Residuals, b: Residuals) -> Residuals:
    return Residuals(down=tuple(x + y for x, y in zip(a.down, b.down, strict=True)), middle=a.middle + b.middle)


def _spread(residuals: Residuals, rows: list[int], count: int) -> Residuals:
    """Residuals of some rows → of `count` rows, zero in the others."""

    def spread(part: Tensor) -> Tensor:
        whole = part.new_zeros(count, *part.shape[1:])
        whole[rows] = part
        return whole

    return Residuals(down=tuple(map(spread, residuals.down)), middle=spread(residuals.middle))
