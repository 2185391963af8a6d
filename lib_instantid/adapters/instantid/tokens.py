"""Remembers the tokens of the last faces, which hires fix and batches use again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib_instantid.adapters.adapter_files import Last
from lib_instantid.networks.adapter import Adapter, PromptTokens


class RememberingAdapter:
    """An adapter that remembers the tokens of the last `FACES` faces, about 20 MB each.

    The adapter's file is mapped into memory only while a new face's tokens are made, and its weights are never on the GPU.
    """

    FACES = 4

    def __init__(self, load: Callable[[], Adapter]) -> None:
        self._load = load
        self._faces: Last[PromptTokens] = Last(self.FACES)

    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> PromptTokens:
        """See `FaceTokenMaker`. Errors are those of loading the adapter (`load_adapter`)."""
        key = torch.stack([embedding, unconditional]).numpy().tobytes()
        return self._faces.of(key, lambda: self._load().face_tokens(embedding, unconditional))
