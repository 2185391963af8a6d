"""Attaches a conditioning to a UNet by torch hooks, and removes every hook again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from lib_instantid.conditioning.compiled import run_uncompiled
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, ContextPart, ControlPart, LoraPart
from lib_instantid.conditioning.sampling import RowsOf, SamplingPass
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import Site, attention_sites, check_widths, context_size
from lib_instantid.conditioning.tiles import TiledPass
from lib_instantid.conditioning.unets import Args, Arguments, Kwargs, UNetLayout, layout_of
from lib_instantid.errors import UnsupportedModel

AnyPass = SamplingPass | TiledPass


class Attachment:
    """An attached conditioning. Also a context manager, which detaches it."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def detach(self) -> None:
        """Remove every hook. Does nothing when called again."""
        self._undo.close()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()


def attach(
    unet: nn.Module,
    conditioning: Conditioning,
    *,
    rows_of: RowsOf,
    step: Callable[[], Step],
    text_of: Callable[[Tensor], Tensor] = lambda context: context,
) -> Attachment:
    """Attach a conditioning to a diffusers or ldm UNet until `detach`.

    rows_of: which rows of a UNet call are conditional. step: the position in the sampling pass, called in each UNet call.
    text_of: the text that ControlNets read, of a call's context (B, T, C), to which other extensions may have added.
    On an error nothing stays attached. Raises UnsupportedModel: the weights do not fit the UNet.
    """
    check_fit(unet, conditioning)
    layout, sampling = layout_of(unet), SamplingPass(conditioning, rows_of, step)
    with ExitStack() as undo:
        undo.callback(sampling.end)
        run_uncompiled(unet, undo)
        begin = _before_call(sampling, layout, layout.vector_size(unet), text_of)
        undo.callback(unet.register_forward_pre_hook(begin, with_kwargs=True).remove)
        undo.callback(unet.register_forward_hook(_after_call(sampling)).remove)
        layout.hook_residuals(unet, lambda: sampling.residuals, undo)
        hook_parts(unet, conditioning, sampling, undo)
        return Attachment(undo.pop_all())


def check_fit(unet: nn.Module, conditioning: Conditioning) -> None:
    """Raise UnsupportedModel unless every part of the conditioning fits the UNet and every system's check passes."""
    layout = layout_of(unet)
    for part in conditioning.parts:
        if isinstance(part, AttentionPart):
            check_widths({number: pair.key.shape[-1] for number, pair in part.keys_values.items()}, unet, part.misfit)
        elif isinstance(part, ControlPart):
            _check_controlnet(part, unet, layout)
        elif isinstance(part, LoraPart):
            _check_lora(part, unet)
    for check in conditioning.checks:
        check(unet)


def hook_parts(unet: nn.Module, conditioning: Conditioning, sampling: AnyPass, undo: ExitStack) -> None:
    """Hook every part except the ControlNets into the UNet. Closing `undo` removes the hooks."""
    kinds = {type(part) for part in conditioning.parts}
    sites = attention_sites(unet)
    if LoraPart in kinds:  # first, so that queries include the products
        adapted = {layer for part in conditioning.parts if isinstance(part, LoraPart) for layer in part.layers}
        for site in sites:
            for name in sorted(name for number, name in adapted if number == site.number):
                undo.callback(site.linear(name).register_forward_hook(_add_low_rank((site.number, name), sampling)).remove)
    if AttentionPart in kinds:
        for site in sites:
            if site.cross:
                _hook_attention(site, sampling, undo)
    if ContextPart in kinds:
        layout = layout_of(unet)

        def lengthen(_: nn.Module, args: Args, kwargs: Kwargs) -> Arguments:
            return layout.with_context(args, kwargs, sampling.context)

        undo.callback(unet.register_forward_pre_hook(lengthen, with_kwargs=True).remove)


def _check_controlnet(part: ControlPart, unet: nn.Module, layout: type[UNetLayout]) -> None:
    """Raise UnsupportedModel unless the ControlNet can take this UNet's inputs and its residuals fit the skip connections."""
    shape = part.network.shape
    width, vector = layout.stem_width(unet), layout.vector_size(unet)
    if shape.channels[0] != width:
        raise UnsupportedModel(
            f"This checkpoint's UNet starts with {width} channels, {part.title} with {shape.channels[0]}; they must be equal. "
            f"{part.cure}"
        )
    if shape.vector_size != vector:
        raise UnsupportedModel(
            f"This checkpoint's UNet takes a vector of {vector} numbers besides the text, {part.title} one of "
            f"{shape.vector_size}; they must be equal. {part.cure}"
        )
    context = context_size(unet)
    if shape.attending is None or context is None or any(one.tokens is not None for one in part.contexts):
        return
    if shape.attending.context_size != context:
        raise UnsupportedModel(
            f"This checkpoint's text has {context} numbers for each token, {part.title} takes {shape.attending.context_size}; "
            f"they must be equal. {part.cure}"
        )


def _check_lora(part: LoraPart, unet: nn.Module) -> None:
    sites = {site.number: site for site in attention_sites(unet)}
    fits = all(
        number in sites
        and (layer := sites[number].linear(name)).in_features == own.down.shape[1]
        and layer.out_features == own.up.shape[0]
        for (number, name), own in part.layers.items()
    )
    if not fits:
        raise UnsupportedModel(f"This checkpoint's UNet has {len(sites)} attentions; {part.misfit}")


def _before_call(
    sampling: SamplingPass, layout: type[UNetLayout], vector_size: int, text_of: Callable[[Tensor], Tensor]
) -> Callable[..., Any]:
    def hook(_: nn.Module, args: Args, kwargs: Kwargs) -> Arguments | None:
        inputs = layout.read_call(args, kwargs, vector_size)
        sampling.begin(dataclasses.replace(inputs, context=text_of(inputs.context)))
        if sampling.residuals is None:
            return None
        return args, layout.with_residuals(kwargs, sampling.residuals)

    return hook


def _after_call(sampling: SamplingPass) -> Callable[..., None]:
    def hook(*_: object) -> None:
        sampling.end()

    return hook


def _hook_attention(site: Site, sampling: AnyPass, undo: ExitStack) -> None:
    """Add the parts' attention to the text's. Both have the same query, and are added before the output projection.

    Hooks on `to_q` and `to_out[0]` suffice, because every attention implementation of the hosts calls both.
    """
    queries: list[Tensor] = []

    def remember_query(_: nn.Module, __: object, query: Tensor) -> None:
        queries[:] = [query]

    def add(_: nn.Module, args: Args) -> Args | None:
        added = sampling.attention(site, queries.pop())
        return None if added is None else (args[0] + added.to(args[0]), *args[1:])

    undo.callback(site.linear("to_q").register_forward_hook(remember_query).remove)
    undo.callback(site.linear("to_out").register_forward_pre_hook(add).remove)
    undo.callback(queries.clear)


def _add_low_rank(layer: tuple[int, str], sampling: AnyPass) -> Callable[..., Tensor | None]:
    def hook(_: nn.Module, args: Args, output: Tensor) -> Tensor | None:
        added = sampling.low_rank(layer, args[0])
        return None if added is None else output + added.to(output)

    return hook
