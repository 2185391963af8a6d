"""A UNet that torch.compile has compiled: hooks that come later are not in its compiled code, and would be passed over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn

from lib_instantid.errors import UnsupportedModel

WRAPPED = "_torchdynamo_orig_callable"
"""What a compiled function keeps the original under. Source: torch._dynamo.eval_frame."""


def run_uncompiled(unet: nn.Module, undo: ExitStack) -> None:
    """Let every module run its own code until `undo` is closed; compiled code is kept for then.

    Covers `module.compile()` and `module.forward = torch.compile(module.forward)`. Raises UnsupportedModel for a module that
    was replaced by what `torch.compile(module)` returns.
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
