"""sd-webui-controlnet's two units on the UNet that AUTOMATIC1111 uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import torch
from modules import devices
from scripts.cldm import PlugableControlModel
from scripts.controlnet_model_guess import controlnet_sdxl_config
from scripts.enums import ControlModelType
from scripts.hook import NEGATIVE_MARK_TOKEN, POSITIVE_MARK_TOKEN, ControlParams, UnetHook
from scripts.ipadapter.ipadapter_model import IPAdapterModel
from scripts.ipadapter.plugable_ipadapter import PlugableIPAdapter, clear_all_ip_adapter
from sgm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

from benchmarks.competitors import SDXL, ldm_controlnet
from benchmarks.contenders import PASS, STRENGTH, Case, RunStep, guide, inputs, people_in
from benchmarks.networks import Networks
from lib_instantid.networks.adapter import sub_weights

ATTENTION = {"attention_resolutions": [4, 2], "transformer_depth": [1, 2, 10], "legacy": False}


def unet(channels: int) -> nn.Module:
    found: nn.Module = UNetModel(model_channels=channels, **SDXL, **ATTENTION)
    return found


def prepare(networks: Networks, with_identitynet: bool) -> Callable[[Networks, Case], AbstractContextManager[RunStep]]:
    """Both models are kept loaded, as the extension's cache does."""
    devices.dtype_unet = networks.dtype  # as the WebUI does when it loads a checkpoint
    half = networks.dtype == torch.float16
    config = {
        **controlnet_sdxl_config,
        "model_channels": networks.identitynet.shape.channels[0],
        "hint_channels": 3,
        "use_fp16": half,
    }
    network = PlugableControlModel(config, ldm_controlnet(networks)).to(networks.device, networks.dtype)
    state = networks.adapter.state_dict()
    parts = {part: sub_weights(state, part) for part in ("image_proj", "ip_adapter")}
    adapter = PlugableIPAdapter(IPAdapterModel.load(parts, "instant_id"))

    @contextmanager
    def run(networks: Networks, case: Case) -> Iterator[RunStep]:
        given = inputs(networks, case)
        (person,) = guide(networks, case, 1, {}).people
        embedding = torch.from_numpy(people_in(case, 1)[0].embedding)
        size = (case.width // 8, case.height // 8)
        adapter.hook(networks.unet, embedding, STRENGTH, 0.0, 1.0, *size, None)
        units = [_unit(adapter, ControlModelType.IPAdapter, embedding)]
        if with_identitynet:
            keypoint_map = person.keypoint_map.to(networks.device, networks.dtype)
            units.append(_unit(network, ControlModelType.InstantID, keypoint_map))
            units[1].control_context_override = adapter.image_emb
        hook = UnetHook()
        process = SimpleNamespace(sample=None, prompt="a person", negative_prompt="")
        hook.hook(networks.unet, SimpleNamespace(is_sdxl=True), units, process)
        text = _marked(given.text, case.batch)

        @torch.no_grad()
        def step(number: int) -> Tensor:
            hook.guidance_schedule_handler(SimpleNamespace(sampling_step=number, total_sampling_steps=PASS))
            found: Tensor = networks.unet(given.x(number), given.timestep(number), context=text, y=given.vector)
            return found

        try:
            yield step
        finally:
            hook.restore()
            clear_all_ip_adapter()

    return run


def _unit(model: nn.Module, kind: ControlModelType, hint: Tensor) -> ControlParams:
    return ControlParams(
        control_model=model,
        preprocessor={"name": "instant_id"},
        hint_cond=hint,
        weight=STRENGTH,
        guidance_stopped=False,
        start_guidance_percent=0.0,
        stop_guidance_percent=1.0,
        advanced_weighting=None,
        control_model_type=kind,
        hr_hint_cond=None,
        global_average_pooling=False,
        soft_injection=False,
        cfg_injection=False,
    )


def _marked(text: Tensor, batch: int) -> Tensor:
    """The extension tells conditional rows by a token before each prompt."""
    marks = torch.tensor([NEGATIVE_MARK_TOKEN] * batch + [POSITIVE_MARK_TOKEN] * batch).to(text)
    return torch.cat([marks[:, None, None].expand(-1, 1, text.shape[-1]), text], dim=1)
