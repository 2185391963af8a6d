"""Small stand-ins for the two WebUIs' contracts with an extension: just the objects that hosts/a1111 and hosts/forge touch.

Behaviour as read in A1111 1.10.1 (modules/sd_samplers_cfg_denoiser.py) and Forge dfdcbab6 (backend/sampling, backend/patcher);
tests/live runs the same properties in the real ones.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor, nn

from tests.ldm_unet import LdmUNet


@contextmanager
def installed(modules: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Python modules of these names and contents, for as long as the context lasts."""
    before = dict(sys.modules)
    for name, content in modules.items():
        module = ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        vars(module).update(content)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.startswith(("modules", "backend", "lib_instantid.hosts.a1111", "lib_instantid.hosts.forge")):
                del sys.modules[name]


@dataclass
class Rows:
    """What a denoising step gets: text and pooled rows for conditional and unconditional prompts, by row of the inputs."""

    latents: Tensor
    context: Tensor
    vector: Tensor
    sigma: float = 2.0


@dataclass
class Steps:
    """The denoiser as callbacks see it."""

    step: int = 0
    total_steps: int = 4


class TimestepSteps(Steps):
    """That of the samplers which count timesteps, whose predictions are noise (A1111)."""


@dataclass
class A1111:
    """`apply_model` is one UNet call on latents; rows are conditional first, in one call or several."""

    unet: nn.Module
    folder: Path
    callbacks: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    denoiser: Steps = field(default_factory=Steps)

    def __post_init__(self) -> None:
        self.sd_unet = SimpleNamespace(current_unet=None)
        self.devices = SimpleNamespace(device=torch.device("cpu"), dtype_unet=torch.float32)
        self.shared = SimpleNamespace(sd_model=SimpleNamespace(model=SimpleNamespace(diffusion_model=self.unet)))
        self.sd_models = SimpleNamespace(model_data=self.shared)  # both have the one sd_model

    def modules(self) -> dict[str, dict[str, Any]]:
        return {
            "modules": {
                "devices": self.devices,
                "paths": SimpleNamespace(models_path=str(self.folder), extensions_dir=str(self.folder / "extensions")),
                "sd_models": self.sd_models,
                "sd_unet": self.sd_unet,
                "shared": self.shared,
            },
            "modules.sd_samplers_timesteps": {"CFGDenoiserTimesteps": TimestepSteps},
        }

    @torch.no_grad()
    def step(self, rows: Rows, cond: list[int], uncond: list[int], mode: str = "joined") -> dict[int, Tensor]:
        """One step of the CFG denoiser → noise by row. mode: joined, separate, unequal (prompt lengths), or skipped uncond."""
        order = [*cond, *uncond]
        text = rows.context[cond]
        params = SimpleNamespace(
            x=rows.latents[order], sigma=torch.full((len(order),), rows.sigma), text_cond=text, denoiser=self.denoiser
        )
        self.callbacks["cfg_denoiser"](params)
        calls = {
            "joined": [order],
            "separate": [[row] for row in order],
            "unequal": [cond, uncond],
            "skipped": [cond],
        }[mode]
        noise = {row: out for call in calls for row, out in zip(call, self._call(rows, call), strict=True)}
        self.denoiser.step += 1
        return noise

    def _call(self, rows: Rows, which: list[int]) -> Tensor:
        unet = self.shared.sd_model.model.diffusion_model
        timesteps = torch.full((len(which),), 601.0)
        return unet(rows.latents[which], timesteps=timesteps, context=rows.context[which], y=rows.vector[which])


class ForgeUNet(LdmUNet):
    """Forge's UNet takes residuals as `control`: lists that are consumed from their ends."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, control: Any = None, **_: Any) -> Tensor:
        control = control or {"input": [], "middle": [], "output": []}
        contexts = [context] * 16
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels)) + self.label_emb(y)
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, emb, contexts)
            skips.append(h)
        h = self.middle_block(h, emb, contexts)
        if control["middle"]:
            h = h + control["middle"].pop()
        for block in self.output_blocks:
            skip = skips.pop()
            if control["output"]:
                skip = skip + control["output"].pop()
            h = block(torch.cat([h, skip], dim=1), emb, contexts)
        return self.out(h)


class ControlBase:
    """A link in Forge's chain of control units."""

    def __init__(self) -> None:
        self.previous_controlnet: ControlBase | None = None
        self.transformer_options: dict[str, Any] = {}
        self.strength = 1.0
        self.cond_hint_original: Tensor | None = None
        self.cond_hint: Tensor | None = None

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        if self.previous_controlnet is not None:
            self.previous_controlnet.pre_run(model, percent_to_timestep_function)

    def get_models(self) -> list[Any]:
        return [] if self.previous_controlnet is None else self.previous_controlnet.get_models()

    def copy_to(self, other: ControlBase) -> None:
        other.strength = self.strength

    def control_merge(self, _: None, outputs: list[Tensor], previous: Any, dtype: torch.dtype) -> dict[str, list[Tensor]]:
        """In place, as Forge does it: what a unit hands over is changed."""
        for out in outputs:
            out *= self.strength
        *down, middle = (out.to(dtype) for out in outputs)
        merged = {"input": [], "middle": [middle], "output": list(down)}
        for part, values in (previous or {}).items():
            for own, other in zip(merged[part], values, strict=False):
                own += other
            merged[part] += values[len(merged[part]) :]
        return merged


class UnetPatcher:
    """A view of the UNet with its own chain of units."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.controlnet_linked_list: ControlBase | None = None
        self.model_options: dict[str, Any] = {}

    def clone(self) -> UnetPatcher:
        other = UnetPatcher(self.model)
        other.controlnet_linked_list = self.controlnet_linked_list
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def add_patched_controlnet(self, unit: ControlBase) -> None:
        unit.previous_controlnet = self.controlnet_linked_list
        self.controlnet_linked_list = unit

    def set_model_sampler_post_cfg_function(self, function: Callable[[dict[str, Any]], Tensor]) -> None:
        self.model_options.setdefault("sampler_post_cfg_function", []).append(function)


@dataclass
class Forge:
    """Rows come unconditional first; `cond_or_uncond` names the role of each chunk, 0 conditional.

    device: where it computes. loaded: the units' models that it brought there for the sampling under way.
    """

    unet: nn.Module
    folder: Path
    callbacks: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    denoiser: Steps = field(default_factory=Steps)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    loaded: list[nn.Module] = field(default_factory=list)

    def __post_init__(self) -> None:
        predictor = SimpleNamespace(
            calculate_input=lambda _, x: x, timestep=lambda t: torch.full_like(t, 601.0), prediction_type="epsilon"
        )
        model = SimpleNamespace(diffusion_model=self.unet, predictor=predictor, computation_dtype=torch.float32)
        self.shared = SimpleNamespace(sd_model=SimpleNamespace(forge_objects=SimpleNamespace(unet=UnetPatcher(model))))

    @property
    def patcher(self) -> UnetPatcher:
        return self.shared.sd_model.forge_objects.unet

    def modules(self) -> dict[str, dict[str, Any]]:
        memory = SimpleNamespace(get_torch_device=lambda: self.device, unet_offload_device=lambda: torch.device("cpu"))
        patcher = lambda net, load_device, offload_device: SimpleNamespace(model=net)  # noqa: ARG005, E731
        return {
            "backend": {"memory_management": memory},
            "backend.patcher": {},
            "backend.patcher.base": {"ModelPatcher": patcher},
            "backend.patcher.controlnet": {"ControlBase": ControlBase},
            "backend.sampling": {},
            "backend.sampling.sampling_function": {"sampling_prepare": self.prepare},
            "modules": {
                "paths": SimpleNamespace(models_path=str(self.folder)),
                "sd_models": SimpleNamespace(model_data=self.shared),
                "shared": self.shared,
            },
            "modules_forge": {"shared": SimpleNamespace(controlnet_dir=str(self.folder / "ControlNet"))},
        }

    def prepare(self, patcher: UnetPatcher, _: Tensor) -> None:
        if patcher.controlnet_linked_list is not None:
            self.loaded = [model.model for model in patcher.controlnet_linked_list.get_models()]
            patcher.controlnet_linked_list.pre_run(patcher.model, lambda percent: percent)

    @torch.no_grad()
    def step(self, rows: Rows, cond: list[int], uncond: list[int], mode: str = "joined") -> dict[int, Tensor]:
        """As `A1111.step`; a batch is cut into chunks of one row here."""
        if self.denoiser.step == 0:
            self.prepare(self.patcher, rows.latents)
        self.callbacks["cfg_denoiser"](SimpleNamespace(x=rows.latents[cond], denoiser=self.denoiser))
        calls = {
            "joined": [[*uncond, *cond]],
            "separate": [[row] for row in (*cond, *uncond)],
            "unequal": [cond, uncond],
            "skipped": [cond],
        }[mode]
        roles = {row: 0 if row in cond else 1 for row in (*cond, *uncond)}
        noise = {
            row: out
            for call in calls
            for row, out in zip(call, self._call(rows, call, [roles[row] for row in call]), strict=True)
        }
        self.denoiser.step += 1
        return noise

    @torch.no_grad()
    def tiled_step(self, rows: Rows, which: list[int], roles: list[int], tiles: list[tuple[int, int, int, int]]) -> Tensor:
        """MultiDiffusion's wrapper around the UNet: tiles (left, top, right, bottom, in latent cells) in one call, averaged."""
        if self.denoiser.step == 0:
            self.prepare(self.patcher, rows.latents)
        self.callbacks["cfg_denoiser"](SimpleNamespace(x=rows.latents[which], denoiser=self.denoiser))
        link = self.patcher.controlnet_linked_list
        while link is not None:
            hint = link.cond_hint_original
            assert hint is not None
            dtype = getattr(link, "manual_cast_dtype", None) or torch.float16
            hint = hint.to(dtype).expand(len(which), -1, -1, -1)
            link.cond_hint = torch.cat([hint[:, :, y1 * 8 : y2 * 8, x1 * 8 : x2 * 8] for x1, y1, x2, y2 in tiles])
            link = link.previous_controlnet
        cut = Rows(
            latents=torch.cat([rows.latents[which][:, :, y1:y2, x1:x2] for x1, y1, x2, y2 in tiles]),
            context=rows.context[which].repeat(len(tiles), 1, 1),
            vector=rows.vector[which].repeat(len(tiles), 1),
        )
        out = self._call(cut, list(range(len(cut.latents))), roles)
        total, count = torch.zeros_like(rows.latents[which]), torch.zeros_like(rows.latents[which])
        for part, (x1, y1, x2, y2) in zip(out.chunk(len(tiles)), tiles, strict=True):
            total[:, :, y1:y2, x1:x2] += part
            count[:, :, y1:y2, x1:x2] += 1
        return total / count

    def _call(self, rows: Rows, which: list[int], roles: list[int]) -> Tensor:
        sigmas, x = torch.full((len(which),), rows.sigma), rows.latents[which]
        options, unit = {"cond_or_uncond": roles, "sigmas": sigmas}, self.patcher.controlnet_linked_list
        cond = {"c_crossattn": rows.context[which], "y": rows.vector[which], "transformer_options": options}
        link = unit
        while link is not None:
            link.transformer_options, link = options, link.previous_controlnet
        control = None if unit is None else unit.get_control(x, sigmas, dict(cond), len(roles))  # type: ignore[attr-defined]
        unet, timesteps = self.patcher.model.diffusion_model, torch.full((len(which),), 601.0)
        return unet(x, timesteps, context=cond["c_crossattn"], y=cond["y"], control=control, transformer_options=options)
