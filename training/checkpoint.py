"""The checkpoint, SDXL's structure made small: `python -m training.checkpoint RUN FOLDER` writes a diffusers folder of it.

It is trained by `training.joint`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.captions import vocabulary, write_tokenizer
from training.codes import WHOLE
from training.diffusion import SCHEDULER
from training.runs import write_by_command

CHANNELS, DEPTHS = (64, 64, 128), (1, 1, 1)
TEXT = 64
"""Width of each text encoder; the context is both side by side."""

TIME_ID = 256


def shape() -> dict[str, Any]:
    """What UNet and ControlNet have in common."""
    return {
        "block_out_channels": CHANNELS,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": DEPTHS,
        "attention_head_dim": tuple(c // 64 for c in CHANNELS),
        "cross_attention_dim": 2 * TEXT,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TIME_ID,
        "projection_class_embeddings_input_dim": TEXT + 6 * TIME_ID,
    }


def new_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=WHOLE, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **shape()
    )
    begin_as_identity(unet)
    return unet


@torch.no_grad()
def begin_as_identity(unet: UNet2DConditionModel) -> None:
    """Set the last layer of each residual block to zero, so that the UNet begins with what passes beside its blocks."""
    for name, weight in unet.named_parameters():
        if ".conv2." in name:
            nn.init.zeros_(weight)
    # sizes and crops say nothing here: a picture of another size is no other picture
    unet.add_embedding.linear_1.weight[:, TEXT:] = 0


def pass_over_sizes(net: nn.Module) -> None:
    """Never train what UNet or ControlNet reads of sizes and crops, see `begin_as_identity`."""

    def without_sizes(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:, TEXT:] = 0
        return gradient

    weight = net.add_embedding.linear_1.weight
    if weight.requires_grad:
        weight.register_hook(without_sizes)


def _text_config(vocabulary: int, act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=TEXT,
        projection_dim=TEXT,
        intermediate_size=2 * TEXT,
        num_hidden_layers=2,
        num_attention_heads=1,
        hidden_act=act,
        vocab_size=vocabulary,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


class Text(nn.Module):
    """SDXL's two text encoders: the last but one layer of both, and the second one's pooled output."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        if not (run / "tokenizer" / "vocab.json").is_file():
            write_tokenizer(run / "tokenizer")
        files = [str(run / "tokenizer" / name) for name in ("vocab.json", "merges.txt")]
        self.tokenizer = CLIPTokenizer(*files, model_max_length=77)
        self.tokenizer_2 = CLIPTokenizer(*files, model_max_length=77, pad_token="!")
        self.first = CLIPTextModel(_text_config(len(self.tokenizer), "quick_gelu"))
        self.second = CLIPTextModelWithProjection(_text_config(len(self.tokenizer), "gelu"))
        for encoder in (self.first, self.second):
            nn.init.normal_(encoder.get_input_embeddings().weight, std=1.0)

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """→ (B, 77, 2 * TEXT) and (B, TEXT)."""
        hidden, pooled = [], None
        for tokenizer, encoder in ((self.tokenizer, self.first), (self.tokenizer_2, self.second)):
            ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
            out = encoder(ids, output_hidden_states=True)
            hidden.append(out.hidden_states[-2])
            pooled = out[0]
        return torch.cat(hidden, dim=-1), pooled


def time_ids(count: int) -> Tensor:
    return torch.tensor([192.0, 192, 0, 0, 192, 192]).repeat(count, 1)


def trained(run: Path) -> tuple[UNet2DConditionModel, Text, dict[str, Tensor]]:
    """UNet and text encoders without the adapter, and all that was trained: the running means."""
    found = torch.load(run / "joint.pt", weights_only=True)["mean"]
    unet, text = new_unet(), Text(run)
    unet.load_state_dict({k: v for k, v in part(found, "unet.").items() if ".processor." not in k})
    text.load_state_dict(part(found, "text."))
    return unet.eval(), text.eval(), found


def part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(name): v for k, v in state.items() if k.startswith(name)}


def export(run: Path, folder: Path) -> None:
    """Write the diffusers folder, in fp16."""
    unet, text, _ = trained(run)
    forget_what_was_never_seen(text)
    vae = AutoencoderKL.from_pretrained(run / "vae")
    vae.register_to_config(_name_or_path="")  # where it lay
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text.first,
        text_encoder_2=text.second,
        tokenizer=text.tokenizer,
        tokenizer_2=text.tokenizer_2,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**SCHEDULER),
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    name_as_released(folder / "text_encoder" / "model.safetensors")
    for own in ("tokenizer", "tokenizer_2"):
        for name in ("vocab.json", "merges.txt"):  # transformers 5 leaves these out, and 4 needs them
            shutil.copy(run / "tokenizer" / name, folder / own)


@torch.no_grad()
def forget_what_was_never_seen(text: Text) -> None:
    """Letters and parts of words keep their first random numbers in training: make them zero, which says nothing."""
    seen = {token for word in vocabulary() for token in text.tokenizer(word).input_ids} | {text.tokenizer_2.pad_token_id}
    for encoder in (text.first, text.second):
        table = encoder.get_input_embeddings().weight
        for token in set(range(len(table))) - seen:
            table[token] = 0


def name_as_released(path: Path) -> None:
    """transformers 5 leaves out a prefix that older ones need."""
    prefix = "text_model."
    tensors = {name if name.startswith(prefix) else prefix + name: tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    write_by_command("the checkpoint", export)
