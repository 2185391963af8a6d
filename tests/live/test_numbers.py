"""The same numbers as the core: UNet calls recorded inside the WebUI, made again by a diffusers UNet with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor

from lib_instantid.face.analyser import open_analyser
from lib_instantid.guidance.attachment import attach
from lib_instantid.guidance.guidance import Guidance, make_guidance
from lib_instantid.guidance.people import resolve_people
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.settings import settings_from_dict
from lib_instantid.hosts.model_files import Role, find_models
from lib_instantid.nets.adapter import load_adapter
from lib_instantid.nets.identitynet import load_identitynet
from tests.conftest import relative_error
from tests.ldm_unet import ldm_name
from tests.live.test_rows import LONG
from tests.live.webui import PHOTO, SIZE, WebUI

PREFIX = "model.diffusion_model."
TOLERANCE = 1e-4
TEXT_WIDTH = 1280
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "face": ({}, {}),
    "everywhere": ({"face_region": "everywhere"}, {}),
    "prompt mode": ({"face_region": "everywhere", "control_mode": "prompt"}, {}),
    "identity mode": ({"face_region": "everywhere", "control_mode": "identity"}, {}),
    "noise": ({"face_region": "everywhere", "negative_noise": 0.5}, {}),
    "AND": ({"face_region": "everywhere"}, {"prompt": "a cat AND a dog :0.7"}),
    "batch": ({"face_region": "everywhere"}, {"batch_size": 2}),
    "long negative": ({"face_region": "everywhere"}, {"negative_prompt": LONG}),
    "CFG 1": ({"face_region": "everywhere"}, {"cfg_scale": 1.0}),
}


@pytest.fixture(scope="module")
def unet(webui: WebUI) -> UNet2DConditionModel:
    """diffusers' UNet with the weights of the WebUI's checkpoint."""
    title = webui.get("sdapi/v1/options")["sd_model_checkpoint"]
    listed = webui.get("sdapi/v1/sd-models")
    path = next(
        model["filename"] for model in listed if title in (model["title"], model["model_name"], Path(model["filename"]).name)
    )
    with safe_open(path, "pt") as file:
        weights = {name.removeprefix(PREFIX): file.get_tensor(name).float() for name in file.keys() if name.startswith(PREFIX)}  # noqa: SIM118
    width = weights["input_blocks.0.0.weight"].shape[0]
    channels = (width, 2 * width, 4 * width)
    model = UNet2DConditionModel(
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=tuple(max(1, c // 64) for c in channels),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    model.load_state_dict({name: weights[ldm_name(name)] for name in model.state_dict()})
    return model.eval()


@pytest.fixture(scope="module")
def guide(webui: WebUI) -> Any:
    """Guidance from the same files as the WebUI's, by the core alone."""
    folders = [webui.folder / "models" / name for name in ("ControlNet", "instantid", "ipadapter", "insightface")]
    first: dict[Role | None, Path] = {}
    for model in find_models([folder for folder in folders if folder.is_dir()]):
        first.setdefault(model.role, model.path)
    analyser = open_analyser("builtin", first[Role.RECOGNISER].parent)
    adapter, net = load_adapter(first[Role.ADAPTER]).float(), load_identitynet(first[Role.IDENTITYNET]).float()

    def make(values: dict[str, Any]) -> Guidance:
        import base64

        settings = settings_from_dict({"enabled": True, "people": [{"photos": [base64.b64decode(PHOTO)]}], **values})
        people = resolve_people(settings, (SIZE, SIZE), analyser, Path("none"))
        return make_guidance(settings, [person.placed for person in people], (SIZE, SIZE), adapter, net)

    return make


@torch.no_grad()
def replay(unet: UNet2DConditionModel, call: dict[str, Any], guidance: Guidance | None) -> Tensor:
    """The recorded call again. `y` holds the pooled text, then the sizes, which diffusers wants as numbers."""
    count = len(call["x"])
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=torch.float32).repeat(count, 1)
    embedded = unet.add_time_proj(sizes.flatten()).reshape(count, -1)
    assert relative_error(embedded, call["y"][:, TEXT_WIDTH:]) < 1e-3, "the WebUI's size conditions are other ones"
    added = {"text_embeds": call["y"][:, :TEXT_WIDTH], "time_ids": sizes}
    rows = tuple(call["conditional"])
    attached = (
        nullcontext()
        if guidance is None
        else attach(unet, guidance, rows_of=lambda _: rows, step=lambda: Step(index=0, total=1))
    )
    with attached:
        return unet(call["x"], call["timesteps"], call["context"], added_cond_kwargs=added).sample


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "calls.pt"
    yield path
    path.unlink(missing_ok=True)


def test_without_instantid_the_replay_is_the_webuis_call(webui: WebUI, unet: UNet2DConditionModel, record: Path) -> None:
    """That the comparison means something: the two UNets agree."""
    webui.plain(probe={"record": str(record)})
    for call in torch.load(record):
        assert relative_error(replay(unet, call, None), call["output"]) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_each_unet_call_has_the_cores_numbers(
    webui: WebUI, unet: UNet2DConditionModel, guide: Any, record: Path, name: str
) -> None:
    settings, request = CASES[name]
    webui.guided(settings, probe={"record": str(record)}, **request)
    guidance, calls = guide(settings), torch.load(record)
    assert len(calls) >= 3
    for call in calls:
        expected = replay(unet, call, guidance)
        assert relative_error(call["output"], expected) < TOLERANCE
        assert relative_error(replay(unet, call, None), expected) > 50 * TOLERANCE
