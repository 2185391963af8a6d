"""IP-Adapters of every kind as their files give them. A file is opened only for new pictures, and the tokens are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from lib_instantid.adapters.family import Sources
from lib_instantid.errors import BadModelFile, SettingsError
from lib_instantid.networks.adapter import Adapter, PromptTokens
from lib_instantid.weights.ip_adapters import AdapterKind, AdapterShape, adapter_shape
from lib_instantid.weights.reading import load_strictly, read_outline, read_weights

Projection = Callable[[Mapping[str, Tensor]], nn.Module]
T = TypeVar("T")


class Last(Generic[T]):
    """The last results of a computation, by keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def of(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result for a key, kept or computed."""
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[key]


class AdapterFile:
    """The file of an IP-Adapter of one of the class's kinds. Its weights are never on the GPU.

    Raises MissingModelFile, or BadModelFile: it is no such IP-Adapter.
    """

    KEPT = 8
    """Tokens of so many pictures or people are kept, about 20 MB each."""

    title: ClassVar[str]
    """What errors call it."""

    expected: ClassVar[str]
    """The right file, in words."""

    projections: ClassVar[Mapping[AdapterKind, Projection]]
    """The kinds, and the layers that make their tokens."""

    def __init__(self, path: Path) -> None:
        self.outline = read_outline(path)
        shape = adapter_shape(self.outline.tensors)
        if shape is None or shape.kind not in self.projections:
            found = "no IP-Adapter" if shape is None else shape.description
            raise BadModelFile(f"{self.title} {path}: this is {found}; expected {self.expected}.")
        self.shape: AdapterShape = shape
        self.kept: Last[PromptTokens] = Last(self.KEPT)
        self._path = path

    def load(self) -> Adapter:
        """Read the file, without a LoRA in it. Raises BadModelFile: it is not complete."""
        weights = read_weights(self._path)
        tensors = {name: tensor for name, tensor in weights.tensors.items() if "_lora." not in name}
        try:
            with torch.device("meta"):
                adapter = Adapter(tensors, self.projections[self.shape.kind])
        except (LookupError, ValueError) as error:
            raise BadModelFile(
                f"{self.title} {self._path}: not a complete {self.title} ({error}). Fetch the file again."
            ) from error
        load_strictly(adapter, weights, tensors, self.title)
        return adapter


A = TypeVar("A", bound=AdapterFile)


def chosen_adapter(sources: Sources, role: str, name: str | None, field: str, kind: type[A]) -> tuple[str, A]:
    """The adapter of a name, or else the first for the checkpoint that is loaded; the first of all where the host does not know
    it. field: the setting that errors name. returns: its name, and the file.

    Raises MissingModelFile, BadModelFile, or SettingsError: none is for the checkpoint.
    """
    if name is not None:
        name = sources.file_name(role, name, field)
        return name, sources.network(role, name)
    context, others = sources.context_size, []
    first = sources.file_name(role, None, field)
    for own in sources.names(role) if context else (first,):
        adapter: A = sources.network(role, own)
        if not context or adapter.shape.context == context:
            return own, adapter
        others.append(f"{own} for {adapter.shape.context}")
    raise SettingsError(
        f"{field}: no {kind.title} is for the loaded checkpoint, whose text has {context} numbers ({', '.join(others)}); add "
        "one for it, or choose another checkpoint."
    )


def misfit(kind: type[AdapterFile], name: str, shape: AdapterShape, tokens: PromptTokens) -> str:
    """End of the error for a UNet that an adapter does not fit, see `AttentionPart`."""
    return (
        f"the {kind.title} {name} is for a UNet with a context of {shape.context} numbers and {len(tokens.keys_values)} "
        f"cross-attentions. Choose one for this checkpoint."
    )
