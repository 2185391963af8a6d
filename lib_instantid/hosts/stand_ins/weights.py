"""Random weights of the released layouts: an SDXL checkpoint as a diffusers folder, `ip-adapter.bin`, `ControlNetModel/`, an
IP-Adapter Plus with its vision tower, an adapter with a LoRA that takes antelopev2's normalised embeddings, and a ControlNet
for canny edges."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from lib_instantid.constants import EMBEDDING_SIZE

SEED = 0
TOKENS = 16
RANK = 4
"""Of a LoRA; the released ones have 128."""

TIME_ID_COUNT = 6
TOWER = 64
"""Width of the vision tower; ViT-H's is 1280."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths of the stand-ins; comments give SDXL's. The block structure, with 70 cross-attentions, is that of SDXL."""

    channels: tuple[int, int, int] = (32, 64, 128)  # (320, 640, 1280)
    depths: tuple[int, int, int] = (1, 2, 10)  # the same
    text: tuple[int, int] = (768, 1280)  # the same; their sum is the context size
    time_id: int = 256  # the same
    resampler: int = 128  # 1280

    @property
    def context(self) -> int:
        return sum(self.text)

    @property
    def vector(self) -> int:
        return self.text[1] + TIME_ID_COUNT * self.time_id


def write_weights(folder: Path, size: Size | None = None) -> None:
    """Write `checkpoint/`, `ip-adapter.bin`, `ControlNetModel/`, `ip-adapter-plus.bin`, `image_encoder/` and
    `ip-adapter-faceid-antelopev2.bin` and `controlnet-canny/` to the folder. They are the same on every machine."""
    size = size or Size()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        unet = sdxl_unet(size)
        _pipeline(size, unet, folder).save_pretrained(folder / "checkpoint")
        torch.save(adapter_file(size, unet), folder / "ip-adapter.bin")
        controlnet(size).save_pretrained(folder / "ControlNetModel")
        torch.save(adapter_file(size, unet, features=TOWER), folder / "ip-adapter-plus.bin")
        vision_tower().save_pretrained(folder / "image_encoder")
        torch.save(face_adapter_file(size, unet), folder / "ip-adapter-faceid-antelopev2.bin")
        controlnet(size).save_pretrained(folder / "controlnet-canny")


def vision_tower() -> CLIPVisionModelWithProjection:
    """A tower that takes pictures of CLIP's size and patch."""
    config = CLIPVisionConfig(
        hidden_size=TOWER,
        intermediate_size=2 * TOWER,
        projection_dim=TOWER // 2,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=224,
        patch_size=14,
        hidden_act="gelu",
    )
    return CLIPVisionModelWithProjection(config)


def sdxl_unet(size: Size) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=size.channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        **_shape(size),
    )


def controlnet(size: Size) -> ControlNetModel:
    net = ControlNetModel(
        block_out_channels=size.channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        conditioning_embedding_out_channels=(16, 32, 96, 256),
        **_shape(size),
    )
    # diffusers begins with zeros in these layers, as for training; such a stand-in would have no effect.
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return net


def _shape(size: Size) -> dict[str, object]:
    return {
        "layers_per_block": 2,
        "transformer_layers_per_block": size.depths,
        "attention_head_dim": tuple(max(1, c // 64) for c in size.channels),
        "cross_attention_dim": size.context,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": size.time_id,
        "projection_class_embeddings_input_dim": size.vector,
    }


def _pipeline(size: Size, unet: UNet2DConditionModel, folder: Path) -> StableDiffusionXLPipeline:
    tokenizer = _tokenizer(folder / "checkpoint" / "tokenizer")
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
        latent_channels=4,
        scaling_factor=0.13025,
    )
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config(size.text[0], len(tokenizer))),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(size.text[1], len(tokenizer))),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
        ),
        add_watermarker=False,
    )


def _text_config(width: int, vocabulary: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        projection_dim=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=max(1, width // 64),
        vocab_size=vocabulary,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of single printable characters, inside a word and at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = [chr(code) for code in range(33, 127)]
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def adapter_file(size: Size, unet: UNet2DConditionModel, features: int = EMBEDDING_SIZE) -> dict[str, dict[str, Tensor]]:
    """The content of `ip-adapter.bin` for a UNet: random float32 tensors by the names and in the shapes that `Adapter` takes,
    such as `image_proj.latents` (1, 16, width). features: numbers that the resampler takes; InstantID's a face embedding's."""
    width = size.resampler
    image_proj = {
        "latents": torch.randn(1, TOKENS, width),
        **_linear("proj_in", width, features),
        **_linear("proj_out", size.context, width),
        **_norm("norm_out", size.context),
    }
    for i in range(4):
        attention, forward = f"layers.{i}.0", f"layers.{i}.1"
        image_proj |= _norm(f"{attention}.norm1", width) | _norm(f"{attention}.norm2", width) | _norm(f"{forward}.0", width)
        image_proj |= {
            f"{attention}.to_q.weight": _matrix(width, width),
            f"{attention}.to_kv.weight": _matrix(width * 2, width),
            f"{attention}.to_out.weight": _matrix(width, width),
            f"{forward}.1.weight": _matrix(width * 4, width),
            f"{forward}.3.weight": _matrix(width, width * 4),
        }
    ip_adapter = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            to_k = unet.get_submodule(name.removesuffix("processor") + "to_k")
            ip_adapter[f"{number}.to_k_ip.weight"] = _matrix(*to_k.weight.shape)
            ip_adapter[f"{number}.to_v_ip.weight"] = _matrix(*to_k.weight.shape)
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def face_adapter_file(size: Size, unet: UNet2DConditionModel) -> dict[str, dict[str, Tensor]]:
    """The content of an adapter that makes 4 tokens of a face embedding, with a LoRA for every attention of the UNet."""
    image_proj = {
        **_linear("proj.0", size.resampler, EMBEDDING_SIZE),
        **_linear("proj.2", 4 * size.context, size.resampler),
        **_norm("norm", size.context),
    }
    layers = adapter_file(size, unet)["ip_adapter"]
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for layer in ("to_q", "to_k", "to_v", "to_out"):
            own = getattr(attention, layer)
            rows, columns = (own[0] if layer == "to_out" else own).weight.shape
            layers[f"{number}.{layer}_lora.down.weight"] = _matrix(RANK, columns)
            layers[f"{number}.{layer}_lora.up.weight"] = _matrix(rows, RANK) * 0.2
    return {"image_proj": image_proj, "ip_adapter": layers}


def _matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns) / columns**0.5


def _linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
    return {f"{name}.weight": _matrix(rows, columns), f"{name}.bias": torch.randn(rows) * 0.1}


def _norm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + torch.randn(width) * 0.1, f"{name}.bias": torch.randn(width) * 0.1}
