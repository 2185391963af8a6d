"""Makes a UNet compiled by torch.compile run its original code, as compiled code ignores hooks that are added later."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn

from lib_instantid.errors import UnsupportedModel

WRAPPED = "_torchdynamo_orig_callable"
"""The attribute of a compiled function that holds the original one. Source: torch._dynamo.eval_frame."""


def run_uncompiled(unet: nn.Module, undo: ExitStack) -> None:
    """Let every module run its original code until `undo` is closed, which restores the compiled code.

    Covers `module.compile()` and `module.forward = torch.compile(module.forward)`. Raises UnsupportedModel: a module was
    replaced by the result of `torch.compile(module)`.
    """
    for name, module in unet.named_modules():
        if hasattr(module, "_orig_mod"):
            raise UnsupportedModel(
                f'This checkpoint\'s UNet is compiled by torch.compile in a way that InstantID cannot act in (at "{name}"). '
                "Turn torch.compile off, or InstantID."
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            undo.callback(setattr, module, "_compiled_call_impl", module._compiled_call_impl)
            module._compiled_call_impl = None
        forward: Callable[..., Any] | None = vars(module).get("forward")
        if hasattr(forward, WRAPPED):
            undo.callback(setattr, module, "forward", forward)
            module.forward = getattr(forward, WRAPPED)
