"""ControlNets of SD1.5's and SDXL's shape: compute residuals for a UNet from a hint in pixels.

Written on plain torch, with diffusers' parameter names. What does not change over the steps is computed once: the hint's
features, and the keys and values of the cross-attentions if their context is constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.networks.attention import KeyValue
from lib_instantid.networks.blocks import Attending, Downsample, ResnetBlock, Transformer, TransformerBlock, sinusoidal

LAYERS_PER_LEVEL = 2
VECTOR = "add_embedding.linear_1.weight"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a ControlNet. channels: of the feature maps, per level. depths: transformer blocks per transformer, per
    level; 0 for a level without attention. middle_depth: the same of the middle block; small networks have no attention there.
    attending: None for a network without any attention. vector_size: numbers of SDXL's `y`, 0 for a network without it.
    hint_channels: of the hint's feature maps, from first to last."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    attending: Attending | None
    vector_size: int
    latent_channels: int
    hint_channels: tuple[int, ...]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Shape:
        """Read the sizes off the shapes of a ControlNet's weights, by diffusers' names. Raises KeyError: one is missing."""
        levels = range(_count(weights, "down_blocks"))
        return cls(
            channels=tuple(weights[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in levels),
            depths=tuple(_count(weights, f"down_blocks.{i}.attentions.0.transformer_blocks") for i in levels),
            middle_depth=_count(weights, "mid_block.attentions.0.transformer_blocks"),
            attending=_attending(weights),
            vector_size=weights[VECTOR].shape[1] if VECTOR in weights else 0,
            latent_channels=weights["conv_in.weight"].shape[1],
            hint_channels=(
                *(weights[f"controlnet_cond_embedding.{name}.weight"].shape[0] for name in ("conv_in", "blocks.1")),
                *(weights[f"controlnet_cond_embedding.blocks.{i}.weight"].shape[0] for i in (3, 5)),
            ),
        )


def _attending(weights: Mapping[str, Tensor]) -> Attending | None:
    projections = [name for name in weights if name.endswith("attentions.0.proj_in.weight")]
    if not projections:
        return None
    of = projections[0].removesuffix("proj_in.weight")
    return Attending(
        context_size=weights[f"{of}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        convolution=weights[projections[0]].ndim == 4,
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    start = prefix + "."
    return len({name[len(start) :].split(".")[0] for name in weights if name.startswith(start)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Residuals:
    """The output of a ControlNet. down: added to the UNet's skip connections, (B, C, h, w) each, in the order of the UNet's
    encoder. middle: added to the middle block's output, (B, C, h, w)."""

    down: tuple[Tensor, ...]
    middle: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedHint:
    """What is computed once of a hint. features: (1, C, h, w), added to those of the latents. time: (1, time size), added to
    the timestep's embedding by a network of several tasks."""

    features: Tensor
    time: Tensor | float = 0.0


class TwoLinear(nn.Module):
    """Two linear layers: embed the timestep, or the pooled text and sizes."""

    def __init__(self, size_in: int, size: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(size_in, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, size in) → (B, size)."""
        return self.linear_2(F.silu(self.linear_1(x)))


class HintEmbedding(nn.Module):
    """Computes features of a hint, at the size of the latents."""

    def __init__(self, channels: tuple[int, ...], channels_out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(channels):
            self.blocks.append(nn.Conv2d(before, before, 3, padding=1))
            self.blocks.append(nn.Conv2d(before, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], channels_out, 3, padding=1)

    def forward(self, hint: Tensor) -> Tensor:
        """hint (B, 3, 8h, 8w) RGB in [0, 1] → features (B, C, h, w)."""
        h = F.silu(self.conv_in(hint))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


class Level(nn.Module):
    """One resolution of the encoder: residual blocks, each followed by a transformer if the level has attention, then
    downsampling if it is not the last level."""

    def __init__(
        self, channels_in: int, channels: int, depth: int, time_size: int, attending: Attending | None, last: bool
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [ResnetBlock(channels_in if i == 0 else channels, channels, time_size) for i in range(LAYERS_PER_LEVEL)]
        )
        if depth and attending:
            self.attentions = nn.ModuleList([Transformer(channels, depth, attending) for _ in range(LAYERS_PER_LEVEL)])
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(channels)])

    def forward(self, h: Tensor, time: Tensor, contexts: Contexts) -> tuple[Tensor, ...]:
        """h (B, C_in, H, W), time (B, time size), already activated → the outputs of the level's blocks in order, (B, C, H, W)
        each, the downsampled one at half the size; the last one is the next level's input."""
        outputs: list[Tensor] = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, time)
            if hasattr(self, "attentions"):
                h = self.attentions[i](h, contexts.take(self.attentions[i]))
            outputs.append(h)
        if hasattr(self, "downsamplers"):
            outputs.append(self.downsamplers[0](h))
        return tuple(outputs)


class Middle(nn.Module):
    """The middle block: a transformer between two residual blocks, or without attention one residual block."""

    def __init__(self, channels: int, depth: int, time_size: int, attending: Attending | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, time_size) for _ in range(2 if depth else 1)])
        if depth and attending:
            self.attentions = nn.ModuleList([Transformer(channels, depth, attending)])

    def forward(self, h: Tensor, time: Tensor, contexts: Contexts) -> Tensor:
        """h (B, C, H, W), time (B, time size), already activated → (B, C, H, W)."""
        h = self.resnets[0](h, time)
        if hasattr(self, "attentions"):
            h = self.resnets[1](self.attentions[0](h, contexts.take(self.attentions[0])), time)
        return h


class Contexts:
    """Hands each transformer the keys and values of its blocks, in the order in which the transformers run."""

    def __init__(self, keys_values: tuple[KeyValue, ...]) -> None:
        self._rest = iter(keys_values)

    def take(self, transformer: nn.Module) -> tuple[KeyValue, ...]:
        """The next keys and values, one pair for each block of the transformer."""
        return tuple(next(self._rest) for _ in transformer.transformer_blocks)  # type: ignore


class ControlNet(nn.Module):
    """A ControlNet. Computes in its weights' dtype and returns residuals of that dtype.

    streaming: the object of `storage` that copies each layer's weights to the device before the layer runs; None if the
    weights stay on the device. pooled: whether it gives each residual's mean over all places, for conditional rows alone, as
    SD1.5's "shuffle" does.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.streaming: object = None
        self.pooled = False
        first = shape.channels[0]
        time_size = first * 4
        self.conv_in = nn.Conv2d(shape.latent_channels, first, 3, padding=1)
        self.time_embedding = TwoLinear(first, time_size)
        if shape.vector_size:
            self.add_embedding = TwoLinear(shape.vector_size, time_size)
        self.controlnet_cond_embedding = HintEmbedding(shape.hint_channels, first)
        self.down_blocks = nn.ModuleList()
        outputs = [first]
        for i, (channels, depth) in enumerate(zip(shape.channels, shape.depths, strict=True)):
            last = i == len(shape.channels) - 1
            self.down_blocks.append(Level(outputs[-1], channels, depth, time_size, shape.attending, last))
            outputs += [channels] * (LAYERS_PER_LEVEL + (not last))
        self.mid_block = Middle(outputs[-1], shape.middle_depth, time_size, shape.attending)
        self.controlnet_down_blocks = nn.ModuleList([nn.Conv2d(c, c, 1) for c in outputs])
        self.controlnet_mid_block = nn.Conv2d(outputs[-1], outputs[-1], 1)

    @torch.no_grad()
    def prepare_hint(self, hint: Tensor, task: int | None = None) -> PreparedHint:
        """(1, 3, H, W) RGB in [0, 1] → its features at the size of the latents. Call it once per hint. task: what the hint
        shows, for a network of several tasks."""
        del task
        return PreparedHint(features=self.controlnet_cond_embedding(hint.to(self.conv_in.weight)))

    @torch.no_grad()
    def prepare_context(self, tokens: Tensor) -> tuple[KeyValue, ...]:
        """Tokens of the text or a face, (rows, T, context size) → keys and values, (rows, T, width) each, of every
        cross-attention in the order in which they run. Call it once per context."""
        blocks = [m for part in (self.down_blocks, self.mid_block) for m in part.modules() if isinstance(m, TransformerBlock)]
        return tuple(block.attn2.project(tokens.to(self.conv_in.weight)) for block in blocks)

    def forward(
        self, x: Tensor, timestep: Tensor, vector: Tensor | None, hint: PreparedHint, context: tuple[KeyValue, ...]
    ) -> Residuals:
        """Compute the residuals of one UNet call, at strength 1.

        x: (B, 4, h, w) latents as the UNet gets them. timestep: (B,). vector: (B, 2816) pooled text and size embeddings, the
        UNet's `y`; ignored by a network without it. hint: from `prepare_hint`. context: from `prepare_context`, with the rows
        of x in the same order.
        """
        weight = self.conv_in.weight
        time = self.time_embedding(sinusoidal(timestep, self.shape.channels[0]).to(weight))
        if vector is not None and self.shape.vector_size:
            time = time + self.add_embedding(vector.to(weight))
        time = F.silu(time + hint.time)
        contexts = Contexts(context)
        outputs = [self.conv_in(x.to(weight)) + hint.features]
        for level in self.down_blocks:
            outputs.extend(level(outputs[-1], time, contexts))
        middle = self.mid_block(outputs[-1], time, contexts)
        found = [conv(h) for conv, h in zip(self.controlnet_down_blocks, outputs, strict=True)]
        found.append(self.controlnet_mid_block(middle))
        if self.pooled:
            found = [residual.mean((2, 3), keepdim=True).expand_as(residual) for residual in found]
        return Residuals(down=tuple(found[:-1]), middle=found[-1])
