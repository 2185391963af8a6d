"""IP-Adapters that take pictures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from lib_instantid.adapters.adapter_files import AdapterFile
from lib_instantid.encoders.vision import Features
from lib_instantid.networks.adapter import PromptTokens
from lib_instantid.networks.projections import FullProjection, ImageProjection
from lib_instantid.networks.resampler import Resampler


class PictureAdapter(AdapterFile):
    """See `AdapterFile`."""

    title = "IP-Adapter"
    expected = "a plain, plus or full IP-Adapter"
    projections = {"plain": ImageProjection, "plus": Resampler, "full": FullProjection}  # noqa: RUF012 - read only

    def tokens(self, key: Hashable, pictures: Sequence[Features], black: Features) -> PromptTokens:
        """Tokens of a group of pictures, side by side. key: what identifies the group.

        pictures: of each picture. black: of the black picture, the unconditional features; for an adapter that takes an
        embedding zeros stand in its place, as in the reference.
        """
        return self.kept.of(key, lambda: self._make(pictures, black))

    @torch.no_grad()
    def _make(self, pictures: Sequence[Features], black: Features) -> PromptTokens:
        if self.shape.takes_embedding:
            given = torch.cat([one.embedding for one in pictures])
            none = torch.zeros_like(given[:1])
        else:
            given, none = torch.cat([one.hidden for one in pictures]), black.hidden
        adapter = self.load()
        conditional, unconditional = (adapter.image_proj(one) for one in (given, none))
        both = torch.stack([unconditional.repeat(len(given), 1, 1).flatten(0, 1), conditional.flatten(0, 1)])
        return adapter.prompt_tokens(both)
