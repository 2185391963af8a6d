"""IdentityNet: a ControlNet of SDXL's shape whose context is the face tokens and whose hint is the keypoint map.

Own module on plain torch, with the released file's (diffusers') parameter names. What does not change over the steps is
prepared once: the hint's convolutions, and the keys and values of the cross-attentions, whose context is constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_instantid.errors import BadModelFile
from lib_instantid.nets.attention import KeyValue
from lib_instantid.nets.blocks import Downsample, ResnetBlock, Transformer, TransformerBlock, sinusoidal
from lib_instantid.nets.identitynet_names import to_diffusers_names
from lib_instantid.nets.kinds import Kind, expect
from lib_instantid.nets.weights import load_strictly, read_weights

LAYERS_PER_LEVEL = 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes read off the weights. channels and depths: per level; depth 0 is a level without attention."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    context_size: int
    vector_size: int
    latent_channels: int
    hint_channels: tuple[int, ...]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Shape:
        levels = range(_count(weights, "down_blocks"))
        return cls(
            channels=tuple(weights[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in levels),
            depths=tuple(_count(weights, f"down_blocks.{i}.attentions.0.transformer_blocks") for i in levels),
            middle_depth=_count(weights, "mid_block.attentions.0.transformer_blocks"),
            context_size=weights["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
            vector_size=weights["add_embedding.linear_1.weight"].shape[1],
            latent_channels=weights["conv_in.weight"].shape[1],
            hint_channels=(
                *(weights[f"controlnet_cond_embedding.{name}.weight"].shape[0] for name in ("conv_in", "blocks.1")),
                *(weights[f"controlnet_cond_embedding.blocks.{i}.weight"].shape[0] for i in (3, 5)),
            ),
        )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    start = prefix + "."
    return len({name[len(start) :].split(".")[0] for name in weights if name.startswith(start)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Residuals:
    """What is added to the UNet's skip connections, in the order of its encoder, and to its middle block's output."""

    down: tuple[Tensor, ...]
    middle: Tensor


class TwoLinear(nn.Module):
    """The embedding of the timestep, and that of the pooled text and sizes."""

    def __init__(self, size_in: int, size: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(size_in, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class HintEmbedding(nn.Module):
    """Keypoint map (B, 3, 8h, 8w) in [0, 1] → features (B, C, h, w)."""

    def __init__(self, channels: tuple[int, ...], channels_out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(channels):
            self.blocks.append(nn.Conv2d(before, before, 3, padding=1))
            self.blocks.append(nn.Conv2d(before, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], channels_out, 3, padding=1)

    def forward(self, hint: Tensor) -> Tensor:
        h = F.silu(self.conv_in(hint))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


class Level(nn.Module):
    """One resolution of the encoder: residual blocks, each with its transformer where there is one, then downsampling."""

    def __init__(self, channels_in: int, channels: int, depth: int, time_size: int, context_size: int, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [ResnetBlock(channels_in if i == 0 else channels, channels, time_size) for i in range(LAYERS_PER_LEVEL)]
        )
        if depth:
            self.attentions = nn.ModuleList([Transformer(channels, depth, context_size) for _ in range(LAYERS_PER_LEVEL)])
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(channels)])

    def forward(self, h: Tensor, time: Tensor, contexts: Contexts) -> tuple[Tensor, ...]:
        """h (B, C_in, H, W) → the outputs of the level's blocks in order; the last one is the next level's input."""
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
    def __init__(self, channels: int, depth: int, time_size: int, context_size: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, time_size) for _ in range(2)])
        self.attentions = nn.ModuleList([Transformer(channels, depth, context_size)])

    def forward(self, h: Tensor, time: Tensor, contexts: Contexts) -> Tensor:
        h = self.attentions[0](self.resnets[0](h, time), contexts.take(self.attentions[0]))
        return self.resnets[1](h, time)


class Contexts:
    """Hands each transformer its blocks' keys and values, in the order in which the network runs."""

    def __init__(self, keys_values: tuple[KeyValue, ...]) -> None:
        self._rest = iter(keys_values)

    def take(self, transformer: nn.Module) -> tuple[KeyValue, ...]:
        return tuple(next(self._rest) for _ in transformer.transformer_blocks)  # type: ignore


class IdentityNet(nn.Module):
    """See the module's docstring. Computes in its weights' dtype and returns residuals in it.

    streaming: what brings its layers' weights when their turn comes, None where they are here (`storage`).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.streaming: object = None
        first = shape.channels[0]
        time_size = first * 4
        self.conv_in = nn.Conv2d(shape.latent_channels, first, 3, padding=1)
        self.time_embedding = TwoLinear(first, time_size)
        self.add_embedding = TwoLinear(shape.vector_size, time_size)
        self.controlnet_cond_embedding = HintEmbedding(shape.hint_channels, first)
        self.down_blocks = nn.ModuleList()
        outputs = [first]
        for i, (channels, depth) in enumerate(zip(shape.channels, shape.depths, strict=True)):
            last = i == len(shape.channels) - 1
            self.down_blocks.append(Level(outputs[-1], channels, depth, time_size, shape.context_size, last))
            outputs += [channels] * (LAYERS_PER_LEVEL + (not last))
        self.mid_block = Middle(outputs[-1], shape.middle_depth, time_size, shape.context_size)
        self.controlnet_down_blocks = nn.ModuleList([nn.Conv2d(c, c, 1) for c in outputs])
        self.controlnet_mid_block = nn.Conv2d(outputs[-1], outputs[-1], 1)

    @torch.no_grad()
    def prepare_hint(self, keypoint_map: Tensor) -> Tensor:
        """(1, 3, H, W) RGB in [0, 1] → features (1, C, H/8, W/8), once per generation."""
        features: Tensor = self.controlnet_cond_embedding(keypoint_map.to(self.conv_in.weight))
        return features

    @torch.no_grad()
    def prepare_context(self, tokens: Tensor) -> tuple[KeyValue, ...]:
        """(rows, T, context size) face tokens → keys and values of every cross-attention, once per generation."""
        blocks = [m for part in (self.down_blocks, self.mid_block) for m in part.modules() if isinstance(m, TransformerBlock)]
        return tuple(block.attn2.project(tokens.to(self.conv_in.weight)) for block in blocks)

    def forward(self, x: Tensor, timestep: Tensor, vector: Tensor, hint: Tensor, context: tuple[KeyValue, ...]) -> Residuals:
        """Residuals of strength 1.

        x: (B, 4, h, w) latents as the UNet gets them. timestep: (B,). vector: (B, 2816) pooled text and size embeddings,
        the UNet's `y`. hint: from `prepare_hint`. context: from `prepare_context`, its rows in the order of x's.
        """
        weight = self.conv_in.weight
        time = self.time_embedding(sinusoidal(timestep, self.shape.channels[0]).to(weight))
        time = F.silu(time + self.add_embedding(vector.to(weight)))
        contexts = Contexts(context)
        outputs = [self.conv_in(x.to(weight)) + hint]
        for level in self.down_blocks:
            outputs.extend(level(outputs[-1], time, contexts))
        middle = self.mid_block(outputs[-1], time, contexts)
        return Residuals(
            down=tuple(conv(h) for conv, h in zip(self.controlnet_down_blocks, outputs, strict=True)),
            middle=self.controlnet_mid_block(middle),
        )


def load_identitynet(path: Path) -> IdentityNet:
    """Read IdentityNet from a file or folder, in diffusers' or ldm's names. Raises MissingModelFile or BadModelFile."""
    weights = read_weights(path)
    expect(weights, Kind.IDENTITYNET, "identitynet")
    tensors = to_diffusers_names(weights.tensors)
    try:
        shape = Shape.of(tensors)
        with torch.device("meta"):
            net = IdentityNet(shape)
    except (LookupError, ValueError) as error:
        raise BadModelFile(f"identitynet {path}: not a complete IdentityNet ({error}). Fetch the file again.") from error
    load_strictly(net, weights, tensors, "IdentityNet")
    return net
