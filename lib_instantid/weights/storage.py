"""Stores a ControlNet's weights in less GPU memory: in fp8, or in CPU memory until each layer runs, or both.

Applies only to the layers of the network's blocks, which hold nearly all of its weights. The first and last layers stay as
they are.
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
from lib_instantid.networks.controlnet import ControlNet

FP8_LARGEST = 448.0
SMALLEST_SCALE = 2.0**-24
"""The smallest positive number of fp16."""

SLOTS = 4
"""Layers whose weights are on the device at a time: the one that computes, and the next ones, which are being copied."""

ALIGNED = 64
"""Tensors in a slot begin at multiples of this many bytes."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How to store weights. fp8: as float8_e4m3fn. streamed: in CPU memory, copied to the network's device before each layer
    runs."""

    fp8: bool = False
    streamed: bool = False


def store(net: ControlNet, storage: Storage) -> None:
    """Store the weights of a network that was just loaded. Raises SettingsError: this PyTorch has no float8."""
    if storage.fp8:
        _store_in_fp8(net)
    if storage.streamed:
        _Streaming(net)


def _layers(net: ControlNet) -> Iterator[nn.Linear | nn.Conv2d]:
    for module in chain(net.down_blocks.modules(), net.mid_block.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield module


class _Fp8(nn.Module):
    """A layer whose weight (out, …) is stored as float8_e4m3fn numbers and a scale for each row.

    The numbers are kept as bytes, because `Module.to(dtype)` does not convert bytes. The scale is a power of two, so that the
    product is exact in fp16 and bf16. PyTorch's parametrisations could do the same, but their layers are freed only by the
    garbage collector.
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


def _store_in_fp8(net: ControlNet) -> None:
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
    """A part of the buffer on the device, for the weights of one layer. layer: whose weights are in it or being copied into it.
    arrived, free: CUDA events for the end of the copy and of the layer's computation; None on other devices."""

    number: int
    layer: nn.Module | None = None
    arrived: Any = None
    free: Any = None


@dataclass(frozen=True, eq=False)
class _Home:
    """One tensor of a layer: the module and attribute that hold it, and its numbers, which stay in CPU memory."""

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
    """Owns the weights of a network's layers. Hooks copy them to the device before a layer runs, and drop them afterwards.

    On CUDA the next layers' weights are copied on a separate stream while a layer computes; the next layers are those that
    followed in the previous run. The slots are a buffer of the network, so they move with it. The network holds this object,
    and this object holds the network only weakly, so that all memory is freed with the network's last reference.
    """

    def __init__(self, net: ControlNet) -> None:
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
        assert net is not None  # a hook of the running network has called
        slots: Tensor = net.slots  # type: ignore[assignment]
        return slots

    def _after(self, layer: nn.Module, *_: Any) -> None:
        for home in self._homes[layer]:
            home.empty()
        slot = self._coming.popleft()
        slot.free = None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()

    def _begin(self, memory: Tensor) -> None:
        """Start again after the network, and with it its slots, was moved."""
        self._memory = weakref.ref(memory)
        self._slots = deque(_Slot(number) for number in range(SLOTS))
        self._coming.clear()
        self._stream = torch.cuda.Stream(memory.device) if memory.is_cuda else None
        if self._stream is not None:
            memory.record_stream(self._stream)  # not reused for other tensors while a copy may be running

    def _turn_to(self, layer: nn.Module) -> None:
        """Begin to copy at a layer that was not expected: the first of all, or the first after an interruption."""
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
        """The views into a slot for the tensors of its layer, in their order."""
        start = 0
        for home in self._homes[slot.layer]:  # type: ignore[index]
            numbers = home.numbers
            yield memory[slot.number, start : start + numbers.nbytes].view(numbers.dtype).view(numbers.shape)
            start += _padded(numbers)


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Make a hook that calls the method, but does not keep the method's object alive."""
    held = weakref.WeakMethod(method)

    def hook(*inputs: Any) -> None:
        alive = held()
        if alive is not None:
            alive(*inputs)

    return hook


def _take_out(layer: nn.Module) -> list[_Home]:
    """Empty a layer's tensors and return their numbers, in pinned memory with CUDA, because other memory is copied without
    overlap."""
    homes = []
    for owner in layer.modules():
        for name, tensor in chain(owner.named_parameters(recurse=False), owner.named_buffers(recurse=False)):
            homes.append(_Home(owner, name, tensor.data.pin_memory() if torch.cuda.is_available() else tensor.data))
            homes[-1].empty()
    return homes


def _padded(tensor: Tensor) -> int:
    return -(-tensor.nbytes // ALIGNED) * ALIGNED
