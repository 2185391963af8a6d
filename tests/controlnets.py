"""ControlNets of every structure, small and random, as diffusers makes them."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from torch import nn

HINT = (16, 32, 96, 256)
Net = TypeVar("Net", bound=nn.Module)


def with_effect(net: Net) -> Net:
    """diffusers begins with zeros in some layers, as for training; such a network would have no effect."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net.eval()


def sdxl(**changes: Any) -> dict[str, Any]:
    """The arguments for a network of SDXL's structure."""
    return {
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "transformer_layers_per_block": (1, 2, 3),
        "attention_head_dim": (1, 1, 2),
        "cross_attention_dim": 64,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32 + 6 * 8,
        "conditioning_embedding_out_channels": HINT,
        **changes,
    }


def sd15(**changes: Any) -> dict[str, Any]:
    """The arguments for a network of SD1.5's structure: eight heads, 1 x 1 convolutions around the transformers, no vector."""
    return {
        "block_out_channels": (32, 64, 64, 64),
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "conditioning_embedding_out_channels": HINT,
        **changes,
    }


def small(kind: str) -> dict[str, Any]:
    """The arguments for SDXL's small variants: "mid" has no attention in its middle block, "small" none at all."""
    last = "CrossAttnDownBlock2D" if kind == "mid" else "DownBlock2D"
    return sdxl(down_block_types=("DownBlock2D", "DownBlock2D", last), mid_block_type="UNetMidBlock2D")


def controlnet(seed: int = 1, **arguments: Any) -> ControlNetModel:
    torch.manual_seed(seed)
    return with_effect(ControlNetModel(**arguments))


def union(seed: int = 1, layers: int = 1, **changes: Any) -> ControlNetUnionModel:
    torch.manual_seed(seed)
    own = {"num_trans_channel": 32, "num_trans_layer": layers, "num_proj_channel": 32, **changes}
    return with_effect(ControlNetUnionModel(**sdxl(**own)))
