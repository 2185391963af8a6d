"""Chooses the device, makes schedulers by the names that WebUI users know, and makes rough previews of latents."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import numpy as np
import torch

from lib_instantid.errors import SettingsError

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpm++ 2m sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "ddim": ("DDIMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""By name: diffusers' class, and its arguments besides the checkpoint's own configuration."""


def check_scheduler(name: str) -> str:
    """The name as in `SCHEDULERS`, given in any capitalisation. Raises SettingsError: an unknown name."""
    if name.lower() not in SCHEDULERS:
        raise SettingsError(f"scheduler: found {name!r}, expected one of {', '.join(SCHEDULERS)}.")
    return name.lower()


def scheduler_like(scheduler: Any, name: str) -> Any:
    """A scheduler of that name with the noise schedule of the checkpoint's scheduler.

    Raises SettingsError: an unknown name, or a scheduler that cannot begin with noise alone, which the checkpoint needs (zero
    terminal SNR).
    """
    kind, extra = SCHEDULERS[check_scheduler(name)]
    made = getattr(diffusers, kind).from_config(scheduler.config, **extra)
    zero = "rescale_betas_zero_snr"
    if scheduler.config.get(zero) and zero not in inspect.signature(type(made).__init__).parameters:
        raise SettingsError(f"scheduler: {name!r} cannot begin where this checkpoint does (zero terminal SNR); choose euler.")
    return made


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA, else Apple's MPS, else the CPU. Raises SettingsError: the device cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device: {name!r} cannot be used here ({reason}); use auto or cpu.") from error
    return device


WEIGHTS = ((60.0, -60.0, 25.0, -70.0), (60.0, -5.0, 15.0, -50.0), (60.0, 10.0, -5.0, -35.0))
BIAS = (150.0, 140.0, 130.0)
"""Linear map from SDXL's four latent channels to RGB. Source: diffusers' documentation, "Pipeline callbacks"."""


def rough_picture(latents: torch.Tensor) -> np.ndarray:
    """A rough preview of latents, one pixel per cell. latents: (4, h, w) of SDXL. returns: (h, w, 3) uint8 RGB."""
    values = torch.einsum("rc,chw->hwr", torch.tensor(WEIGHTS), latents.detach().float().cpu()) + torch.tensor(BIAS)
    picture: np.ndarray = values.clamp(0, 255).byte().numpy()
    return picture
