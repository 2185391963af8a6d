"""InstantID on the model objects of AUTOMATIC1111's WebUI 1.10."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import devices, paths, sd_models, sd_unet, shared
from modules.sd_samplers_timesteps import CFGDenoiserTimesteps
from torch import Tensor, nn

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.cfg import rescaled_denoised, rescaled_noise
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.unets import Rows, UNetInputs
from lib_instantid.errors import UnsupportedModel
from lib_instantid.hosts.webui_host import Comment, raise_once, step_of, stop_on_error
from lib_instantid.hosts.webui_preprocessors import drawing
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.networks.packing import place

CONTROLNET_PREPROCESSORS = "scripts.supported_preprocessor"
"""The module of sd-webui-controlnet's preprocessors, as its own files import it."""

CURE = "For depth, pose, normals, soft edges and lines install the extension sd-webui-controlnet."

MARK, TEXT_TOKENS = 1024.0, 77
"""While its units act, sd-webui-controlnet puts a token of this number, or its negative, before the text, whose tokens are a
multiple of 77. Source: its scripts/hook.py, `mark_prompt_context`."""


def unmarked(context: Tensor) -> Tensor:
    """The text (B, T, C) without sd-webui-controlnet's mark, if it has one."""
    marked = context.shape[1] % TEXT_TOKENS == 1 and bool((context[:, 0].abs() - MARK).abs().mean() < 1)
    return context[:, 1:] if marked else context


@dataclass(frozen=True, kw_only=True, eq=False)
class _Noisy:
    """The input of a step. x: (rows, C, h, w) noisy latents. sigma: (rows,). as_noise: whether the sampler predicts noise."""

    x: Tensor
    sigma: Tensor
    as_noise: bool


class A1111Host:
    """See `WebuiHost`. Conditional rows come first. The rows of a step may be divided among several UNet calls."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._attached: nn.Module | None = None
        self._conditioning: Conditioning | None = None
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

    def preprocessors(self) -> Preprocessors:
        """See `WebuiHost`: those of sd-webui-controlnet, whose modules the WebUI has imported if the extension is there."""
        extension: Any = sys.modules.get(CONTROLNET_PREPROCESSORS)
        if extension is None:
            return Preprocessors(cure=CURE)
        return Preprocessors(by_name=drawing(extension.Preprocessor.get_sorted_preprocessors(), lambda one: one.unload()))

    def place(self, net: ControlNet) -> None:
        place(net, devices.device, devices.dtype_unet)

    def rest(self, net: ControlNet) -> None:
        net.to("cpu")

    def loaded_unet(self) -> nn.Module | None:
        model = sd_models.model_data.sd_model
        return None if model is None else model.model.diffusion_model

    @staticmethod
    def _check_runs_blocks() -> None:
        """Raise UnsupportedModel if an SD Unet replaces the model. Called when sampling begins, because the WebUI activates the
        SD Unet only after the scripts' `process`."""
        if sd_unet.current_unet is not None:
            raise UnsupportedModel(
                f'The UNet "{sd_unet.current_unet.option.label}" is active, which runs no blocks that InstantID could act in. '
                'Choose SD Unet "None" in the settings, or turn InstantID off.'
            )

    def attach(self, conditioning: Conditioning, comment: Comment) -> None:
        self.detach()
        self._check_runs_blocks()
        unet = self._unet()
        self._undo.callback(attach(unet, conditioning, rows_of=self._rows_of, step=lambda: self._step, text_of=unmarked).detach)
        self._attached, self._conditioning, self._comment = unet, conditioning, comment

    def refuse(self, error: Exception) -> None:
        self.detach()
        self._undo.callback(raise_once(self._unet(), error).remove)

    def detach(self) -> None:
        self._undo.close()
        self._attached = self._conditioning = self._noisy = self._predicted = None

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
        return {name: stop_on_error(callback, self.refuse) for name, callback in own.items()}

    def _on_cfg_denoiser(self, params: Any) -> None:
        """Called at the beginning of a step. Takes its rows, conditional ones first."""
        if self._conditioning is None:
            return
        self._conditional, self._offset = params.text_cond.shape[0], 0
        self._step = step_of(params.denoiser)
        self._noisy = _Noisy(x=params.x, sigma=params.sigma, as_noise=isinstance(params.denoiser, CFGDenoiserTimesteps))
        if self._unet() is not self._attached:
            self._follow_model(self._conditioning)

    def _follow_model(self, conditioning: Conditioning) -> None:
        """Attach to the UNet of a refiner, which has replaced the old UNet and its hooks, or comment that it does not fit."""
        comment = self._comment
        try:
            self.attach(conditioning, comment)
        except UnsupportedModel as error:
            self._attached, self._conditioning = self._unet(), None
            comment(f"left out from here on. {error}")

    def _on_cfg_denoised(self, params: Any) -> None:
        """Keep the predictions of the conditional rows: denoised latents, or noise with samplers that count timesteps."""
        if self._conditioning is not None and self._conditioning.cfg_rescale:
            self._predicted = params.x[: self._conditional]

    def _on_cfg_after_cfg(self, params: Any) -> None:
        """Rescale the result of guidance. If prompts are joined by AND, their mean is the conditional prediction."""
        if self._conditioning is None or self._predicted is None or self._noisy is None:
            return
        batch, part = len(params.x), self._conditioning.cfg_rescale
        conditional = self._predicted.unflatten(0, (batch, -1)).mean(dim=1)
        if self._noisy.as_noise:
            params.x = rescaled_noise(params.x, conditional, part)
        else:
            x, sigma = self._noisy.x[-batch:], self._noisy.sigma[-batch:]
            params.x = rescaled_denoised(x, sigma, params.x, conditional, part)

    def _rows_of(self, inputs: UNetInputs) -> Rows:
        first, self._offset = self._offset, self._offset + len(inputs.x)
        return tuple(row < self._conditional for row in range(first, self._offset))

    @staticmethod
    def _unet() -> nn.Module:
        return shared.sd_model.model.diffusion_model
