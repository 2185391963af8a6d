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


SDXL_COLOURS = (
    ((60.0, -60.0, 25.0, -70.0), (60.0, -5.0, 15.0, -50.0), (60.0, 10.0, -5.0, -35.0)),
    (150.0, 140.0, 130.0),
)
"""Linear map from SDXL's four latent channels to RGB. Source: diffusers' documentation, "Pipeline callbacks"."""

SD15_COLOURS = (
    ((44.8, 41.4, -36.1, -27.0), (29.3, 63.4, 22.5, -33.4), (41.1, 30.0, 34.7, -91.5)),
    (127.5, 127.5, 127.5),
)
"""The same for SD1.5. Source: ComfyUI comfy/latent_formats.py, `SD15`, times 127.5."""


def rough_picture(latents: torch.Tensor, xl: bool) -> np.ndarray:
    """A rough preview of latents, one pixel per cell. latents: (4, h, w). xl: SDXL's, else SD1.5's. returns: (h, w, 3) uint8
    RGB."""
    weights, bias = map(torch.tensor, SDXL_COLOURS if xl else SD15_COLOURS)
    values = torch.einsum("rc,chw->hwr", weights, latents.detach().float().cpu()) + bias
    picture: np.ndarray = values.clamp(0, 255).byte().numpy()
    return picture
