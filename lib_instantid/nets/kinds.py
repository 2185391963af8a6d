"""What a weight file is, told from its tensors: so that a file may have any name, and a wrong one gets its own sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

from torch import Tensor

from lib_instantid.errors import BadModelFile
from lib_instantid.nets.weights import Weights
from lib_instantid.units import EMBEDDING_SIZE

SD15_CONTEXT = 768
SD2_CONTEXT = 1024
CONDITIONS = frozenset(
    "canny depth openpose pose scribble softedge hed lineart mlsd normal seg tile inpaint shuffle blur recolor sketch".split()  # noqa: SIM905
)
"""What other ControlNets are for. SDXL's have IdentityNet's very shape; only what they call themselves tells them apart."""


OURS = frozenset({"instantid", "instant", "identitynet"})
"""Words with which a file calls itself InstantID's."""

NAMING_PARTS = 4
"""Parts of a path that can name a model: in the hub's cache, `models--OWNER--NAME/snapshots/HASH/FILE`."""


class Kind(Enum):
    ADAPTER = "InstantID adapter"
    IDENTITYNET = "IdentityNet"
    OTHER = "other"


Tensors = Mapping[str, Tensor]


def recognise(weights: Weights) -> tuple[Kind, str]:
    """The kind of a file, and what it is in words ("a plain IP-Adapter")."""
    tensors = weights.tensors
    if any(name.startswith("image_proj.") for name in tensors):
        return _ip_adapter(weights)
    if _is_controlnet(tensors):
        return _controlnet(weights)
    for description, test in OTHER_KINDS:
        if test(tensors):
            return Kind.OTHER, description
    return Kind.OTHER, f"none of the kinds known here (its first tensor is {min(tensors, default='none')!r})"


def expect(weights: Weights, kind: Kind, field: str) -> None:
    """Raise BadModelFile if the file is not of this kind, saying which kind it is."""
    found, description = recognise(weights)
    if found is not kind:
        raise BadModelFile(f"{field} {weights.path}: this is {description}; expected InstantID's {EXPECTED[kind]}.")


EXPECTED = {
    Kind.ADAPTER: "adapter (ip-adapter.bin of InstantX/InstantID)",
    Kind.IDENTITYNET: "IdentityNet (ControlNetModel/diffusion_pytorch_model.safetensors of InstantX/InstantID)",
}


def _ip_adapter(weights: Weights) -> tuple[Kind, str]:
    tensors = weights.tensors
    if any("lora" in name for name in tensors):
        return Kind.OTHER, "a FaceID IP-Adapter (it has a LoRA and expects another face model)"
    if "image_proj.latents" in tensors and "image_proj.proj_in.weight" in tensors:
        return _resampler_adapter(weights)
    if any("perceiver_resampler" in name for name in tensors):
        return Kind.OTHER, "a FaceID Plus IP-Adapter"
    if "image_proj.proj.3.weight" in tensors:
        return Kind.OTHER, "a full-face IP-Adapter"
    if "image_proj.proj.2.weight" in tensors:
        return Kind.OTHER, "a FaceID Portrait IP-Adapter"
    if "image_proj.proj.weight" in tensors:
        return Kind.OTHER, "a plain IP-Adapter"
    return Kind.OTHER, "an IP-Adapter of a kind not known here"


def _resampler_adapter(weights: Weights) -> tuple[Kind, str]:
    embedding_size = _columns(weights.tensors["image_proj.proj_in.weight"])
    if embedding_size is None:
        return Kind.OTHER, "an IP-Adapter of a kind not known here"
    if embedding_size != EMBEDDING_SIZE:
        return (
            Kind.OTHER,
            f"an IP-Adapter Plus (it takes image features of {embedding_size} numbers, not a face embedding)",
        )
    # Same layout and shapes as InstantID's; only its name tells.
    words = set(_words(weights.path.name))
    if words & {"portrait", "unnorm"} and not words & OURS:
        return Kind.OTHER, "a FaceID Portrait IP-Adapter"
    proj_out = weights.tensors.get("image_proj.proj_out.weight")
    if proj_out is not None and proj_out.shape[0] == SD15_CONTEXT:
        return Kind.OTHER, "an InstantID adapter for SD1.5, and only SDXL is supported for now"
    return Kind.ADAPTER, "an InstantID adapter"


def _is_controlnet(tensors: Tensors) -> bool:
    return any(
        name.startswith(("controlnet_cond_embedding.", "input_hint_block.", "control_model.input_hint_block."))
        for name in tensors
    )


def _controlnet(weights: Weights) -> tuple[Kind, str]:
    tensors = weights.tensors
    if any(name.startswith(("task_embedding", "control_add_embedding", "transformer_layes")) for name in tensors):
        return Kind.OTHER, "a ControlNet Union"
    context = _context_size(tensors)
    if context in (SD15_CONTEXT, SD2_CONTEXT):
        version = "SD1.5" if context == SD15_CONTEXT else "SD2"
        return Kind.OTHER, f"a ControlNet for {version}, and only SDXL is supported for now"
    if not any("mid_block.attentions" in name or "middle_block.1.transformer" in name for name in tensors):
        return Kind.OTHER, "a small SDXL ControlNet without attention in its middle block"
    condition = _named_condition(weights)
    if condition:
        return Kind.OTHER, f"a ControlNet for {condition}"
    return Kind.IDENTITYNET, "an IdentityNet"


def _context_size(tensors: Tensors) -> int | None:
    return next((_columns(tensor) for name, tensor in tensors.items() if name.endswith("attn2.to_k.weight")), None)


def _columns(matrix: Tensor) -> int | None:
    return matrix.shape[1] if matrix.ndim == 2 else None


def _named_condition(weights: Weights) -> str | None:
    """The condition that a ControlNet names in its metadata, its config or its file name; None for one that names none."""
    for text in (*_own_names(weights), weights.path.name, *_hub_name(weights.path)):
        words = _words(text)
        if OURS & set(words):
            return None
        condition = next((word for word in words if word in CONDITIONS), None)
        if condition:
            return condition
    return None


def _hub_name(path: Path) -> tuple[str, ...]:
    """The repository's name where the file lies in the hub's cache, whose files are named alike; other folders say nothing."""
    return tuple(part for part in path.parts[-NAMING_PARTS:-1] if part.startswith("models--"))


def says_instantid(weights: Weights) -> bool:
    """Whether a file calls itself InstantID's: in its metadata, its name, or that of a folder just above it."""
    return bool(OURS & set(_words(" ".join((*_own_names(weights), *weights.path.parts[-NAMING_PARTS:])))))


def _own_names(weights: Weights) -> list[str]:
    """What the metadata calls the model."""
    return [value for key, value in weights.notes.items() if "name" in key or "title" in key]


def _words(text: str) -> list[str]:
    """In lower case, as they stand and with xinsirOpenpose's two words apart."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.split(r"[^a-z0-9]+", f"{text} {apart}".lower())


def _has(*starts: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(name.startswith(starts) for name in tensors)


OTHER_KINDS: tuple[tuple[str, Callable[[Tensors], bool]], ...] = (
    ("a Stable Diffusion checkpoint", _has("model.diffusion_model.")),
    ("a Control-LoRA", _has("lora_controlnet")),
    ("a ControlNet-LLLite", _has("lllite_")),
    ("a T2I-Adapter", _has("adapter.body.", "body.0.")),
    ("a PuLID adapter", _has("id_adapter", "pulid")),
    ("a LoRA", lambda tensors: any("lora" in name for name in tensors)),
    ("a UNet", _has("output_blocks.", "up_blocks.")),
    ("a text encoder", _has("text_model.", "embeddings.")),
    ("a VAE", _has("decoder.", "first_stage_model.")),
)
