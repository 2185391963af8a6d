"""Renames a ControlNet's tensors from ldm's names (`input_blocks.4.1.…`) to diffusers' (`down_blocks.1.attentions.0.…`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

PREFIX = "control_model."
BLOCKS_PER_LEVEL = 3
"""Numbers of ldm's `input_blocks` per level: two layers and a downsampler. `input_blocks.0` is the first convolution."""

PARTS = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^label_emb\.0\.0\.", "add_embedding.linear_1."),
    (r"^label_emb\.0\.2\.", "add_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^input_hint_block\.0\.", "controlnet_cond_embedding.conv_in."),
    (r"^input_hint_block\.14\.", "controlnet_cond_embedding.conv_out."),
    (r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1."),
    (r"^middle_block_out\.0\.", "controlnet_mid_block."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
)
BLOCKS = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
    (r"\.downsamplers\.0\.op\.", ".downsamplers.0.conv."),
)


def to_diffusers_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same tensors by diffusers' names. Names that are diffusers' already are kept."""
    return {_rename(name.removeprefix(PREFIX)): tensor for name, tensor in tensors.items()}


def _rename(name: str) -> str:
    for pattern, replacement in PARTS:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^input_hint_block\.(\d+)\.", _hint_block, name)
    name = re.sub(r"^input_blocks\.(\d+)\.(\d+)\.", _down_block, name)
    for pattern, replacement in BLOCKS:
        name = re.sub(pattern, replacement, name)
    return name


def _hint_block(match: re.Match[str]) -> str:
    """`input_hint_block.2` is block 0, 4 is block 1 and so on; the odd numbers are activations."""
    return f"controlnet_cond_embedding.blocks.{int(match[1]) // 2 - 1}."


def _down_block(match: re.Match[str]) -> str:
    """`input_blocks.1` to `3` are level 0, the next three level 1 and so on. Within each, 0 is the residual block and 1 the
    transformer."""
    level, layer = divmod(int(match[1]) - 1, BLOCKS_PER_LEVEL)
    if layer == BLOCKS_PER_LEVEL - 1:
        return f"down_blocks.{level}.downsamplers.0."
    return f"down_blocks.{level}.{'resnets' if match[2] == '0' else 'attentions'}.{layer}."
