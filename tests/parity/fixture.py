"""A parity fixture: inputs and outputs of the official code, and modules whose weights follow from their names and a seed."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).parent
OFFICIAL = HERE / "official"
RESAMPLER = {"size": 64, "depth": 4, "queries": 16, "embedding": 512, "context": 64, "feed_forward": 4}


@dataclass(frozen=True)
class Fixture:
    folder: Path
    seed: int
    io: Mapping[str, Tensor]
    unet: UNet2DConditionModel

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        height, width, _ = self.io["keypoint_map"].shape
        return width, height

    @property
    def context_size(self) -> int:
        return int(self.unet.config.cross_attention_dim)


def read_fixture(folder: Path) -> Fixture:
    seed = int((folder / "seed.txt").read_text())
    config = json.loads((folder / "unet" / "config.json").read_text())
    unet = UNet2DConditionModel.from_config(config).eval()
    unet.load_state_dict(filled(shapes_of(unet.state_dict()), "unet", seed))
    return Fixture(folder=folder, seed=seed, io=load_file(folder / "io.safetensors"), unet=unet)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, as a part of the expected norm."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def filled(shapes: Mapping[str, tuple[int, ...]], prefix: str, seed: int) -> dict[str, Tensor]:
    """Weights from names, as the fixture's README defines them."""
    state = {}
    for key, shape in shapes.items():
        stream = np.random.RandomState(zlib.crc32(f"{prefix}.{key}".encode()) ^ seed)
        n = stream.standard_normal(shape)
        if len(shape) >= 2 and key != "latents":
            n = n / math.sqrt(math.prod(shape[1:]))
        elif key.endswith("weight"):
            n = 1 + 0.1 * n
        elif key != "latents":
            n = 0.1 * n
        state[key] = torch.from_numpy(np.asarray(n)).float()
    return state


def resampler_shapes(size: int, depth: int, queries: int, embedding: int, context: int, feed_forward: int) -> dict:
    shapes: dict[str, tuple[int, ...]] = {
        "latents": (1, queries, size),
        "proj_in.weight": (size, embedding),
        "proj_in.bias": (size,),
        "proj_out.weight": (context, size),
        "proj_out.bias": (context,),
        "norm_out.weight": (context,),
        "norm_out.bias": (context,),
    }
    for i in range(depth):
        attention, forward = f"layers.{i}.0", f"layers.{i}.1"
        for norm in (f"{attention}.norm1", f"{attention}.norm2", f"{forward}.0"):
            shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (size,)
        shapes[f"{attention}.to_q.weight"] = shapes[f"{attention}.to_out.weight"] = (size, size)
        shapes[f"{attention}.to_kv.weight"] = (size * 2, size)
        shapes[f"{forward}.1.weight"] = (size * feed_forward, size)
        shapes[f"{forward}.3.weight"] = (size, size * feed_forward)
    return shapes


def adapter_layer_shapes(unet: UNet2DConditionModel) -> dict[str, tuple[int, ...]]:
    """Key and value layers, numbered by diffusers' own enumeration of its attention processors."""
    state = unet.state_dict()
    shapes = {}
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            shape = tuple(state[name.removesuffix("processor") + "to_k.weight"].shape)
            shapes[f"{i}.to_k_ip.weight"] = shapes[f"{i}.to_v_ip.weight"] = shape
    return shapes


def controlnet_of(fixture: Fixture) -> ControlNetModel:
    config = json.loads((fixture.folder / "ControlNetModel" / "config.json").read_text())
    controlnet = ControlNetModel.from_config(config).eval()
    controlnet.load_state_dict(filled(shapes_of(controlnet.state_dict()), "identitynet", fixture.seed))
    return controlnet


def adapter_state(fixture: Fixture) -> dict[str, dict[str, Tensor]]:
    """The content of `ip-adapter.bin`."""
    shapes = resampler_shapes(**{**RESAMPLER, "context": fixture.context_size})
    return {
        "image_proj": filled(shapes, "image_proj", fixture.seed),
        "ip_adapter": filled(adapter_layer_shapes(fixture.unet), "ip_adapter", fixture.seed),
    }


def write_weights(fixture: Fixture, folder: Path) -> tuple[Path, Path]:
    """Write ip-adapter.bin and ControlNetModel/ in the released layout; returns their paths."""
    adapter = folder / "ip-adapter.bin"
    torch.save(adapter_state(fixture), adapter)
    identitynet = folder / "ControlNetModel"
    identitynet.mkdir()
    (identitynet / "config.json").write_text((fixture.folder / "ControlNetModel" / "config.json").read_text())
    save_file(controlnet_of(fixture).state_dict(), identitynet / "diffusion_pytorch_model.safetensors")
    return adapter, identitynet
