"""The checkpoint as one file for A1111 and Forge: `python -m training.single_file CHECKPOINT OUT.safetensors --merges FILE`.

Three things of those WebUIs are fixed in their code, so the file is made to fit them, without a change in what it computes:
- norms have 32 groups, the small VAE's 8: its layers are given four times as many channels, the new ones all zero;
- tokens are CLIP's 49,408: each word of the small vocabulary lies at CLIP's number, every other token is zero;
- the second text encoder's inner layers are four times as wide as the others, here twice: the rest is zero.

Tensors without numbers, `v_pred` and `ztsnr`, tell the WebUIs what it predicts.

FILE: `bpe_simple_vocab_16e6.txt.gz`, which the packages open_clip and clip carry.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from lib_instantid.hosts.diffusers.checkpoint import V_PREDICTION, ZERO_SNR
from tests.hosts.single_file import open_clip, vae_name, vae_shape, whole_name
from tests.ldm_unet import ldm_name

WIDER = 4
CLIP_MERGES = 49152 - 256 - 2


def clip_numbers(tokenizer: CLIPTokenizer, merges: Path) -> dict[int, int]:
    """Token of the small vocabulary → CLIP's, for words that are one token in both, and the special ones."""
    with gzip.open(merges, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : CLIP_MERGES + 1]
    entries = _byte_letters()
    entries = [*entries, *(letter + "</w>" for letter in entries), *("".join(line.split()) for line in lines)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    theirs = {entry: i for i, entry in enumerate(entries)}
    own = tokenizer.get_vocab()
    whole = [entry for entry in own if entry in theirs and (entry.endswith("</w>") or entry.startswith("<|"))]
    return {0: 0, **{own[entry]: theirs[entry] for entry in whole}}


def _byte_letters() -> list[str]:
    """CLIP's 256 letters for bytes, in its order. Source: openai/CLIP, simple_tokenizer.py, `bytes_to_unicode`."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(rest))]


def wider(name: str, tensor: Tensor) -> Tensor:
    """A VAE's tensor with four times as many channels, the new ones zero; attention's scale follows the width."""
    if ".to_q." in name:
        tensor = tensor * WIDER**0.5
    if name.startswith(("quant_conv", "post_quant_conv")):
        return tensor
    grow_out = not name.startswith(("decoder.conv_out", "encoder.conv_out"))
    grow_in = tensor.ndim > 1 and name not in ("encoder.conv_in.weight", "decoder.conv_in.weight")
    shape = list(tensor.shape)
    shape[0] *= WIDER if grow_out else 1
    if grow_in:
        shape[1] *= WIDER
    whole = tensor.new_zeros(shape)
    whole[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return whole


def clip_sized(table: Tensor, numbers: dict[int, int]) -> Tensor:
    whole = table.new_zeros(CLIP_MERGES + 2 * 256 + 2, table.shape[1])
    for own, theirs in numbers.items():
        whole[theirs] = table[own]
    return whole


def inner_wider(name: str, tensor: Tensor) -> Tensor:
    """A tensor of open_clip with the inner layers twice as wide, the new half zero."""
    if ".mlp.c_fc." in name:
        return torch.cat([tensor, torch.zeros_like(tensor)])
    return torch.cat([tensor, torch.zeros_like(tensor)], dim=1) if name.endswith(".mlp.c_proj.weight") else tensor


def tensors_of(pipeline: Any, merges: Path) -> dict[str, Tensor]:
    numbers = clip_numbers(pipeline.tokenizer, merges)
    found = {f"model.diffusion_model.{ldm_name(k)}": v for k, v in pipeline.unet.state_dict().items()}
    for name, tensor in pipeline.vae.state_dict().items():
        found[f"first_stage_model.{vae_name(name)}"] = vae_shape(name, wider(name, tensor))
    first = {whole_name(k): v for k, v in pipeline.text_encoder.state_dict().items()}
    table = "text_model.embeddings.token_embedding.weight"
    first[table] = clip_sized(first[table], numbers)
    found |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in first.items()}
    second = open_clip(pipeline.text_encoder_2.state_dict())
    second["token_embedding.weight"] = clip_sized(second["token_embedding.weight"], numbers)
    found |= {f"conditioner.embedders.1.model.{k}": inner_wider(k, v) for k, v in second.items()}
    scheduling = pipeline.scheduler.config
    marks = {V_PREDICTION: scheduling.prediction_type == "v_prediction", ZERO_SNR: scheduling.rescale_betas_zero_snr}
    found |= {name: torch.zeros(0) for name, meant in marks.items() if meant}
    return {name: tensor.half().contiguous().clone() for name, tensor in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the checkpoint as one file for A1111 and Forge.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--merges", type=Path, required=True)
    args = parser.parse_args()
    pipeline = StableDiffusionXLPipeline.from_pretrained(args.checkpoint, add_watermarker=False)
    save_file(tensors_of(pipeline, args.merges), args.out, metadata={"format": "pt"})
    print(json.dumps({"file": str(args.out), "bytes": args.out.stat().st_size}))


if __name__ == "__main__":
    main()
