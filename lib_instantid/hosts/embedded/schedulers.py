"""Schedulers by the names that WebUI users know."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers

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
"""Name → diffusers' class, and what it gets beside the checkpoint's own configuration."""


def check_scheduler(name: str) -> str:
    """The name as in `SCHEDULERS`, however it is capitalised. Raises SettingsError for an unknown one."""
    if name.lower() not in SCHEDULERS:
        raise SettingsError(f"scheduler: found {name!r}, expected one of {', '.join(SCHEDULERS)}.")
    return name.lower()


def scheduler_like(scheduler: Any, name: str) -> Any:
    """A scheduler of that name with the checkpoint's noise schedule. Raises SettingsError for an unknown name, or one that
    cannot begin with noise alone where the checkpoint was trained to (zero terminal SNR).
    """
    kind, extra = SCHEDULERS[check_scheduler(name)]
    made = getattr(diffusers, kind).from_config(scheduler.config, **extra)
    zero = "rescale_betas_zero_snr"
    if scheduler.config.get(zero) and zero not in inspect.signature(type(made).__init__).parameters:
        raise SettingsError(f"scheduler: {name!r} cannot begin where this checkpoint does (zero terminal SNR); choose euler.")
    return made
