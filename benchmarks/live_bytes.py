"""How many bytes of tensors live at once, for machines whose memory is not counted by the device."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveBytes(TorchDispatchMode):
    """While it is entered, counts what a GPU's allocator would hold, without its rounding and without what was there before.

    peak: the most, in bytes. Needs a PyTorch that gives a tensor's storage as one object (2.3 does, 2.1 does not).
    """

    @staticmethod
    def can_count() -> bool:
        tensor = torch.empty(1)
        return tensor.untyped_storage() is tensor.untyped_storage()

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(found):
            if storage._cdata not in given | self._alive:  # neither in place nor a view of what was there
                self._begin(storage)
        return found

    def _begin(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._end, key, size).atexit = False

    def _end(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_flatten(values)[0]:
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf.untyped_storage()
