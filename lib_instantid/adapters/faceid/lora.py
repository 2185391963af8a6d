"""The LoRA of a FaceID adapter: in the adapter's own file, or in a file beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from lib_instantid.conditioning.parts import LowRank
from lib_instantid.errors import BadModelFile
from lib_instantid.weights.reading import read_weights

Layers = Mapping[tuple[int, str], LowRank]
"""As in `LoraPart`."""

INSIDE = re.compile(r"ip_adapter\.(\d+)\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
BESIDE = re.compile(
    r"lora_unet_(?P<block>\w+)_transformer_blocks_(?P<depth>\d+)_attn(?P<attention>[12])_(?P<layer>to_q|to_k|to_v|to_out)(?:_0)?"
    r"\.(?:lora_(?P<half>down|up)\.weight|(?P<alpha>alpha))"
)
"""kohya's names, in which underscores stand for dots, with diffusers' or ldm's blocks."""

ORDER = ("down_blocks", "input_blocks", "up_blocks", "output_blocks", "mid_block", "middle_block")
"""The order in which attentions are numbered, see `sites`."""


def file_beside(adapter: Path) -> Path:
    """Where the LoRA of an adapter's file is expected if it is not in that file."""
    return adapter.with_name(f"{adapter.stem}_lora.safetensors")


def read_lora(adapter: Path) -> Layers | None:
    """The LoRA of an adapter's file: that in the file, else that beside it; None if there is neither. If both are there they
    are the same one, released twice. Raises BadModelFile: it is not complete."""
    inside = list(_inside(read_weights(adapter).tensors))
    if inside:
        return _pairs(inside, adapter)
    beside = file_beside(adapter)
    return _pairs(list(_beside(read_weights(beside).tensors, beside)), beside) if beside.is_file() else None


Half = tuple[tuple[int, str], str, Tensor]
"""A layer as in `LoraPart`, which of its two matrices it is ("down", "up"), and the matrix."""


def _inside(tensors: Mapping[str, Tensor]) -> Iterator[Half]:
    for name, tensor in tensors.items():
        if found := INSIDE.fullmatch(name):
            yield (int(found[1]), found[2]), found[3], tensor


def _beside(tensors: Mapping[str, Tensor], path: Path) -> Iterator[Half]:
    """The halves in a file with kohya's names. The product is scaled by alpha / rank there, which goes into `up`."""
    named = {name: found for name in tensors if (found := BESIDE.fullmatch(name))}
    unknown = sorted(tensors.keys() - named.keys())
    if unknown or not named:
        found_one = f"a tensor {unknown[0]!r}" if unknown else "no tensor"
        raise BadModelFile(
            f"{path}: expected FaceID's LoRA with kohya's names of the UNet's attentions, found {found_one}. Fetch the file "
            "again, or take it from beside the adapter."
        )
    attentions = sorted({_place(found) for found in named.values()})
    alphas = {(_place(found), found["layer"]): float(tensors[name]) for name, found in named.items() if found["alpha"]}
    for name, found in named.items():
        if found["half"]:
            place = _place(found)
            layer, tensor = (attentions.index(place), found["layer"]), tensors[name].flatten(1)
            scale = alphas.get((place, found["layer"]), tensor.shape[1]) / tensor.shape[1]
            yield layer, found["half"], tensor * scale if found["half"] == "up" else tensor


def _place(found: re.Match[str]) -> tuple[int, tuple[int, ...], int, int]:
    """By which the attentions are sorted."""
    block = found["block"]
    container = next((i for i, name in enumerate(ORDER) if block.startswith(name)), len(ORDER))
    return container, tuple(map(int, re.findall(r"\d+", block))), int(found["depth"]), int(found["attention"])


def _pairs(halves: list[Half], path: Path) -> Layers:
    down, up = ({layer: tensor for layer, half, tensor in halves if half == wanted} for wanted in ("down", "up"))
    if down.keys() != up.keys():
        number, name = min(down.keys() ^ up.keys())
        raise BadModelFile(f"{path}: the LoRA has one half of {name} of attention {number} only. Fetch the file again.")
    return {layer: LowRank(down=down[layer], up=up[layer]) for layer in down}
