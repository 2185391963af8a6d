"""How IdentityNet's weights may be kept, against memory: in fp8, and in CPU memory until each layer's turn comes.

Only the layers of its blocks are meant, which are nearly all of it; what goes in and what comes out stays as it is.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lib_instantid.errors import SettingsError
from lib_instantid.nets.identitynet import IdentityNet

FP8_LARGEST = 448.0
SMALLEST_SCALE = 2.0**-24
"""fp16's smallest number."""

SLOTS = 4
"""Layers that are on the device at once: the one that computes, and those that are on their way."""

ALIGNED = 64
"""Bytes; tensors in a slot begin at multiples of it."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """fp8: weights as float8_e4m3fn. streamed: layers in CPU memory, copied to the network's device when their turn comes."""

    fp8: bool = False
    streamed: bool = False


def store(net: IdentityNet, storage: Storage) -> None:
    """Keep a network just loaded in this way. Raises SettingsError where PyTorch has no float8."""
    if storage.fp8:
        _store_in_fp8(net)
    if storage.streamed:
        _Streaming(net)


def _layers(net: IdentityNet) -> Iterator[nn.Linear | nn.Conv2d]:
    for module in chain(net.down_blocks.modules(), net.mid_block.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield module


class _Fp8(nn.Module):
    """A layer whose weight (out, …) is kept as float8_e4m3fn numbers, as bytes, which `Module.to(dtype)` leaves alone, and a
    scale for each row. The scale is a power of two: multiplied in fp16 or bf16, the numbers stay exact.

    PyTorch's parametrisations would do the same, but their layers are freed only when the garbage collector comes.
    """

    numbers: Tensor
    scale: Tensor

    @property
    def weight(self) -> Tensor:
        return self.numbers.view(torch.float8_e4m3fn).to(self.scale.dtype) * self.scale

    def keep(self, weight: Tensor) -> None:
        rows = weight.float().flatten(1)
        exponent = (rows.abs().amax(dim=1, keepdim=True) / FP8_LARGEST).log2().ceil()
        scale = exponent.exp2().clamp(min=SMALLEST_SCALE)
        numbers = (rows / scale).to(torch.float8_e4m3fn).view(torch.uint8)
        self.register_buffer("numbers", numbers.view(weight.shape))
        self.register_buffer("scale", scale.view(-1, *[1] * (weight.ndim - 1)).to(weight.dtype))


class _Fp8Linear(_Fp8, nn.Linear):  # type: ignore[override]
    pass


class _Fp8Conv2d(_Fp8, nn.Conv2d):  # type: ignore[override]
    pass


def _store_in_fp8(net: IdentityNet) -> None:
    if not hasattr(torch, "float8_e4m3fn"):
        raise SettingsError(
            f"IdentityNet's weights in fp8 need PyTorch 2.1 or newer, and this is {torch.__version__}. Turn that off on the "
            "settings page, or update PyTorch."
        )
    for layer in _layers(net):
        weight = layer.weight.detach()
        del layer.weight
        layer.__class__ = _Fp8Linear if isinstance(layer, nn.Linear) else _Fp8Conv2d
        layer.keep(weight)  # type: ignore[operator]


@dataclass(eq=False)
class _Slot:
    """layer: whose weights are in it, or on their way. arrived, free: CUDA events, None elsewhere."""

    number: int
    layer: nn.Module | None = None
    arrived: Any = None
    free: Any = None


@dataclass(frozen=True, eq=False)
class _Home:
    """One tensor of a layer: where the layer has it, and its numbers, which stay in CPU memory."""

    owner: nn.Module
    name: str
    numbers: Tensor

    def fill(self, numbers: Tensor) -> None:
        own = getattr(self.owner, self.name)
        own.data = numbers.to(own.dtype)

    def empty(self) -> None:
        own = getattr(self.owner, self.name)
        own.data = own.data.new_empty(0)


class _Streaming:
    """Owns the weights of a network's layers; hooks on each layer bring them and take them away.

    On CUDA the copies of the next layers run on a stream of their own while a layer computes. The order is the one in which
    the layers ran before. The slots are a buffer of the network, so that they move where it moves. The network owns this, and
    nothing that this owns holds the network or this: its memory is free with the network's last reference.
    """

    def __init__(self, net: IdentityNet) -> None:
        self._homes: dict[nn.Module, list[_Home]] = {layer: _take_out(layer) for layer in _layers(net)}
        largest = max(sum(_padded(home.numbers) for home in homes) for homes in self._homes.values())
        net.register_buffer("slots", torch.empty(SLOTS, largest, dtype=torch.uint8), persistent=False)
        self._net = weakref.ref(net)
        self._memory: Callable[[], Any] = lambda: None
        self._slots: deque[_Slot] = deque()
        self._coming: deque[_Slot] = deque()
        self._following: dict[nn.Module, nn.Module] = {}
        self._last: nn.Module | None = None
        self._stream: Any = None
        net.streaming = self
        for layer in self._homes:
            layer.register_forward_pre_hook(_weakly(self._before))
            layer.register_forward_hook(_weakly(self._after))

    def _before(self, layer: nn.Module, _: Any) -> None:
        memory = self._slots_of_net()
        if self._memory() is not memory:
            self._begin(memory)
        if not self._coming or self._coming[0].layer is not layer:
            self._turn_to(layer)
        slot = self._coming[0]
        if slot.arrived is not None:
            torch.cuda.current_stream(memory.device).wait_event(slot.arrived)
        for home, there in zip(self._homes[layer], self._places(memory, slot), strict=True):
            home.fill(there)
        if self._last is not None:
            self._following[self._last] = layer
        self._last = layer
        while len(self._coming) < SLOTS and (following := self._following.get(self._coming[-1].layer)):  # type: ignore
            self._bring(following, memory)

    def _slots_of_net(self) -> Tensor:
        net = self._net()
        assert net is not None  # it is running
        slots: Tensor = net.slots  # type: ignore[assignment]
        return slots

    def _after(self, layer: nn.Module, *_: Any) -> None:
        for home in self._homes[layer]:
            home.empty()
        slot = self._coming.popleft()
        slot.free = None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()

    def _begin(self, memory: Tensor) -> None:
        """The network has been moved, and its slots with it."""
        self._memory = weakref.ref(memory)
        self._slots = deque(_Slot(number) for number in range(SLOTS))
        self._coming.clear()
        self._stream = torch.cuda.Stream(memory.device) if memory.is_cuda else None
        if self._stream is not None:
            memory.record_stream(self._stream)  # not given to others while a copy may be on its way

    def _turn_to(self, layer: nn.Module) -> None:
        """Another layer than expected runs: the first of all, or one after a break."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._coming.clear()
        self._bring(layer, self._slots_of_net())

    def _bring(self, layer: nn.Module, memory: Tensor) -> None:
        slot = self._slots[0]
        self._slots.rotate(-1)
        slot.layer = layer
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            if slot.free is not None:
                self._stream.wait_event(slot.free)
            for home, there in zip(self._homes[layer], self._places(memory, slot), strict=True):
                there.copy_(home.numbers, non_blocking=True)
            slot.arrived = None if self._stream is None else self._stream.record_event()
        self._coming.append(slot)

    def _places(self, memory: Tensor, slot: _Slot) -> Iterator[Tensor]:
        """Where in a slot each tensor of its layer has its numbers."""
        start = 0
        for home in self._homes[slot.layer]:  # type: ignore[index]
            numbers = home.numbers
            yield memory[slot.number, start : start + numbers.nbytes].view(numbers.dtype).view(numbers.shape)
            start += _padded(numbers)


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """A hook that does not keep the method's object alive."""
    held = weakref.WeakMethod(method)

    def hook(*inputs: Any) -> None:
        alive = held()
        if alive is not None:
            alive(*inputs)

    return hook


def _take_out(layer: nn.Module) -> list[_Home]:
    """Empties a layer's tensors. What a GPU copies from has to be pinned, if it shall not wait."""
    homes = []
    for owner in layer.modules():
        for name, tensor in chain(owner.named_parameters(recurse=False), owner.named_buffers(recurse=False)):
            homes.append(_Home(owner, name, tensor.data.pin_memory() if torch.cuda.is_available() else tensor.data))
            homes[-1].empty()
    return homes


def _padded(tensor: Tensor) -> int:
    return -(-tensor.nbytes // ALIGNED) * ALIGNED
