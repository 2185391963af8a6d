"""How strongly pictures act in each block of the UNet, for each choice of what they are to give.

Blocks are counted in the order in which they run: SDXL has 11 with attentions, SD1.5 has 16. Sources: IPAdapterPlus.py and
CrossAttentionPatch.py of cubiq/ComfyUI_IPAdapter_plus; for SDXL's style and composition also InstantStyle infer_style.py,
which names `up_blocks.0.attentions.1` (block 6) and `down_blocks.2.attentions.1` (block 3).
"""

from __future__ import annotations

from collections.abc import Callable

from lib_instantid.adapters.ip_adapter.settings import Layers

SDXL_BLOCKS = 11
STYLE, COMPOSITION = 6, 3
"""SDXL's blocks of style and of composition."""

SD15_STYLE = frozenset((0, 1, 2, 3, *range(9, 16)))
SD15_COMPOSITION = {4: 0.25, 5: 1.0}
"""SD1.5's blocks of style, and of composition with their weights."""

Strength = Callable[[int, int], float]
"""The strength at a block. Arguments: the block from 0, and the number of blocks."""


def strength_of(layers: Layers, strength: float) -> float | Strength:
    """The strength of pictures, one number where all blocks have the same."""
    if layers == "all":
        return strength
    share = SHARES[layers]
    return lambda block, blocks: strength * share(block, blocks)


def _style(block: int, blocks: int) -> float:
    return float(block == STYLE if blocks == SDXL_BLOCKS else block in SD15_STYLE)


def _composition(block: int, blocks: int) -> float:
    return float(block == COMPOSITION) if blocks == SDXL_BLOCKS else SD15_COMPOSITION.get(block, 0.0)


def _strong_style(block: int, blocks: int) -> float:
    return float(not _composition(block, blocks))


def _style_and_composition(block: int, blocks: int) -> float:
    return max(_style(block, blocks), _composition(block, blocks))


def _ease_in(block: int, blocks: int) -> float:
    return 0.05 + 0.95 * (1 - block / blocks)


def _ease_out(block: int, blocks: int) -> float:
    return 0.05 + 0.95 * (block / blocks)


def _ease_in_out(block: int, blocks: int) -> float:
    half = blocks / 2
    return 0.05 + 0.95 * (1 - abs(block - half) / half)


SHARES: dict[str, Strength] = {
    "style": _style,
    "strong style": _strong_style,
    "composition": _composition,
    "style and composition": _style_and_composition,
    "ease in": _ease_in,
    "ease out": _ease_out,
    "ease in-out": _ease_in_out,
}
