"""SDXL's UNet and InstantID's networks with random weights, in any width, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from lib_instantid.adapters.instantid.tokens import RememberingAdapter
from lib_instantid.hosts.stand_ins.weights import Size, adapter_file, controlnet, sdxl_unet
from lib_instantid.networks.adapter import Adapter, FaceTokenMaker
from lib_instantid.networks.controlnet import ControlNet, Shape
from lib_instantid.networks.packing import place

SDXL_CHANNELS = 320
BLOCK = 1 << 20
"""Random numbers of which all weights are made: a network's speed does not depend on them, and repeating them takes seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """unet: diffusers' or a WebUI's. controlnet: diffusers' module with IdentityNet's weights.
    faces: the adapter behind the memory that it has in a WebUI."""

    unet: nn.Module
    controlnet: ControlNetModel
    identitynet: ControlNet
    adapter: Adapter
    faces: FaceTokenMaker
    device: torch.device
    dtype: torch.dtype

    @property
    def own_bytes(self) -> int:
        """Of InstantID's weights."""
        return sum(t.nbytes for net in (self.identitynet, self.adapter) for t in net.state_dict().values())


def size_of(channels: int) -> Size:
    """SDXL's structure with this many channels in the first level; 320 is SDXL."""
    return Size(channels=(channels, channels * 2, channels * 4), resampler=1280)


def make_networks(
    channels: int, device: torch.device, dtype: torch.dtype, other_unet: Callable[[int], nn.Module] | None = None
) -> Networks:
    """device "meta" makes networks without numbers, for counting. The adapter stays in CPU memory, as it does in use.

    other_unet: makes another UNet than diffusers', of this many channels.
    """
    unet, net, adapter = _without_numbers(channels)
    if other_unet is not None:
        with torch.device("meta"):
            unet = other_unet(channels).eval().requires_grad_(False)
    for module in (unet, net):
        _make_real(module, device, dtype)
    _make_real(adapter, device if device.type == "meta" else torch.device("cpu"), dtype)
    identitynet = place(identitynet_of(net), device, dtype)
    return Networks(
        unet=unet,
        controlnet=net,
        identitynet=identitynet,
        adapter=adapter,
        faces=RememberingAdapter(lambda: adapter),
        device=device,
        dtype=dtype,
    )


def identitynet_of(controlnet: ControlNetModel) -> ControlNet:
    """IdentityNet on the very weights of diffusers' module."""
    state = controlnet.state_dict()
    with torch.device("meta"):
        net = ControlNet(Shape.of(state))
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(False).eval()


def make_instantid(channels: int, device: torch.device, dtype: torch.dtype) -> tuple[ControlNetModel, Adapter]:
    """IdentityNet as diffusers' module, and the adapter, without a UNet."""
    _, net, adapter = _without_numbers(channels)
    for module in (net, adapter):
        _make_real(module, device, dtype)
    return net, adapter


def _without_numbers(channels: int) -> tuple[nn.Module, ControlNetModel, Adapter]:
    size = size_of(channels)
    with torch.device("meta"):
        unet, net = sdxl_unet(size).eval(), controlnet(size).eval()
        adapter = Adapter(dict(_flat(adapter_file(size, unet))))
    return unet, net, adapter


def _make_real(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    module.to(dtype)
    if device.type != "meta":
        _fill(module.to_empty(device=device))


def _flat(parts: dict[str, dict[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for part, tensors in parts.items():
        yield from ((f"{part}.{name}", tensor) for name, tensor in tensors.items())


@torch.no_grad()
def _fill(module: nn.Module) -> None:
    """Weights of deviation 1 / √inputs, so that features keep their scale; norms 1, biases 0."""
    numbers = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))
    for parameter in module.parameters():
        flat = parameter.data.view(-1)
        if parameter.ndim == 1:
            flat.fill_(0.0)
            continue
        source = (numbers * parameter[0].numel() ** -0.5).to(flat)
        for start in range(0, len(flat), BLOCK):
            part = flat[start : start + BLOCK]
            part.copy_(source[: len(part)])
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(norm.weight)
