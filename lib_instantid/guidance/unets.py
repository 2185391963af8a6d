"""The two families of UNets that guidance attaches to, told apart by their module names: diffusers' and ldm's (A1111)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib_instantid.errors import UnsupportedModel
from lib_instantid.nets.blocks import sinusoidal
from lib_instantid.nets.identitynet import Residuals

TIME_IDS = 6
"""SDXL's size conditioning: original height and width, crop top and left, target height and width."""

CurrentResiduals = Callable[[], Residuals | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One UNet call. x: (B, C, h, w) scaled latents. timestep: (B,). vector: (B, V), SDXL's `y`."""

    x: Tensor
    timestep: Tensor
    vector: Tensor

    def rows(self, which: list[int]) -> Call:
        return Call(x=self.x[which], timestep=self.timestep[which], vector=self.vector[which])


class UNetFamily(Protocol):
    """How to read a UNet's call, and how residuals reach its skip connections."""

    @staticmethod
    def stem_width(unet: nn.Module) -> int:
        """Channels of the first feature map."""
        ...

    @staticmethod
    def latent_channels(unet: nn.Module) -> tuple[int, int]:
        """Of what comes in and of what goes out."""
        ...

    @staticmethod
    def vector_size(unet: nn.Module) -> int:
        """Numbers of SDXL's `y`, the pooled text and sizes; 0 where there is none."""
        ...

    @staticmethod
    def read_call(args: tuple[Any, ...], kwargs: Mapping[str, Any], vector_size: int) -> Call:
        """vector_size: of the UNet that is called. Raises UnsupportedModel where the call has no such vector."""
        ...

    @staticmethod
    def with_residuals(kwargs: Mapping[str, Any], residuals: Residuals) -> dict[str, Any]:
        """The call's keyword arguments with the residuals in them, where the UNet takes them so."""
        ...

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        """Hook the UNet's blocks, where it takes no residuals as arguments."""
        ...


def family_of(unet: nn.Module) -> type[UNetFamily]:
    """Raises UnsupportedModel for a module that is neither diffusers' nor ldm's UNet."""
    if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks"):
        return LdmUNet
    if hasattr(unet, "down_blocks") and hasattr(unet, "up_blocks"):
        return DiffusersUNet
    raise UnsupportedModel(
        f"This checkpoint's model is {type(unet).__name__}, not a UNet (SD3, Flux and TensorRT engines have none); "
        "InstantID needs an SDXL checkpoint."
    )


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _per_row(timestep: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(timestep, device=x.device).reshape(-1).expand(len(x))


def _size_in(embedding: Any) -> int:
    """Of an embedding's first linear layer, or 0 where there is no such embedding."""
    layers = () if embedding is None else embedding.modules()
    return next((int(layer.in_features) for layer in layers if hasattr(layer, "in_features")), 0)


class DiffusersUNet:
    """`UNet2DConditionModel` of diffusers."""

    @staticmethod
    def stem_width(unet: nn.Module) -> int:
        return int(unet.conv_in.weight.shape[0])  # type: ignore[union-attr, index]

    @staticmethod
    def latent_channels(unet: nn.Module) -> tuple[int, int]:
        return int(unet.conv_in.weight.shape[1]), int(unet.conv_out.weight.shape[0])  # type: ignore[union-attr, index]

    @staticmethod
    def vector_size(unet: nn.Module) -> int:
        return _size_in(getattr(unet, "add_embedding", None))

    @staticmethod
    def read_call(args: tuple[Any, ...], kwargs: Mapping[str, Any], vector_size: int) -> Call:
        x = _argument(args, kwargs, 0, "sample")
        added = kwargs.get("added_cond_kwargs") or {}
        if not {"text_embeds", "time_ids"} <= set(added):
            raise UnsupportedModel("The UNet was called without SDXL's text_embeds and time_ids; use an SDXL pipeline.")
        text, ids = added["text_embeds"], added["time_ids"]
        sizes = sinusoidal(ids.flatten(), (vector_size - text.shape[1]) // TIME_IDS)
        vector = torch.cat([text, sizes.reshape(len(ids), -1).to(text)], dim=-1)
        return Call(x=x, timestep=_per_row(_argument(args, kwargs, 1, "timestep"), x), vector=vector)

    @staticmethod
    def with_residuals(kwargs: Mapping[str, Any], residuals: Residuals) -> dict[str, Any]:
        down, middle = kwargs.get("down_block_additional_residuals"), kwargs.get("mid_block_additional_residual")
        return {
            **kwargs,
            "down_block_additional_residuals": (
                residuals.down if down is None else tuple(a + b for a, b in zip(down, residuals.down, strict=True))
            ),
            "mid_block_additional_residual": residuals.middle if middle is None else middle + residuals.middle,
        }

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        """Nothing to hook: the residuals are arguments."""


class LdmUNet:
    """`UNetModel` of ldm and sgm, as in A1111: skip connections are concatenated before each output block."""

    @staticmethod
    def stem_width(unet: nn.Module) -> int:
        return int(unet.input_blocks[0][0].weight.shape[0])  # type: ignore

    @staticmethod
    def latent_channels(unet: nn.Module) -> tuple[int, int]:
        return int(unet.input_blocks[0][0].weight.shape[1]), int(unet.out[-1].weight.shape[0])  # type: ignore

    @staticmethod
    def vector_size(unet: nn.Module) -> int:
        return _size_in(getattr(unet, "label_emb", None))

    @staticmethod
    def read_call(args: tuple[Any, ...], kwargs: Mapping[str, Any], vector_size: int) -> Call:
        x, vector = _argument(args, kwargs, 0, "x"), _argument(args, kwargs, 3, "y")
        if vector is None or vector.shape[-1] != vector_size:
            found = "none" if vector is None else f"one of {vector.shape[-1]} numbers"
            raise UnsupportedModel(
                f"The UNet was called with {found} as its vector y; expected SDXL's of {vector_size} numbers. "
                "Choose an SDXL checkpoint."
            )
        return Call(x=x, timestep=_per_row(_argument(args, kwargs, 1, "timesteps"), x), vector=vector)

    @staticmethod
    def with_residuals(kwargs: Mapping[str, Any], residuals: Residuals) -> dict[str, Any]:
        """As they are: the residuals reach the blocks through hooks."""
        del residuals
        return dict(kwargs)

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        outputs = list(unet.output_blocks)  # type: ignore[arg-type]
        for i, block in enumerate(outputs):
            undo.callback(block.register_forward_pre_hook(_add_to_skip(current, len(outputs) - 1 - i)).remove)
        undo.callback(unet.middle_block.register_forward_hook(_add_to_middle(current)).remove)  # type: ignore


def _add_to_skip(current: CurrentResiduals, index: int) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
    """A block's input is cat(features, skip): the residual is added to the skip's channels, which come last."""

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        residuals = current()
        if residuals is None:
            return None
        residual = residuals.down[index]
        features, skip = args[0].split([args[0].shape[1] - residual.shape[1], residual.shape[1]], dim=1)
        return (torch.cat([features, skip + residual.to(skip)], dim=1), *args[1:])

    return hook


def _add_to_middle(current: CurrentResiduals) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        residuals = current()
        return None if residuals is None else output + residuals.middle.to(output)

    return hook
