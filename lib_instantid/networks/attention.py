"""Scaled dot-product attention to given keys and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class KeyValue(NamedTuple):
    """Keys and values of one attention, each (rows, tokens, width).

    allowed: a function from the number of cells to (cells, tokens) bool: which tokens each cell attends to. None: all.
    """

    key: Tensor
    value: Tensor
    allowed: Callable[[int], Tensor] | None = None


def attend(query: Tensor, context: KeyValue, heads: int) -> Tensor:
    """query (B, N, C), keys and values of context (B, T, C) → (B, N, C), with `heads` heads of C / heads numbers."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, context.key, context.value))
    allowed = None if context.allowed is None else context.allowed(query.shape[1])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2)
