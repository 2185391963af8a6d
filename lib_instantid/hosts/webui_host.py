"""The interface through which the script uses a WebUI's model objects. A1111 and Forge have a class each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from torch import nn
from torch.utils.hooks import RemovableHandle

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.networks.controlnet import ControlNet

Comment = Callable[[str], None]
"""A function that shows a sentence with the result."""


class WebuiHost(Protocol):
    """Attaches a conditioning to the WebUI's model. It has at most one attachment, as sampling is never nested."""

    def model_folders(self) -> Sequence[Path]:
        """Folders in which the WebUI's users keep models."""
        ...

    def preprocessors(self) -> Preprocessors:
        """The WebUI's own preprocessors. Looks at what is registered now, and loads nothing."""
        ...

    def place(self, net: ControlNet) -> None:
        """Prepare a ControlNet for the next `attach`: convert it to the UNet's dtype, and move it to the UNet's device unless
        the WebUI does so itself."""
        ...

    def rest(self, net: ControlNet) -> None:
        """Move a ControlNet off the GPU, unless the WebUI does so itself."""
        ...

    def loaded_unet(self) -> nn.Module | None:
        """The UNet of the loaded model, or None. Loads nothing."""
        ...

    def attach(self, conditioning: Conditioning, comment: Comment) -> None:
        """Attach a conditioning until `detach`. If a refiner that is loaded later does not fit, `comment` says so.

        Raises UnsupportedModel: the conditioning does not fit the loaded model.
        """
        ...

    def refuse(self, error: Exception) -> None:
        """Let the next UNet call raise this error, because the WebUI ignores errors of scripts, but not those of sampling."""
        ...

    def detach(self) -> None:
        """Remove everything that is attached, if anything is."""
        ...

    def model_changed(self) -> None:
        """Detach from the old model after another was loaded. A running generation attaches to the new one."""
        ...

    def free(self) -> None:
        """Forget the networks and free their memory."""
        ...

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        """Functions for the WebUI to call, by the names of the events of its script_callbacks."""
        ...


def step_of(denoiser: Any) -> Step:
    """The position in the sampling pass. With samplers of second order the WebUI counts calls of the denoiser. The index is
    limited, because a few samplers make more calls than announced."""
    return Step(index=min(denoiser.step, denoiser.total_steps - 1), total=denoiser.total_steps)


def stop_on_error(callback: Callable[[Any], None], refuse: Callable[[Exception], None]) -> Callable[[Any], None]:
    """Make the callback's errors stop the generation. The WebUI would ignore them and make the picture without the person."""

    def call(params: Any) -> None:
        try:
            callback(params)
        except Exception as error:  # noqa: BLE001 - see above
            refuse(error)

    return call


def raise_once(unet: nn.Module, error: Exception) -> RemovableHandle:
    """Add a hook that raises the error at the next call and removes itself. returns: the hook's handle."""

    def hook(*_: object) -> NoReturn:
        handle.remove()
        raise error

    handle = unet.register_forward_pre_hook(hook)
    return handle
