"""Another implementation of InstantID on its own WebUI's UNet, from that WebUI's folder and in its Python environment.

The WebUI does not run: its UNet, and what acts on it in a step, are taken from its modules. diffusers must be installed beside
its own packages.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from benchmarks.contenders import Case, Contender, RunStep, name_of, prompts_name
from benchmarks.networks import Networks
from lib_instantid.networks.controlnet_names import to_diffusers_names

CONTROLNET = Path("extensions") / "sd-webui-controlnet"

SDXL = {
    "in_channels": 4,
    "out_channels": 4,
    "num_res_blocks": 2,
    "channel_mult": [1, 2, 4],
    "num_head_channels": 64,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "transformer_depth_middle": 10,
}
"""What an SDXL UNet is, by the names that both WebUIs' UNets take, but for `model_channels`."""


@dataclass(frozen=True, kw_only=True)
class Other:
    """unet: channels of the first level → the WebUI's UNet. prepare: loads the other implementation on IdentityNet's and the
    adapter's very weights, and answers with how a step with it is run; with False the adapter's unit alone."""

    name: str
    unet: Callable[[int], nn.Module]
    prepare: Callable[[Networks, bool], Callable[[Networks, Case], AbstractContextManager[RunStep]]]

    def contender(self, networks: Networks) -> Contender:
        """Its limit is the arithmetic of doing constant work once, and its noise prediction is compared with InstantID's."""
        exact = name_of(people=1)
        return Contender(name=self.name, run=self.prepare(networks, True), people=1, limit=exact, reference=exact)

    def prompt_contender(self, networks: Networks) -> Contender:
        """The adapter's unit alone, as with a picture as a prompt."""
        exact = prompts_name(1)
        run = self.prepare(networks, False)
        return Contender(name=f"{self.name}, image prompt", run=run, people=0, limit=exact, reference=exact)


def ldm_controlnet(networks: Networks) -> dict[str, Tensor]:
    """IdentityNet's weights by the names of ldm, which are those of the WebUI's UNet where the two are alike."""
    layers = [
        *(f"zero_convs.{i}.0" for i in range(9)),
        "middle_block_out.0",
        *(f"input_hint_block.{i}" for i in range(0, 16, 2)),
    ]
    names = [*networks.unet.state_dict(), *(f"{layer}.{name}" for layer in layers for name in ("weight", "bias"))]
    ldm_name = to_diffusers_names({name: name for name in names})
    return {ldm_name[name]: tensor for name, tensor in networks.controlnet.state_dict().items()}


def open_webui(folder: Path, on_cpu: bool) -> Other:
    """Import a WebUI's modules and tell what is in it. folder: of AUTOMATIC1111, with sd-webui-controlnet among its extensions,
    or of Forge. Ends the program where it is neither."""
    folder = folder.resolve()
    forge = (folder / "modules_forge").is_dir()
    if not forge and not (folder / CONTROLNET).is_dir():
        raise SystemExit(
            f"--webui {folder}: found neither modules_forge (Forge) nor {CONTROLNET} (AUTOMATIC1111) in this folder."
        )
    flags = ["--always-cpu"] if forge else ["--use-cpu", "all", "--no-half", "--precision", "full"]
    os.environ["IGNORE_CMD_ARGS_ERRORS"] = "1"
    sys.path.insert(0, str(folder))
    given, sys.argv = sys.argv, [sys.argv[0], "--skip-torch-cuda-test", *(flags if on_cpu else ())]
    try:
        return _forge(folder) if forge else _a1111(folder)
    finally:
        sys.argv = given


def _forge(folder: Path) -> Other:
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    sys.path += [str(folder / "repositories" / "huggingface_guess"), str(folder / "extensions-builtin" / "sd_forge_ipadapter")]
    from benchmarks.competitors import forge

    return Other(name="Forge's units", unet=forge.unet, prepare=forge.prepare)


def _a1111(folder: Path) -> Other:
    from modules import initialize

    initialize.imports()
    sys.path.insert(0, str(folder / CONTROLNET))
    from benchmarks.competitors import a1111

    return Other(name="sd-webui-controlnet's units", unet=a1111.unet, prepare=a1111.prepare)
