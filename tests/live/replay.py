"""UNet calls that the probe recorded inside a WebUI, made again without it: by diffusers' UNet and the core alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.adapters.instantid.people import placed_people
from lib_instantid.adapters.instantid.prepare import Prepared, prepare
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.known import known_people
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.networks.controlnet_names import to_diffusers_names
from lib_instantid.weights.finding import RECOGNISER, find_models
from tests.conftest import relative_error
from tests.ldm_unet import ldm_name
from tests.live.webui import PHOTO, SIZE, WebUI

PREFIX = "model.diffusion_model."
TEXT_WIDTH = 1280
Guide = Callable[[dict[str, Any]], Prepared]


def webuis_unet(webui: WebUI) -> UNet2DConditionModel:
    """diffusers' UNet with the weights of the WebUI's checkpoint, as the WebUI keeps them."""
    title = webui.get("sdapi/v1/options")["sd_model_checkpoint"]
    listed = webui.get("sdapi/v1/sd-models")
    path = next(
        model["filename"] for model in listed if title in (model["title"], model["model_name"], Path(model["filename"]).name)
    )
    with safe_open(path, "pt") as file:
        weights = {name.removeprefix(PREFIX): file.get_tensor(name).float() for name in file.keys() if name.startswith(PREFIX)}  # noqa: SIM118
    model = UNet2DConditionModel(
        **_sdxl(weights["input_blocks.0.0.weight"].shape[0]),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    dtype = getattr(torch, webui.get("instantid-probe/state")["dtype"])
    model.load_state_dict({name: weights[ldm_name(name)].to(dtype).float() for name in model.state_dict()})
    return model.eval()


def _sdxl(width: int) -> dict[str, Any]:
    """diffusers' configuration of what has SDXL's shape."""
    channels = (width, 2 * width, 4 * width)
    return {
        "block_out_channels": channels,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": tuple(max(1, c // 64) for c in channels),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }


def controlnet_of(path: Path) -> ControlNetModel:
    """diffusers' ControlNet with the weights of a file in ldm's names."""
    weights = to_diffusers_names(load_file(path))
    model = ControlNetModel(**_sdxl(weights["conv_in.weight"].shape[0]))
    model.load_state_dict(weights)
    return model.float().eval()


def models_of(webui: WebUI) -> dict[str | None, Path]:
    """The first file of each role in the WebUI's folders."""
    folders = [webui.folder / "models" / name for name in ("ControlNet", "instantid", "ipadapter", "insightface")]
    first: dict[str | None, Path] = {}
    for model in find_models([folder for folder in folders if folder.is_dir()], SYSTEM_FILES):
        first.setdefault(model.role, model.path)
    return first


def core_of(webui: WebUI) -> Guide:
    """Settings → guidance for one picture, from the same files as the WebUI's, by the core alone."""
    first = models_of(webui)
    photos = Photos(open_analyser("builtin", first[RECOGNISER].parent))
    adapter, net = load_adapter(first[ADAPTER]).float(), load_identitynet(first[IDENTITYNET]).float()

    def make(values: dict[str, Any]) -> Prepared:
        settings = settings_from_dict({"enabled": True, "people": [{"photos": [base64.b64decode(PHOTO)]}], **values})
        people = placed_people(settings, known_people(settings.people, photos, Path("none")), (SIZE, SIZE), photos.face_of)
        return prepare(settings, [person.placed for person in people], (SIZE, SIZE), adapter, lambda: net)

    return make


@torch.no_grad()
def replay(
    unet: UNet2DConditionModel, call: dict[str, Any], guidance: Prepared | None, unit: ControlNetModel | None = None
) -> Tensor:
    """The recorded call again. `y` holds the pooled text, then the sizes, which diffusers wants as numbers.

    unit: a ControlNet that acts beside InstantID, with the text as its context, on the call's `hint` (1, 3, H, W) and
    with its `weight`.
    """
    count = len(call["x"])
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=torch.float32).repeat(count, 1)
    embedded = unet.add_time_proj(sizes.flatten()).reshape(count, -1)
    assert relative_error(embedded, call["y"][:, TEXT_WIDTH:]) < 1e-3, "the WebUI's size conditions are other ones"
    added = {"text_embeds": call["y"][:, :TEXT_WIDTH], "time_ids": sizes}
    given = (call["x"], call["timesteps"], call["context"])
    residuals = {}
    if unit is not None:
        names = "down_block_additional_residuals", "mid_block_additional_residual"
        made = unit(*given, call["hint"].repeat(count, 1, 1, 1), call["weight"], added_cond_kwargs=added, return_dict=False)
        residuals = dict(zip(names, made, strict=True))
    rows = tuple(call["conditional"])
    attached = (
        nullcontext()
        if guidance is None
        else attach(unet, guidance.conditioning, rows_of=lambda _: rows, step=lambda: Step(index=0, total=1))
    )
    with attached:
        return unet(*given, added_cond_kwargs=added, **residuals).sample
