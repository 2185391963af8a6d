"""InstantID on the model objects of Forge: IdentityNet is a ControlNet unit, the adapter acts by hooks."""

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

from lib_instantid.errors import UnsupportedModel
from lib_instantid.guidance.attachment import fitting_sites, hook_attention
from lib_instantid.guidance.cfg import rescaled_denoised
from lib_instantid.guidance.compiled import run_uncompiled
from lib_instantid.guidance.guidance import Guidance
from lib_instantid.guidance.sampling import Rows
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.tiles import Tile, TiledPass
from lib_instantid.guidance.unets import Call
from lib_instantid.hosts.webui_host import Comment, loudly, raise_once, step_of
from lib_instantid.nets.identitynet import IdentityNet
from lib_instantid.nets.packing import place
from lib_instantid.units import LATENT_FACTOR

CONDITIONAL = 0
"""Forge's mark of a conditional chunk in `cond_or_uncond`."""

FLOW = "const"
"""Forge's name of a flow prediction (backend/modules/k_prediction.py)."""


class IdentityNetUnit(ControlBase):  # type: ignore[misc]
    """A link in Forge's chain of ControlNets. The others keep their text context: theirs is passed on untouched.

    size: (width, height) of the output in pixels. patcher: Forge's handle of IdentityNet, None where that acts for nobody.

    Forge's MultiDiffusion cuts `cond_hint_original` of every link into its tiles and leaves those of the coming call in
    `cond_hint`, row by row. Ours holds each pixel's own place, so that the tiles say where they are.
    """

    manual_cast_dtype = torch.float32
    """In which MultiDiffusion keeps the hint: half precision would round the places."""

    def __init__(self, sampling: TiledPass, size: tuple[int, int], patcher: Any) -> None:
        super().__init__()
        self.sampling, self.size, self.patcher = sampling, size, patcher
        self.predictor: Any = None
        width, height = size
        places = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        self.cond_hint_original = torch.stack(places)[None].float()

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        self.predictor = model.predictor
        super().pre_run(model, percent_to_timestep_function)

    def get_models(self) -> list[Any]:
        return [*super().get_models(), *([self.patcher] if self.patcher else [])]

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int) -> Any:
        """Residuals of this UNet call, merged with those of the units before it."""
        previous = self.previous_controlnet
        others = None if previous is None else previous.get_control(x_noisy, t, cond, batched_number)
        if cond.get("y") is None:
            raise UnsupportedModel("This checkpoint gives its UNet no vector y; InstantID needs an SDXL checkpoint.")
        self.sampling.begin(
            Call(x=self.predictor.calculate_input(t, x_noisy), timestep=self.predictor.timestep(t).float(), vector=cond["y"]),
            self.tiles(x_noisy),
        )
        residuals = self.sampling.residuals
        if residuals is None:
            return others
        return self.control_merge(None, [*residuals.down, residuals.middle], others, x_noisy.dtype)

    def tiles(self, x: Tensor) -> list[Tile]:
        """Of the coming call, in the order of its rows; none where it is for the whole picture."""
        height, width = (side * LATENT_FACTOR for side in x.shape[2:])
        if self.cond_hint is None or (width, height) == self.size:
            return []
        corners = self.cond_hint[:, :, 0, 0].round().int().tolist()
        return [Tile(left=left, top=top, width=width, height=height) for (top, left), _ in groupby(corners)]

    def rows(self, count: int) -> Rows:
        """Forge names a role for each chunk of the batch."""
        roles = self.transformer_options["cond_or_uncond"]
        return tuple(role == CONDITIONAL for role in roles for _ in range(count // len(roles)))

    def copy(self) -> IdentityNetUnit:
        unit = IdentityNetUnit(self.sampling, self.size, self.patcher)
        self.copy_to(unit)
        return unit


def _rescale_by(part: float) -> Callable[[dict[str, Any]], Tensor]:
    """Forge's post-CFG function. A closure, since Forge copies whatever it is given deeply, and a closure holds nothing."""

    def rescale(args: dict[str, Any]) -> Tensor:
        return rescaled_denoised(args["input"], args["sigma"], args["denoised"], args["cond_denoised"], part)

    return rescale


class ForgeHost:
    """See `WebuiHost`."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._attached: nn.Module | None = None
        self._guidance: Guidance | None = None
        self._comment: Comment = lambda _: None
        self._step = Step(index=0, total=1)
        self._net_patcher: Any = None

    def model_folders(self) -> Sequence[Path]:
        models = Path(paths.models_path)
        own = [models / name for name in ("instantid", "ControlNet", "ipadapter", "insightface")]
        return list(dict.fromkeys([*own, Path(forge_shared.controlnet_dir)]))

    def place(self, net: IdentityNet) -> None:
        """Forge moves it to the GPU when it has made room, as it moves every unit's models, and back when others need room."""
        device, dtype = memory_management.get_torch_device(), self._patcher().model.computation_dtype
        if device.type == "cpu":
            place(net, device, dtype)
        else:
            net.to(dtype=dtype)

    def rest(self, net: IdentityNet) -> None:
        """Forge's own business."""

    def loaded_unet(self) -> nn.Module | None:
        objects = getattr(sd_models.model_data.sd_model, "forge_objects", None)  # Forge starts with a model that has none
        return None if objects is None else objects.unet.model.diffusion_model

    def attach(self, guidance: Guidance, comment: Comment) -> None:
        self.detach()
        unet = self._unet()
        sites = fitting_sites(unet, guidance)
        if self._patcher().model.predictor.prediction_type == FLOW:
            raise UnsupportedModel(
                "This checkpoint only looks like SDXL: it predicts a flow, where SDXL predicts noise or v. Choose an SDXL "
                "checkpoint."
            )
        sampling = TiledPass(guidance, sites, lambda call: unit.rows(len(call.x)), lambda: self._step)
        net, (height, width) = guidance.identitynet, guidance.people[0].keypoint_map.shape[2:]
        unit = IdentityNetUnit(sampling, (width, height), None if net is None else self._identitynet_patcher(net))
        with ExitStack() as undo:
            undo.callback(sampling.end)
            run_uncompiled(unet, undo)
            hook_attention(sites, sampling, undo)
            self._patch(unit, guidance.cfg_rescale, undo)
            self._undo = undo.pop_all()
        self._attached, self._guidance, self._comment = unet, guidance, comment

    def _patch(self, unit: IdentityNetUnit, rescale: float, undo: ExitStack) -> None:
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
        self._attached = self._guidance = None

    def model_changed(self) -> None:
        self._undo.close()
        self._attached = None

    def free(self) -> None:
        self._net_patcher = None
        memory_management.cleanup_models()
        memory_management.soft_empty_cache()

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        return {"cfg_denoiser": loudly(self._on_cfg_denoiser, self.refuse)}

    def _on_cfg_denoiser(self, params: Any) -> None:
        if self._guidance is None:
            return
        self._step = step_of(params.denoiser)
        if self._unet() is not self._attached:
            self._follow_model(self._guidance, params.x)

    def _follow_model(self, guidance: Guidance, x: Tensor) -> None:
        """A refiner has replaced the UNet in the middle of sampling, after Forge had prepared it."""
        from backend.sampling.sampling_function import sampling_prepare

        comment = self._comment
        try:
            self.attach(guidance, comment)
            sampling_prepare(self._patcher(), x)
        except UnsupportedModel as error:
            self._attached, self._guidance = self._unet(), None
            comment(f"left out from here on. {error}")

    @staticmethod
    def _patcher() -> Any:
        return shared.sd_model.forge_objects.unet

    def _unet(self) -> nn.Module:
        return self._patcher().model.diffusion_model

    def _identitynet_patcher(self, net: nn.Module) -> Any:
        """Forge's handle for loading IdentityNet to the GPU, one for as long as the network is the same."""
        if self._net_patcher is None or self._net_patcher.model is not net:
            devices = memory_management.get_torch_device(), memory_management.unet_offload_device()
            self._net_patcher = ModelPatcher(net, load_device=devices[0], offload_device=devices[1])
        return self._net_patcher
