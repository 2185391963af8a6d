"""Recognises a weight file by its tensors, so that it may have any name, and errors can say what a wrong file is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from lib_instantid.errors import BadModelFile
from lib_instantid.weights.reading import Weights
from lib_instantid.weights.system_files import Recognised, SystemFiles

Tensors = Mapping[str, Tensor]


def recognise(weights: Weights, systems: Sequence[SystemFiles]) -> Recognised:
    """Say what a file is: in the words of the first system that can use it, else of the first that knows it, else by
    `OTHER_KINDS`."""
    answers = [found for system in systems if (found := system.recognise(weights)) is not None]
    if answers:
        return next((found for found in answers if found.role is not None), answers[0])
    for description, test in OTHER_KINDS:
        if test(weights.tensors):
            return Recognised(role=None, description=description)
    first = min(weights.tensors, default="none")
    return Recognised(role=None, description=f"none of the kinds known here (its first tensor is {first!r})")


def expect(weights: Weights, role: str, system: SystemFiles, expected: str, named: str) -> None:
    """Raise BadModelFile, which says what the file is, unless the file has this role in the system.

    expected: the right file, in words. named: the beginning of the error.
    """
    found = recognise(weights, [system])
    if found.role != role:
        raise BadModelFile(f"{named}: this is {found.description}; expected {expected}.")


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
