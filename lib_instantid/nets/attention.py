"""Scaled dot-product attention to keys and values that were made beforehand."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class KeyValue(NamedTuple):
    """Keys and values of one cross-attention, each (rows, tokens, width)."""

    key: Tensor
    value: Tensor


def attend(query: Tensor, context: KeyValue, heads: int) -> Tensor:
    """query (B, N, C), context (B, T, C) → (B, N, C) with `heads` heads of C / heads numbers."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, *context))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
