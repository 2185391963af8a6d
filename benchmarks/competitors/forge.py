"""Forge's own two units, InstantID's adapter and its ControlNet, on Forge's UNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from backend.nn.unet import IntegratedUNet2DConditionModel
from backend.patcher.controlnet import ControlNet, apply_controlnet_advanced
from backend.patcher.unet import UnetPatcher
from diffusers import EulerDiscreteScheduler
from lib_ipadapter.IPAdapterPlus import IPAdapterApply
from modules_forge.supported_controlnet import ControlNetPatcher
from torch import Tensor, nn

from benchmarks.competitors import SDXL, ldm_controlnet
from benchmarks.contenders import STRENGTH, Case, RunStep, guide, inputs, people_in
from benchmarks.networks import Networks
from lib_instantid.networks.adapter import sub_weights

DEPTHS = {
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
}
UNCONDITIONAL, CONDITIONAL = 1, 0
"""Forge's marks of a chunk's role."""


def unet(channels: int) -> nn.Module:
    found: nn.Module = IntegratedUNet2DConditionModel(model_channels=channels, **SDXL, **DEPTHS)
    return found


def prepare(networks: Networks, with_identitynet: bool) -> Callable[[Networks, Case], AbstractContextManager[RunStep]]:
    """The ControlNet is kept loaded; the adapter is built for each pass, as Forge does."""
    network = ControlNetPatcher.try_build_from_state_dict(ldm_controlnet(networks), "identitynet").model_patcher
    network.control_model.to(networks.device)
    state = networks.adapter.state_dict()
    adapter = {part: sub_weights(state, part) for part in ("image_proj", "ip_adapter")}

    @contextmanager
    def run(networks: Networks, case: Case) -> Iterator[RunStep]:
        given = inputs(networks, case)
        patched = _patched(networks, case, network if with_identitynet else None, adapter)
        control = patched.controlnet_linked_list
        if control is not None:
            control.pre_run(SimpleNamespace(predictor=_Predictor()), lambda part: 1e9 * (1 - part) - 1)
        own = patched.model_options["transformer_options"]
        marks = torch.tensor([1.0] * case.batch + [0.0] * case.batch, device=networks.device)

        @torch.no_grad()
        def step(number: int) -> Tensor:
            x, timestep = given.x(number), given.timestep(number)
            options = {
                **own,
                "cond_or_uncond": [UNCONDITIONAL, CONDITIONAL],
                "sigmas": timestep[: case.batch],
                "cond_mark": marks,
            }
            residuals = None
            if control is not None:
                control.transformer_options = options
                condition = {"c_crossattn": given.text, "y": given.vector, "transformer_options": options}
                residuals = control.get_control(x, timestep, condition, 2)
            found: Tensor = networks.unet(
                x, timestep, context=given.text, y=given.vector, control=residuals, transformer_options=options
            )
            return found

        yield step

    return run


@torch.no_grad()
def _patched(networks: Networks, case: Case, network: ControlNet | None, adapter: dict[str, dict[str, Tensor]]) -> UnetPatcher:
    """As the two units do before sampling."""
    module = networks.unet
    module.storage_dtype = module.computation_dtype = networks.dtype  # type: ignore[assignment]
    module.load_device = module.offload_device = module.initial_device = networks.device  # type: ignore[assignment]
    (person,) = guide(networks, case, 1, {}).people
    scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    patcher = UnetPatcher.from_model(module, scheduler, module.config)
    (with_adapter,) = IPAdapterApply().apply_ipadapter(
        ipadapter=adapter,
        model=patcher,
        weight=STRENGTH,
        image=torch.zeros(1, 64, 64, 3),
        insightface=_Analyser(people_in(case, 1)[0].embedding),
        instant_id=True,
    )
    if network is None:
        return with_adapter
    return apply_controlnet_advanced(with_adapter, network, person.keypoint_map.to(networks.device), STRENGTH, 0.0, 1.0)


class _Analyser:
    """Finds this face in every picture."""

    def __init__(self, embedding: np.ndarray) -> None:
        self.det_model = SimpleNamespace(input_size=None)
        self._embedding = embedding

    def get(self, _: Any) -> list[Any]:
        return [SimpleNamespace(embedding=self._embedding)]


class _Predictor:
    """The ControlNet gets what the UNet gets."""

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma

    def calculate_input(self, _: Tensor, x: Tensor) -> Tensor:
        return x
