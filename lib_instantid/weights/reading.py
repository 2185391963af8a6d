"""Reads weight files. Their content tells the format, not their name, and no code from them is run."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lib_instantid.errors import BadModelFile, MissingModelFile
from lib_instantid.weights.pickles import CURE, check_torch_file, is_torch_file

LOG = logging.getLogger(__name__)

DIFFUSERS_STEM = "diffusion_pytorch_model."
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, AssertionError, AttributeError, TypeError,
    pickle.UnpicklingError,
)  # fmt: skip
"""The exceptions that torch's readers raise for damaged files, found by trying damaged files."""

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)

SHOWN_NAMES = 4
"""Most tensor names in an error; the others are only counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The tensors of one file by flat names: `{"image_proj": {"latents": …}}` becomes `image_proj.latents`.

    tensors: in the file's dtype, memory-mapped where the format allows it.
    notes: texts about the file: the metadata of a .safetensors file and the values of config.json.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> Weights:
    """Read a `.safetensors` or torch file, or the one weight file of a diffusers folder.

    Raises MissingModelFile, or BadModelFile: unreadable, truncated, or might run code (`pickles`).
    """
    return _read(Path(path).expanduser(), outline=False)


def read_outline(path: Path) -> Weights:
    """Read names and shapes of the tensors, without their numbers where the format allows it. Errors: see `read_weights`."""
    return _read(Path(path).expanduser(), outline=True)


def _read(path: Path, outline: bool) -> Weights:
    if path.is_dir():
        return _read(_weight_file_of(path), outline)
    if not path.is_file():
        raise MissingModelFile(
            f"{path}: no such file or folder. Give the path of the weights, or fetch them with "
            "`python -m lib_instantid models --download`."
        )
    start = _first_bytes(path)
    if start[8:9] == b"{":
        return _read_safetensors(path, outline)
    if is_torch_file(start):
        return Weights(path=path, tensors=_flatten(path, _load_torch(path)), notes=_config_notes(path))
    raise BadModelFile(f"{path}: {_what_else(start)} Expected a .safetensors or torch (.bin) weight file: fetch it again.")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _what_else(start: bytes) -> str:
    if not start:
        return "the file is empty."
    if start.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the weights themselves."
    if start.lstrip()[:1] == b"<":
        return "this is a web page, not weights."
    if start.startswith(b"\x08"):
        return "this looks like an ONNX model."
    return "this is no weight file that is known here."


def _weight_file_of(folder: Path) -> Path:
    files = sorted(p for p in folder.iterdir() if p.suffix in WEIGHT_SUFFIXES and p.is_file())
    preferred = [p for p in files if p.name.startswith(DIFFUSERS_STEM)] or files
    preferred = [p for p in preferred if p.suffix == ".safetensors"] or preferred
    if not preferred:
        raise MissingModelFile(f"{folder}: no weight file ({', '.join(WEIGHT_SUFFIXES)}) in this folder.")
    if len(preferred) > 1:
        names = ", ".join(p.name for p in preferred[:SHOWN_NAMES])
        raise BadModelFile(f"{folder}: several weight files ({names}). Name the one to use instead of the folder.")
    return preferred[0]


def _config_notes(path: Path) -> dict[str, str]:
    """The texts in the config.json beside a file with diffusers' name; none for other files."""
    config = path.parent / "config.json"
    if not path.name.startswith(DIFFUSERS_STEM) or not config.is_file():
        return {}
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadModelFile(f"{config}: not valid JSON ({error}). Fetch it again, or remove it: it is not needed.") from error
    return {key: value for key, value in values.items() if isinstance(value, str)} if isinstance(values, dict) else {}


def _read_safetensors(path: Path, outline: bool) -> Weights:
    # An outline is read with numpy: torch maps the file as writable memory, for which a small page file does not suffice.
    try:
        with safe_open(path, framework="np" if outline else "pt") as file:
            names = list(file.keys())
            notes = {**_config_notes(path), **(file.metadata() or {})}
            if outline:
                tensors = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
            else:
                tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError) as error:
        raise BadModelFile(f"{path}: the safetensors file is damaged or incomplete ({error}). Fetch it again.") from error
    return Weights(path=path, tensors=tensors, notes=notes)


def _load_torch(path: Path) -> object:
    """The content of a torch file, which can only be tensors in plain containers."""
    try:
        check_torch_file(path)
        # Not `torch.load`: A1111 replaces it with a check of its own that refuses files of newer torch versions.
        return torch.serialization.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to run the file's code
        raise BadModelFile(f"{path}: PyTorch {torch.__version__} takes this pickle for more than tensors. {CURE}") from error
    except DAMAGED as error:
        raise BadModelFile(
            f"{path}: the torch file is damaged or incomplete ({_first_line(error)}). Fetch it again."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _flatten(path: Path, content: object) -> dict[str, Tensor]:
    flat = dict(_tensors_below("", content))
    if not flat or "" in flat:
        raise BadModelFile(f"{path}: expected named tensors, found {type(content).__name__} without any.")
    return flat


def _tensors_below(prefix: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors_below(f"{prefix}.{key}" if prefix else str(key), inner)


def load_strictly(module: nn.Module, weights: Weights, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put `tensors` into `module` by name, without copying them; the module may be on the meta device.

    tensors: of the shapes in the module's state_dict, in fp32, fp16, bf16 or fp8; others keep their dtype, fp8 becomes fp16,
    which holds the numbers exactly. Tensors that the module lacks are left out, with a warning in the log. what: the module in
    words, for errors. Raises BadModelFile: tensors are missing, of other shapes, or quantised.
    """
    own: dict[str, Any] = dict(module.state_dict())
    needed = {name: tensors[name] for name in sorted(own.keys() & tensors.keys())}
    unknown = sorted(tensors.keys() - own.keys())
    found = {
        "missing": sorted(own.keys() - needed.keys()),
        "of another shape": [
            f"{name} is {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
            for name, tensor in needed.items()
            if own[name].shape != tensor.shape
        ],
    }
    if any(found.values()):
        listed = "; ".join(f"{fault}: {_shortened(names)}" for fault, names in found.items() if names)
        raise BadModelFile(f"{weights.path}: not a complete {what}; {listed}. Fetch the file again.")
    quantised = [f"{name} is {str(t.dtype).removeprefix('torch.')}" for name, t in needed.items() if not t.is_floating_point()]
    if any(t.dtype in FP8 for t in needed.values()):
        quantised += [name for name in unknown if "scale" in name]
    if quantised:
        raise BadModelFile(
            f"{weights.path}: its numbers are quantised ({_shortened(quantised)}), which is not read here; expected fp32, "
            f"fp16, bf16 or plain fp8. Fetch the released {what}."
        )
    if unknown:
        LOG.warning("%s: left out what is not part of the %s: %s.", weights.path, what, _shortened(unknown))
    plain = {name: tensor.half() if tensor.dtype in FP8 else tensor for name, tensor in needed.items()}
    module.load_state_dict(plain, assign=True)
    module.requires_grad_(False)
    module.eval()


def _shortened(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + rest
