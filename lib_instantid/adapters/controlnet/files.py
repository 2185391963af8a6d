"""ControlNets' weight files: some that were published, and how to load any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.adapters.controlnet.recognise import CONTROLNET, recognise
from lib_instantid.weights.system_files import ReleasedFile, SystemFiles

if TYPE_CHECKING:
    from lib_instantid.networks.controlnet import ControlNet


def load(path: Path) -> ControlNet:
    """Read a ControlNet from a file or folder, in diffusers' or ldm's names. Raises MissingModelFile or BadModelFile."""
    from lib_instantid.weights.controlnets import load_controlnet  # torch: seconds to import
    from lib_instantid.weights.kinds import expect
    from lib_instantid.weights.reading import read_weights

    weights = read_weights(path)
    expected = "a ControlNet of SD1.5 or SDXL; one of SDXL must say in its name what it is for, such as canny"
    expect(weights, CONTROLNET, FILES, expected, f"controlnet {weights.path}")
    return load_controlnet(weights, "ControlNet", f"controlnet {path}")


def _released(repository: str, path: str, megabytes: int, licence: str) -> ReleasedFile:
    folder = "" if repository == "comfyanonymous/ControlNet-v1-1_fp16_safetensors" else repository.partition("/")[2]
    return ReleasedFile(
        role=CONTROLNET,
        repository=repository,
        path=path,
        subfolder=f"ControlNet/{folder}".rstrip("/"),
        megabytes=megabytes,
        licence=licence,
        sha256=None,
    )


FILES = SystemFiles(
    released=(
        _released(
            "comfyanonymous/ControlNet-v1-1_fp16_safetensors",
            "control_v11p_sd15_canny_fp16.safetensors",
            723,
            "OpenRAIL",
        ),
        _released("xinsir/controlnet-union-sdxl-1.0", "diffusion_pytorch_model_promax.safetensors", 2513, "Apache-2.0"),
    ),
    recognise=recognise,
    load={CONTROLNET: load},
    several=True,
    wanted="a ControlNet for your checkpoint, such as controlnet-union-sdxl-1.0 of xinsir for SDXL",
)
