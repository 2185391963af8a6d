"""InstantID on the model objects of Forge. ControlNets join Forge's chain of units; other parts act by hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from backend import memory_management
from backend.patcher.base import ModelPatcher
from backend.patcher.controlnet import ControlBase
from modules import paths, sd_models, shared
from modules_forge import shared as forge_shared
from torch import Tensor, nn

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.conditioning.attachment import check_fit, hook_parts
from lib_instantid.conditioning.cfg import rescaled_denoised
from lib_instantid.conditioning.compiled import run_uncompiled
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.tiles import Tile, TiledPass
from lib_instantid.conditioning.unets import Rows, UNetInputs
from lib_instantid.constants import LATENT_FACTOR
from lib_instantid.errors import UnsupportedModel
from lib_instantid.hosts.webui_host import Comment, raise_once, step_of, stop_on_error
from lib_instantid.hosts.webui_preprocessors import drawing
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.networks.packing import place

CONDITIONAL = 0
"""The value that marks a conditional chunk in Forge's `cond_or_uncond`."""

FLOW = "const"
"""Forge's name of a flow prediction (backend/modules/k_prediction.py)."""


class ControlUnit(ControlBase):  # type: ignore[misc]
    """A unit in Forge's chain of ControlNets. It passes the text context on to the other units unchanged.

    size: (width, height) of the output in pixels. patchers: Forge's handles of the ControlNets.

    Forge's MultiDiffusion cuts `cond_hint_original` of every unit into tiles, and puts those of the next call into `cond_hint`,
    row by row. Here each pixel of `cond_hint_original` holds its own place, which tells where a tile lies.
    """

    manual_cast_dtype = torch.float32
    """The dtype in which MultiDiffusion keeps the hint. Half precision would round the places."""

    def __init__(self, sampling: TiledPass, size: tuple[int, int], patchers: Sequence[object]) -> None:
        super().__init__()
        self.sampling, self.size, self.patchers = sampling, size, patchers
        self.predictor: Any = None
        width, height = size
        places = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        self.cond_hint_original = torch.stack(places)[None].float()

    def pre_run(self, model: Any, percent_to_timestep_function: object) -> None:
        self.predictor = model.predictor
        super().pre_run(model, percent_to_timestep_function)

    def get_models(self) -> list[object]:
        return [*super().get_models(), *self.patchers]

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int) -> Any:
        """Residuals of a UNet call, merged with those of the earlier units in the chain, in Forge's format.

        x_noisy: (B, C, h, w) noisy latents. t: (B,) sigmas. cond: Forge's conditions of the call.
        """
        previous = self.previous_controlnet
        others = None if previous is None else previous.get_control(x_noisy, t, cond, batched_number)
        inputs = UNetInputs(
            x=self.predictor.calculate_input(t, x_noisy),
            timestep=self.predictor.timestep(t).float(),
            context=cond["c_crossattn"],
            vector=cond.get("y"),
        )
        self.sampling.begin(inputs, self.tiles(x_noisy))
        residuals = self.sampling.residuals
        if residuals is None:
            return others
        return self.control_merge(None, [*residuals.down, residuals.middle], others, x_noisy.dtype)

    def tiles(self, x: Tensor) -> list[Tile]:
        """The tiles of the next call, in the order of its rows; none if it is for the whole picture. x: (B, C, h, w)."""
        height, width = (side * LATENT_FACTOR for side in x.shape[2:])
        if self.cond_hint is None or (width, height) == self.size:
            return []
        corners = self.cond_hint[:, :, 0, 0].round().int().tolist()
        return [Tile(left=left, top=top, width=width, height=height) for (top, left), _ in groupby(corners)]

    def rows(self, count: int) -> Rows:
        """The role of each of `count` rows. Forge gives one for each chunk of the batch."""
        roles = self.transformer_options["cond_or_uncond"]
        return tuple(role == CONDITIONAL for role in roles for _ in range(count // len(roles)))

    def copy(self) -> ControlUnit:
        unit = ControlUnit(self.sampling, self.size, self.patchers)
        self.copy_to(unit)
        return unit


def _rescale_by(part: float) -> Callable[[dict[str, Any]], Tensor]:
    """Make a function for Forge to call after guidance. Forge deep-copies it, so it is a closure without state."""

    def rescale(args: dict[str, Any]) -> Tensor:
        return rescaled_denoised(args["input"], args["sigma"], args["denoised"], args["cond_denoised"], part)

    return rescale


class ForgeHost:
    """See `WebuiHost`."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._attached: nn.Module | None = None
        self._conditioning: Conditioning | None = None
        self._comment: Comment = lambda _: None
        self._step = Step(index=0, total=1)
        self._patchers: dict[ControlNet, Any] = {}

    def model_folders(self) -> Sequence[Path]:
        models = Path(paths.models_path)
        own = [models / name for name in ("instantid", "ControlNet", "ipadapter", "insightface")]
        return list(dict.fromkeys([*own, Path(forge_shared.controlnet_dir)]))

    def preprocessors(self) -> Preprocessors:
        registered = forge_shared.supported_preprocessors.values()
        return Preprocessors(by_name=drawing(sorted(registered, key=lambda one: -one.sorting_priority)))

    def place(self, net: ControlNet) -> None:
        """See `WebuiHost.place`. On a GPU, Forge itself moves the network there and back when memory is needed."""
        device, dtype = memory_management.get_torch_device(), self._patcher().model.computation_dtype
        if device.type == "cpu":
            place(net, device, dtype)
        else:
            net.to(dtype=dtype)

    def rest(self, net: ControlNet) -> None:
        """Does nothing, because Forge itself frees the GPU."""

    def loaded_unet(self) -> nn.Module | None:
        objects = getattr(sd_models.model_data.sd_model, "forge_objects", None)  # Forge starts with a model that has none
        return None if objects is None else objects.unet.model.diffusion_model

    def attach(self, conditioning: Conditioning, comment: Comment) -> None:
        self.detach()
        unet = self._unet()
        check_fit(unet, conditioning)
        if self._patcher().model.predictor.prediction_type == FLOW:
            raise UnsupportedModel(
                "This checkpoint only looks like SDXL: it predicts a flow, where SDXL predicts noise or v. Choose an SDXL "
                "checkpoint."
            )
        sampling = TiledPass(conditioning, lambda inputs: unit.rows(len(inputs.x)), lambda: self._step)
        unit = ControlUnit(sampling, conditioning.size, self._patchers_of(conditioning.networks))
        with ExitStack() as undo:
            undo.callback(sampling.end)
            run_uncompiled(unet, undo)
            hook_parts(unet, conditioning, sampling, undo)
            self._patch(unit, conditioning.cfg_rescale, undo)
            self._undo = undo.pop_all()
        self._attached, self._conditioning, self._comment = unet, conditioning, comment

    def _patch(self, unit: ControlUnit, rescale: float, undo: ExitStack) -> None:
        objects = shared.sd_model.forge_objects
        original = objects.unet
        patched = original.clone()
        patched.add_patched_controlnet(unit)
        if rescale:
            patched.set_model_sampler_post_cfg_function(_rescale_by(rescale))
        objects.unet = patched

        def restore() -> None:
            if objects.unet is patched:
                objects.unet = original

        undo.callback(restore)

    def refuse(self, error: Exception) -> None:
        self.detach()
        self._undo.callback(raise_once(self._unet(), error).remove)

    def detach(self) -> None:
        self._undo.close()
        self._attached = self._conditioning = None

    def model_changed(self) -> None:
        self._undo.close()
        self._attached = None

    def free(self) -> None:
        self._patchers.clear()
        memory_management.cleanup_models()
        memory_management.soft_empty_cache()

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        return {"cfg_denoiser": stop_on_error(self._on_cfg_denoiser, self.refuse)}

    def _on_cfg_denoiser(self, params: Any) -> None:
        if self._conditioning is None:
            return
        self._step = step_of(params.denoiser)
        if self._unet() is not self._attached:
            self._follow_model(self._conditioning, params.x)

    def _follow_model(self, conditioning: Conditioning, x: Tensor) -> None:
        """Attach to the UNet of a refiner that has replaced the old one during sampling, or comment that it does not fit."""
        from backend.sampling.sampling_function import sampling_prepare

        comment = self._comment
        try:
            self.attach(conditioning, comment)
            sampling_prepare(self._patcher(), x)
        except UnsupportedModel as error:
            self._attached, self._conditioning = self._unet(), None
            comment(f"left out from here on. {error}")

    @staticmethod
    def _patcher() -> Any:
        return shared.sd_model.forge_objects.unet

    def _unet(self) -> nn.Module:
        return self._patcher().model.diffusion_model

    def _patchers_of(self, networks: Sequence[ControlNet]) -> list[object]:
        """Forge's handles for loading networks to the GPU: each network's own, kept until others take their place."""
        if networks:
            devices = memory_management.get_torch_device(), memory_management.unet_offload_device()
            self._patchers = {
                net: self._patchers.get(net) or ModelPatcher(net, load_device=devices[0], offload_device=devices[1])
                for net in networks
            }
        return [self._patchers[net] for net in networks]
