"""What a WebUI's model objects are asked for. A1111 and Forge each answer in their own way; the script knows only this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from torch import nn

from lib_instantid.guidance.guidance import Guidance
from lib_instantid.guidance.schedule import Step
from lib_instantid.nets.identitynet import IdentityNet

Comment = Callable[[str], None]
"""Shows a sentence with the result."""


class WebuiHost(Protocol):
    """Owns at most one attachment: sampling is never nested, and a detour ends before the next sampling starts."""

    def model_folders(self) -> Sequence[Path]:
        """Folders in which the WebUI's users keep models."""
        ...

    def place(self, net: IdentityNet) -> None:
        """Make IdentityNet ready for the next `attach`: in the UNet's number format, and where the UNet computes, or for the
        WebUI to bring there."""
        ...

    def rest(self, net: IdentityNet) -> None:
        """Free the GPU of IdentityNet, where the WebUI does not do that itself."""
        ...

    def loaded_unet(self) -> nn.Module | None:
        """Of the model that is loaded now; None where none is. Loads nothing."""
        ...

    def attach(self, guidance: Guidance, comment: Comment) -> None:
        """Attach until `detach`; `comment` is told if a model that is swapped in later is left out.

        Raises UnsupportedModel where the loaded model cannot be attached to.
        """
        ...

    def refuse(self, error: Exception) -> None:
        """Let the next UNet call raise this error: the WebUI swallows what a script raises, but not what sampling raises."""
        ...

    def detach(self) -> None:
        """Remove everything; more than once is once."""
        ...

    def model_changed(self) -> None:
        """Another model is loaded: take everything off the old one. Sampling that is under way attaches to the new one."""
        ...

    def free(self) -> None:
        """The networks are no longer wanted: forget them, and give their memory back."""
        ...

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        """What the WebUI is to call, by the names of its script_callbacks' events."""
        ...


def step_of(denoiser: Any) -> Step:
    """The WebUI counts calls for samplers of second order, and a few samplers run over their end."""
    return Step(index=min(denoiser.step, denoiser.total_steps - 1), total=denoiser.total_steps)


def loudly(callback: Callable[[Any], None], refuse: Callable[[Exception], None]) -> Callable[[Any], None]:
    """The callback, whose errors stop the generation: the WebUI would swallow them, and go on without the person."""

    def call(params: Any) -> None:
        try:
            callback(params)
        except Exception as error:  # noqa: BLE001 - see above
            refuse(error)

    return call


def raise_once(unet: nn.Module, error: Exception) -> Any:
    """A handle of a hook that raises at the next call and is gone by then."""

    def hook(*_: Any) -> NoReturn:
        handle.remove()
        raise error

    handle = unet.register_forward_pre_hook(hook)
    return handle
