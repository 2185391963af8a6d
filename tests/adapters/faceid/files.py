"""FaceID's files for tests, of the second parity fixture's shapes."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.ldm_unet import ldm_name
from tests.parity.faces import lora_shapes
from tests.parity.fixture import filled
from tests.parity.prompts import PromptFixture


def write_lora_beside(fixture: PromptFixture, base: str, path: Path, names: str, alpha: float | None = None) -> None:
    """The LoRA of `write_face_adapter` with kohya's names. names: "diffusers" or "ldm". alpha: as kohya's training writes it;
    the numbers are scaled so that the LoRA stays the same."""
    numbered = dict(enumerate(fixture.unets[base].attn_processors))
    tensors = {}
    for name, tensor in filled(lora_shapes(fixture, base), "ip_adapter", fixture.seed).items():
        number, layer, half = re.fullmatch(r"(\d+)\.(\w+)_lora\.(down|up)\.weight", name).groups()  # type: ignore[union-attr]
        whole = numbered[int(number)].removesuffix("processor") + layer + (".0" if layer == "to_out" else "")
        plain = ldm_name(whole + ".weight").removesuffix(".weight") if names == "ldm" else whole
        start = "lora_unet_" + plain.replace(".", "_")
        rank = tensor.shape[0 if half == "down" else 1]
        scale = 1.0 if alpha is None or half == "down" else rank / alpha
        tensors[f"{start}.lora_{half}.weight"] = tensor * scale
        if alpha is not None:
            tensors[f"{start}.alpha"] = torch.tensor(alpha)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
