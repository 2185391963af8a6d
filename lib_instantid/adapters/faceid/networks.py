"""FaceID's adapters."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lib_instantid.adapters.adapter_files import AdapterFile
from lib_instantid.adapters.faceid.lora import Layers, read_lora
from lib_instantid.adapters.faceid.recognise import by_antelope, said_of
from lib_instantid.networks.adapter import PromptTokens
from lib_instantid.networks.projections import FacePlusProjection, FaceProjection
from lib_instantid.networks.resampler import Resampler

Seen = Callable[[], tuple[Tensor, Tensor]]


class FaceAdapter(AdapterFile):
    """See `AdapterFile`."""

    title = "FaceID adapter"
    expected = "a FaceID, FaceID Plus or FaceID Portrait adapter"
    projections = {  # noqa: RUF012 - read only
        "faceid": FaceProjection,
        "faceid plus": FacePlusProjection,
        "portrait": FaceProjection,
        "face resampler": Resampler,
    }

    @property
    def sees(self) -> bool:
        """Whether it takes the features of the face too (Plus)."""
        return self.shape.kind == "faceid plus"

    @property
    def raw(self) -> bool:
        """Whether it takes the raw embedding, not the normalised one."""
        return self.shape.kind == "face resampler"

    @property
    def several(self) -> bool:
        """Whether it takes several photos side by side (Portrait), not one embedding."""
        return self.shape.kind in ("portrait", "face resampler")

    @property
    def by_antelope(self) -> bool:
        """See `recognise.by_antelope`."""
        return by_antelope(self.outline)

    @property
    def version(self) -> str | None:
        """The version of a FaceID Plus that its name tells: "Plus" or "PlusV2"; None if it tells none."""
        name = re.search(r"plus[-_ ]?(v2)?", said_of(self.outline))
        return None if name is None else "PlusV2" if name[1] else "Plus"

    @cached_property
    def lora(self) -> Layers | None:
        """See `read_lora`."""
        return read_lora(self._path)

    def tokens(
        self, key: Hashable, embeddings: Tensor, seen: Seen | None = None, structure: float | None = None
    ) -> PromptTokens:
        """Tokens of a face. key: what identifies everything given.

        embeddings: (P, 512) raw, of the photos that stand side by side. seen: makes the features of the face and of the black
        picture, (1, N, their size) each, for an adapter that `sees`. structure: see `FacePlusProjection.with_structure`.
        The unconditional tokens are those of zeros, and of the black picture.
        """
        return self.kept.of(key, lambda: self._make(embeddings, seen, structure))

    @torch.no_grad()
    def _make(self, embeddings: Tensor, seen: Seen | None, structure: float | None) -> PromptTokens:
        adapter = self.load()
        given = embeddings if self.raw else normalize(embeddings, dim=-1)
        none = torch.zeros_like(given)
        if seen is not None:
            assert isinstance(adapter.image_proj, FacePlusProjection)
            both = [
                adapter.image_proj.with_structure(one, own, structure) for one, own in zip((given, none), seen(), strict=True)
            ]
        else:
            both = [adapter.image_proj(one[:, None] if self.raw else one) for one in (given, none)]
        conditional, unconditional = (one.flatten(0, 1) for one in both)
        return adapter.prompt_tokens(torch.stack([unconditional, conditional]))
