"""The two layouts of UNets in which parts act: diffusers' and ldm's (A1111, Forge). Their module names differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib_instantid.errors import UnsupportedModel
from lib_instantid.networks.blocks import sinusoidal
from lib_instantid.networks.controlnet import Residuals

TIME_IDS = 6
"""Numbers of SDXL's size conditioning: original height and width, crop top and left, target height and width."""

CurrentResiduals = Callable[[], Residuals | None]

Rows = tuple[bool, ...]
"""The role of each row of a UNet call: True where it is conditional."""

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
"""Arguments of a UNet call by position (Args) and by name (Kwargs)."""

Arguments = tuple[Args, Kwargs]
"""All arguments of a UNet call."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UNetInputs:
    """The inputs of one UNet call. x: (B, C, h, w) scaled latents. timestep: (B,). context: (B, T, context size), the text.

    vector: (B, V), SDXL's `y`; None for a UNet without it.
    """

    x: Tensor
    timestep: Tensor
    context: Tensor
    vector: Tensor | None

    def rows(self, which: list[int]) -> UNetInputs:
        """The inputs of some rows. which: their indexes."""
        return UNetInputs(
            x=self.x[which],
            timestep=self.timestep[which],
            context=self.context[which],
            vector=None if self.vector is None else self.vector[which],
        )


class UNetLayout(Protocol):
    """How to read the inputs of a UNet call, and how to add residuals to the skip connections."""

    @staticmethod
    def stem_width(unet: nn.Module) -> int:
        """Channels of the first feature map."""
        ...

    @staticmethod
    def latent_channels(unet: nn.Module) -> tuple[int, int]:
        """Channels of the latents that the UNet takes, and of those that it returns."""
        ...

    @staticmethod
    def vector_size(unet: nn.Module) -> int:
        """Numbers of SDXL's `y`, the pooled text and sizes; 0 for a UNet without it."""
        ...

    @staticmethod
    def read_call(args: Args, kwargs: Kwargs, vector_size: int) -> UNetInputs:
        """Read the inputs of a call. vector_size: see `vector_size`. Raises UnsupportedModel: the call has no such vector."""
        ...

    @staticmethod
    def with_residuals(kwargs: Kwargs, residuals: Residuals) -> Kwargs:
        """The keyword arguments of a call, with the residuals added if the UNet takes them as arguments."""
        ...

    @staticmethod
    def with_context(args: Args, kwargs: Kwargs, change: Callable[[Tensor], Tensor]) -> Arguments:
        """The arguments of a call, with its text context replaced. change: context (B, T, C) → another context (B, T', C)."""
        ...

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        """Hook the UNet's blocks so that they add the residuals, if it does not take them as arguments.

        current: returns the residuals of the running call, or None. undo: closing it removes the hooks.
        """
        ...


def layout_of(unet: nn.Module) -> type[UNetLayout]:
    """The layout of a UNet. Raises UnsupportedModel: neither diffusers' nor ldm's UNet."""
    if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks"):
        return LdmUNet
    if hasattr(unet, "down_blocks") and hasattr(unet, "up_blocks"):
        return DiffusersUNet
    raise UnsupportedModel(
        f"This checkpoint's model is {type(unet).__name__}, not a UNet (SD3, Flux and TensorRT engines have none). "
        "Choose an SD1.5 or SDXL checkpoint."
    )


def _argument(args: Args, kwargs: Kwargs, position: int, name: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _changed(args: Args, kwargs: Kwargs, position: int, name: str, change: Callable[[Tensor], Tensor]) -> Arguments:
    if len(args) > position:
        return (*args[:position], change(args[position]), *args[position + 1 :]), dict(kwargs)
    return args, {**kwargs, name: change(kwargs[name])}


def _per_row(timestep: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(timestep, device=x.device).reshape(-1).expand(len(x))


def _size_in(embedding: Any) -> int:
    """Input size of an embedding's first linear layer; 0 without an embedding."""
    layers = () if embedding is None else embedding.modules()
    return next((int(layer.in_features) for layer in layers if hasattr(layer, "in_features")), 0)


class DiffusersUNet:
    """The layout of `UNet2DConditionModel` in diffusers; see `UNetLayout`."""

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
    def read_call(args: Args, kwargs: Kwargs, vector_size: int) -> UNetInputs:
        x, context = _argument(args, kwargs, 0, "sample"), _argument(args, kwargs, 2, "encoder_hidden_states")
        timestep = _per_row(_argument(args, kwargs, 1, "timestep"), x)
        if not vector_size:
            return UNetInputs(x=x, timestep=timestep, context=context, vector=None)
        added = kwargs.get("added_cond_kwargs") or {}
        if not {"text_embeds", "time_ids"} <= set(added):
            raise UnsupportedModel("The UNet was called without SDXL's text_embeds and time_ids; use an SDXL pipeline.")
        text, ids = added["text_embeds"], added["time_ids"]
        sizes = sinusoidal(ids.flatten(), (vector_size - text.shape[1]) // TIME_IDS)
        vector = torch.cat([text, sizes.reshape(len(ids), -1).to(text)], dim=-1)
        return UNetInputs(x=x, timestep=timestep, context=context, vector=vector)

    @staticmethod
    def with_residuals(kwargs: Kwargs, residuals: Residuals) -> Kwargs:
        down, middle = kwargs.get("down_block_additional_residuals"), kwargs.get("mid_block_additional_residual")
        return {
            **kwargs,
            "down_block_additional_residuals": (
                residuals.down if down is None else tuple(a + b for a, b in zip(down, residuals.down, strict=True))
            ),
            "mid_block_additional_residual": residuals.middle if middle is None else middle + residuals.middle,
        }

    @staticmethod
    def with_context(args: Args, kwargs: Kwargs, change: Callable[[Tensor], Tensor]) -> Arguments:
        """See `UNetLayout.with_context`."""
        return _changed(args, kwargs, 2, "encoder_hidden_states", change)

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        """Does nothing, because this UNet takes the residuals as arguments."""


class LdmUNet:
    """The layout of `UNetModel` in ldm and sgm, as in A1111, which concatenates a skip connection before each output block;
    see `UNetLayout`."""

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
    def read_call(args: Args, kwargs: Kwargs, vector_size: int) -> UNetInputs:
        x, context, vector = (_argument(args, kwargs, i, name) for i, name in ((0, "x"), (2, "context"), (3, "y")))
        timestep = _per_row(_argument(args, kwargs, 1, "timesteps"), x)
        if not vector_size:
            return UNetInputs(x=x, timestep=timestep, context=context, vector=None)
        if vector is None or vector.shape[-1] != vector_size:
            found = "none" if vector is None else f"one of {vector.shape[-1]} numbers"
            raise UnsupportedModel(
                f"The UNet was called with {found} as its vector y; expected SDXL's of {vector_size} numbers. "
                "Choose an SDXL checkpoint."
            )
        return UNetInputs(x=x, timestep=timestep, context=context, vector=vector)

    @staticmethod
    def with_residuals(kwargs: Kwargs, residuals: Residuals) -> Kwargs:
        """The unchanged arguments, because hooks add the residuals."""
        del residuals
        return dict(kwargs)

    @staticmethod
    def with_context(args: Args, kwargs: Kwargs, change: Callable[[Tensor], Tensor]) -> Arguments:
        """See `UNetLayout.with_context`."""
        return _changed(args, kwargs, 2, "context", change)

    @staticmethod
    def hook_residuals(unet: nn.Module, current: CurrentResiduals, undo: ExitStack) -> None:
        outputs = list(unet.output_blocks)  # type: ignore[arg-type]
        for i, block in enumerate(outputs):
            undo.callback(block.register_forward_pre_hook(_add_to_skip(current, len(outputs) - 1 - i)).remove)
        undo.callback(unet.middle_block.register_forward_hook(_add_to_middle(current)).remove)  # type: ignore


def _add_to_skip(current: CurrentResiduals, index: int) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
    """Make a hook that adds a residual to a block's input, which is cat(features, skip): only to the skip's channels."""

    def hook(_: nn.Module, args: Args) -> Args | None:
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
