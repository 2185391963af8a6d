"""A checkpoint of SDXL or SD1.5 as one file with ldm's names, made of a diffusers pipeline: the way most people have theirs."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

from tests.ldm_unet import ldm_name

VAE_LEVELS = 4


def write_single_file(checkpoint: Path, path: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(checkpoint)
    tensors = {f"model.diffusion_model.{ldm_name(k)}": v for k, v in pipeline.unet.state_dict().items()}
    tensors |= {f"first_stage_model.{vae_name(k)}": vae_shape(k, v) for k, v in pipeline.vae.state_dict().items()}
    xl = isinstance(pipeline, StableDiffusionXLPipeline)
    text = "conditioner.embedders.0" if xl else "cond_stage_model"
    tensors |= {f"{text}.transformer.{whole_name(k)}": v for k, v in pipeline.text_encoder.state_dict().items()}
    if xl:
        second = open_clip(pipeline.text_encoder_2.state_dict())
        tensors |= {f"conditioner.embedders.1.model.{k}": v for k, v in second.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def vae_name(name: str) -> str:
    name = re.sub(r"(encoder|decoder)\.conv_norm_out", r"\1.norm_out", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{VAE_LEVELS - 1 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{VAE_LEVELS - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_shortcut", "nin_shortcut")
    for ours, theirs in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"attn_1.{ours}", f"attn_1.{theirs}")
    return name


def vae_shape(name: str, tensor: Tensor) -> Tensor:
    """ldm's attention layers are 1×1 convolutions."""
    return tensor[:, :, None, None] if re.search(r"attentions\.0\.to_\w+(\.0)?\.weight", name) else tensor


def whole_name(name: str) -> str:
    """Some versions of transformers leave `text_model.` out."""
    return name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"


def open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {whole_name(name): tensor for name, tensor in state.items()}
    tensors = {
        "token_embedding.weight": own["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": own["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": own["text_model.final_layer_norm.weight"],
        "ln_final.bias": own["text_model.final_layer_norm.bias"],
        "text_projection": own["text_projection.weight"].T,
    }
    for i in range(len({name.split(".")[3] for name in own if ".layers." in name})):
        layer, block = f"text_model.encoder.layers.{i}", f"transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            tensors[f"{block}.attn.in_proj_{kind}"] = torch.cat([own[f"{layer}.self_attn.{p}_proj.{kind}"] for p in "qkv"])
            tensors[f"{block}.attn.out_proj.{kind}"] = own[f"{layer}.self_attn.out_proj.{kind}"]
            tensors[f"{block}.mlp.c_fc.{kind}"] = own[f"{layer}.mlp.fc1.{kind}"]
            tensors[f"{block}.mlp.c_proj.{kind}"] = own[f"{layer}.mlp.fc2.{kind}"]
            tensors[f"{block}.ln_1.{kind}"] = own[f"{layer}.layer_norm1.{kind}"]
            tensors[f"{block}.ln_2.{kind}"] = own[f"{layer}.layer_norm2.{kind}"]
    return tensors
