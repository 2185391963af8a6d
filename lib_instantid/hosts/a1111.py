"""InstantID on the model objects of AUTOMATIC1111's WebUI 1.10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import devices, paths, sd_models, sd_unet, shared
from modules.sd_samplers_timesteps import CFGDenoiserTimesteps
from torch import Tensor, nn

from lib_instantid.errors import UnsupportedModel
from lib_instantid.guidance.attachment import attach
from lib_instantid.guidance.cfg import rescaled_denoised, rescaled_noise
from lib_instantid.guidance.guidance import Guidance
from lib_instantid.guidance.sampling import Rows
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.unets import Call
from lib_instantid.hosts.webui_host import Comment, loudly, raise_once, step_of
from lib_instantid.nets.identitynet import IdentityNet
from lib_instantid.nets.packing import place


@dataclass(frozen=True, kw_only=True, eq=False)
class _Noisy:
    """A step's input. x: (rows, C, h, w). sigma: (rows,). as_noise: whether the sampler's predictions are noise."""

    x: Tensor
    sigma: Tensor
    as_noise: bool


class A1111Host:
    """See `WebuiHost`. Rows come conditional first, in one call or several, in the order that `on_cfg_denoiser` sees."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._attached: nn.Module | None = None
        self._guidance: Guidance | None = None
        self._comment: Comment = lambda _: None
        self._conditional = 0
        self._offset = 0
        self._step = Step(index=0, total=1)
        self._noisy: _Noisy | None = None
        self._predicted: Tensor | None = None

    def model_folders(self) -> Sequence[Path]:
        models, extension = Path(paths.models_path), Path(paths.extensions_dir) / "sd-webui-controlnet"
        own = [models / name for name in ("instantid", "ControlNet", "ipadapter", "insightface")]
        return [*own, extension / "models", extension / "annotator" / "downloads" / "insightface"]

    def place(self, net: IdentityNet) -> None:
        place(net, devices.device, devices.dtype_unet)

    def rest(self, net: IdentityNet) -> None:
        net.to("cpu")

    def loaded_unet(self) -> nn.Module | None:
        model = sd_models.model_data.sd_model
        return None if model is None else model.model.diffusion_model

    @staticmethod
    def _check_runs_blocks() -> None:
        """Asked when sampling begins: the WebUI makes the chosen SD Unet active only after the scripts' `process`."""
        if sd_unet.current_unet is not None:
            raise UnsupportedModel(
                f'The UNet "{sd_unet.current_unet.option.label}" is active, which runs no blocks that InstantID could act in. '
                'Choose SD Unet "None" in the settings, or turn InstantID off.'
            )

    def attach(self, guidance: Guidance, comment: Comment) -> None:
        self.detach()
        self._check_runs_blocks()
        unet = self._unet()
        self._undo.callback(attach(unet, guidance, rows_of=self._rows_of, step=lambda: self._step).detach)
        self._attached, self._guidance, self._comment = unet, guidance, comment

    def refuse(self, error: Exception) -> None:
        self.detach()
        self._undo.callback(raise_once(self._unet(), error).remove)

    def detach(self) -> None:
        self._undo.close()
        self._attached = self._guidance = self._noisy = self._predicted = None

    def model_changed(self) -> None:
        self._undo.close()
        self._attached = None

    def free(self) -> None:
        devices.torch_gc()

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        own = {
            "cfg_denoiser": self._on_cfg_denoiser,
            "cfg_denoised": self._on_cfg_denoised,
            "cfg_after_cfg": self._on_cfg_after_cfg,
        }
        return {name: loudly(callback, self.refuse) for name, callback in own.items()}

    def _on_cfg_denoiser(self, params: Any) -> None:
        """A step begins: these are its rows, conditional ones first."""
        if self._guidance is None:
            return
        self._conditional, self._offset = params.text_cond.shape[0], 0
        self._step = step_of(params.denoiser)
        self._noisy = _Noisy(x=params.x, sigma=params.sigma, as_noise=isinstance(params.denoiser, CFGDenoiserTimesteps))
        if self._unet() is not self._attached:
            self._follow_model(self._guidance)

    def _follow_model(self, guidance: Guidance) -> None:
        """A refiner of another shape has replaced the UNet, and the hooks went with the old one."""
        comment = self._comment
        try:
            self.attach(guidance, comment)
        except UnsupportedModel as error:
            self._attached, self._guidance = self._unet(), None
            comment(f"left out from here on. {error}")

    def _on_cfg_denoised(self, params: Any) -> None:
        """Every row's prediction: denoised latents, or noise with the samplers that count timesteps."""
        if self._guidance is not None and self._guidance.cfg_rescale:
            self._predicted = params.x[: self._conditional]

    def _on_cfg_after_cfg(self, params: Any) -> None:
        """The guided prediction. Several prompts of a picture, joined by AND, count with their mean."""
        if self._guidance is None or self._predicted is None or self._noisy is None:
            return
        batch, part = len(params.x), self._guidance.cfg_rescale
        conditional = self._predicted.unflatten(0, (batch, -1)).mean(dim=1)
        if self._noisy.as_noise:
            params.x = rescaled_noise(params.x, conditional, part)
        else:
            x, sigma = self._noisy.x[-batch:], self._noisy.sigma[-batch:]
            params.x = rescaled_denoised(x, sigma, params.x, conditional, part)

    def _rows_of(self, call: Call) -> Rows:
        first, self._offset = self._offset, self._offset + len(call.x)
        return tuple(row < self._conditional for row in range(first, self._offset))

    @staticmethod
    def _unet() -> nn.Module:
        return shared.sd_model.model.diffusion_model
