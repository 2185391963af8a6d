"""The ldm UNet that A1111 is built on, in SDXL's or SD1.5's shape, with the weights of a diffusers UNet.

The class comes from the package stable-diffusion-sdkit (SD2's). Brought to the other shapes here: a transformer depth for
each level, a vector input of any size or none, and the context given once for each block.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from ldm.modules.attention import SpatialTransformer
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn


class LdmUNet(UNetModel):
    """Takes the context as A1111 gives it, one tensor."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        depth = max(len(m.transformer_blocks) for m in self.modules() if isinstance(m, SpatialTransformer))
        return super().forward(x, timesteps, context=[context] * depth, y=y, **kwargs)


def ldm_unet_like(unet: UNet2DConditionModel) -> LdmUNet:
    """An ldm UNet with the shape and weights of a diffusers UNet."""
    config = unet.config
    channels, sdxl = config.block_out_channels, config.addition_embed_type == "text_time"
    depths = config.transformer_layers_per_block if sdxl else (1,) * len(channels)
    attention = [2**i for i, kind in enumerate(config.down_block_types) if kind.startswith("CrossAttn")]
    model = LdmUNet(
        image_size=32,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        model_channels=channels[0],
        num_res_blocks=config.layers_per_block,
        attention_resolutions=attention,
        channel_mult=[c // channels[0] for c in channels],
        num_heads=-1 if sdxl else 8,
        num_head_channels=64 if sdxl else -1,
        use_spatial_transformer=True,
        use_linear_in_transformer=sdxl,
        transformer_depth=max(depths),
        context_dim=[config.cross_attention_dim] * max(depths),
        num_classes="continuous" if sdxl else None,
        legacy=False,
    )
    if sdxl:
        size, time_size = config.projection_class_embeddings_input_dim, channels[0] * 4
        layers = nn.Linear(size, time_size), nn.SiLU(), nn.Linear(time_size, time_size)
        model.label_emb = nn.Sequential(nn.Sequential(*layers))
    depth_of = dict(zip(channels, depths, strict=True))
    for module in model.modules():
        if isinstance(module, SpatialTransformer):
            module.transformer_blocks = module.transformer_blocks[: depth_of[module.in_channels]]
    attended = {i for i, kind in enumerate(config.up_block_types) if kind.startswith("CrossAttn")}
    model.load_state_dict({ldm_name(name, attended): tensor for name, tensor in unet.state_dict().items()})
    return model.eval()


def ldm_vector(unet: UNet2DConditionModel, text_embeds: Tensor, time_ids: Tensor) -> Tensor:
    """SDXL's `y` from diffusers' added conditions, by diffusers' own code."""
    sizes = unet.add_time_proj(time_ids.flatten()).reshape(len(time_ids), -1)
    return torch.cat([text_embeds, sizes], dim=-1)


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
STEM = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
    "controlnet_mid_block": "middle_block_out.0",
}


def ldm_name(name: str, attended: Collection[int] = (0, 1)) -> str:
    """The ldm name of a parameter of a diffusers UNet or ControlNet. attended: up blocks with attention."""
    layer, _, parameter = name.rpartition(".")
    parts = layer.split(".")
    if layer in STEM:
        return f"{STEM[layer]}.{parameter}"
    if parts[0] == "controlnet_cond_embedding":
        return f"input_hint_block.{2 * int(parts[2]) + 2}.{parameter}"
    if parts[0] == "controlnet_down_blocks":
        return f"zero_convs.{parts[1]}.0.{parameter}"
    if parts[0] == "mid_block":
        index = {"resnets": 2 * int(parts[2]), "attentions": 1}[parts[1]]
        return f"middle_block.{index}.{_inner(parts[1], parts[3:])}.{parameter}"
    level, kind, i = int(parts[1]), parts[2], int(parts[3])
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{parameter}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if level in attended else 1}.conv.{parameter}"
    container, block = ("input_blocks", 3 * level + i + 1) if parts[0] == "down_blocks" else ("output_blocks", 3 * level + i)
    return f"{container}.{block}.{0 if kind == 'resnets' else 1}.{_inner(kind, parts[4:])}.{parameter}"


def _inner(kind: str, parts: list[str]) -> str:
    return RESNET[parts[0]] if kind == "resnets" else ".".join(parts)
