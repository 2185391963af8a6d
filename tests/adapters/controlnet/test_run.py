"""A generation's controls: which network is used, windows, regions, tasks, infotext, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.controlnet.files import load
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.controlnet.run import ControlNetRun
from lib_instantid.adapters.instantid.files import load_identitynet
from lib_instantid.adapters.instantid.recognise import IDENTITYNET
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.conditioning.attachment import check_fit
from lib_instantid.errors import BadModelFile, InstantIDError, MissingModelFile, SettingsError, UnsupportedModel
from lib_instantid.webui.infotext import infotext_of, settings_from_infotext
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.weights.finding import find_models
from tests.controlnets import controlnet, sd15, sdxl, small, union

SIZE = (128, 96)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
MASK = Image.fromarray(np.pad(np.full((48, 128), 255, np.uint8), ((0, 48), (0, 0))))
Values = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ControlNets of both versions, by names that tell what they are for."""
    folder = tmp_path_factory.mktemp("models")
    controlnet(**sdxl()).save_pretrained(folder / "controlnet-canny-sdxl")
    controlnet(**small("mid")).save_pretrained(folder / "controlnet-depth-sdxl-small")
    union(num_control_type=8).save_pretrained(folder / "union")
    save_file(controlnet(**sd15(cross_attention_dim=96)).state_dict(), folder / "control_v11p_sd15_canny.safetensors")
    controlnet(**sdxl()).save_pretrained(folder / "InstantID" / "ControlNetModel")
    return folder


CANNY = "controlnet-canny-sdxl/diffusion_pytorch_model.safetensors"
DEPTH = "controlnet-depth-sdxl-small/diffusion_pytorch_model.safetensors"
UNION = "union/diffusion_pytorch_model.safetensors"
SD15 = "control_v11p_sd15_canny.safetensors"


def sdxl_unet(context: int = 64) -> UNet2DConditionModel:
    own = {name: value for name, value in sdxl().items() if name != "conditioning_embedding_out_channels"}
    ups = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    return UNet2DConditionModel(**{**own, "cross_attention_dim": context}, up_block_types=ups)


@pytest.fixture(scope="module")
def store(folder: Path) -> ModelStore:
    unet = sdxl_unet()
    return ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder, unet=lambda: unet)


def run(store: ModelStore, *controls: Values) -> ControlNetRun:
    given = [{"picture": PICTURE, **one} for one in controls]
    return ControlNetRun(settings_from_dict({"enabled": True, "controls": given}), store)


def problem(kind: type[InstantIDError], own: ControlNetRun) -> str:
    with pytest.raises(kind) as error:
        own.advice(SIZE)
    return str(error.value)


def test_files_are_told_apart_and_identitynet_is_no_control(folder: Path) -> None:
    found = find_models([folder], SYSTEM_FILES)
    assert {model.path.relative_to(folder).as_posix(): (model.role, model.description) for model in found} == {
        CANNY: (CONTROLNET, "a ControlNet for SDXL (canny)"),
        DEPTH: (CONTROLNET, "a small ControlNet for SDXL (depth)"),
        UNION: (CONTROLNET, "a ControlNet Union for SDXL"),
        SD15: (CONTROLNET, "a ControlNet for SD1.5 (canny)"),
        "InstantID/ControlNetModel/diffusion_pytorch_model.safetensors": (IDENTITYNET, "an IdentityNet"),
    }
    with pytest.raises(BadModelFile, match=r"this is a ControlNet for SDXL; expected a ControlNet of SD1.5 or SDXL"):
        load(folder / "InstantID" / "ControlNetModel")
    with pytest.raises(BadModelFile, match="expected InstantID's IdentityNet"):
        load_identitynet(folder / CANNY)


@pytest.mark.parametrize(
    ("control", "name"),
    [
        ({"preprocessor": "canny"}, CANNY),
        ({"map": "lines"}, CANNY),
        ({"map": "depth"}, DEPTH),
        ({"map": "pose"}, UNION),
        ({"preprocessor": "blur"}, UNION),
        ({"preprocessor": "canny", "model": UNION}, UNION),
    ],
)
def test_the_network_is_the_first_for_the_map_and_the_checkpoint(store: ModelStore, control: Values, name: str) -> None:
    own = run(store, control)
    assert own.advice(SIZE) == ()
    assert own.metadata(SIZE)["controls"][0]["model"] == name  # type: ignore[index]
    (part,) = own.conditioning(SIZE).parts
    assert part.network is store.network(CONTROLNET, name)  # type: ignore[union-attr]


def test_a_union_is_told_its_task(store: ModelStore) -> None:
    for kind, task in (("pose", 0), ("depth", 1), ("normals", 4), ("inpaint", 7)):
        (part,) = run(store, {"model": UNION, "map": kind}).conditioning(SIZE).parts
        assert part.task == task  # type: ignore[union-attr]
    assert "controls[1].map: missing" in problem(SettingsError, run(store, {"model": UNION}))


def test_a_union_of_six_tasks_takes_no_tiles(tmp_path: Path) -> None:
    union(num_control_type=6).save_pretrained(tmp_path / "union")
    unet = sdxl_unet()
    own = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path, unet=lambda: unet)
    assert f"controls[1].model: {UNION} takes no maps of tile" in problem(
        SettingsError, run(own, {"model": UNION, "map": "tile"})
    )
    assert "no ControlNet for tile is here" in problem(MissingModelFile, run(own, {"map": "tile"}))
    assert run(own, {"map": "segmentation"}).advice(SIZE) == ()


def test_window_mode_region_and_strength_reach_the_part(store: ModelStore) -> None:
    given = {"preprocessor": "canny", "start": 0.25, "end": 0.5, "control_mode": "control", "region": MASK, "strength": 1.5}
    (part,) = run(store, given).conditioning(SIZE).parts
    assert (part.window.start, part.window.end, part.mode) == (0.25, 0.5, "identity")  # type: ignore[union-attr]
    (context,) = part.contexts  # type: ignore[union-attr]
    assert (context.strength, context.tokens) == (1.5, None)
    assert context.region is not None
    assert context.region[:48].min() == 1
    assert context.region[48:].max() == 0


@pytest.mark.parametrize(("model", "marked"), [(SD15, -1.0), (UNION, 0.0)])
def test_what_is_repainted_is_marked_and_the_network_acts_everywhere(store: ModelStore, model: str, marked: float) -> None:
    (part,) = run(store, {"preprocessor": "inpaint", "model": model, "region": MASK}).conditioning(SIZE).parts
    assert (part.hint[:, :, :48] == marked).all()  # type: ignore[union-attr]
    assert part.hint[:, :, 48:].min() >= 0  # type: ignore[union-attr]
    assert part.contexts[0].region is None  # type: ignore[union-attr]


def test_a_hint_is_the_map_of_each_pass_own_size(store: ModelStore) -> None:
    own = run(store, {"preprocessor": "canny"})
    for size in (SIZE, (192, 144)):
        (part,) = own.conditioning(size).parts
        assert part.hint.shape == (1, 3, size[1], size[0])  # type: ignore[union-attr]
        assert own.control_maps(size)[0].shape == (size[1], size[0], 3)
    (part,) = own.conditioning(SIZE).parts
    drawn = torch.from_numpy(own.control_maps(SIZE)[0]).permute(2, 0, 1).float()
    assert torch.equal(part.hint[0] * 255, drawn)  # type: ignore[union-attr]


def test_strength_0_loads_nothing_and_adds_no_part(tmp_path: Path) -> None:
    empty = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    own = run(empty, {"preprocessor": "canny", "strength": 0.0})
    assert own.advice(SIZE) == ()
    assert own.conditioning(SIZE).parts == ()


def test_choices_that_cannot_be_made_are_refused_by_name(store: ModelStore, tmp_path: Path) -> None:
    assert f"controls[1].model: missing; 'as it is' does not tell what the map shows, and there are {CANNY}" in problem(
        SettingsError, run(store, {})
    )
    assert "controls[1].model: found 'x'" in problem(SettingsError, run(store, {"model": "x"}))
    other = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    found = problem(MissingModelFile, run(other, {"preprocessor": "canny"}))
    assert "ControlNet's model files are missing: ControlNet." in found


def test_a_checkpoint_for_which_none_is_there_is_refused(folder: Path, tmp_path: Path) -> None:
    unet = sdxl_unet(context=32)
    other = ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder, unet=lambda: unet)
    found = problem(SettingsError, run(other, {"preprocessor": "canny"}))
    assert "controls[1].model: no ControlNet is for the loaded checkpoint, whose text has 32 numbers" in found
    (tmp_path / "controlnet-canny").mkdir()
    only = ModelStore(lambda: [folder / "controlnet-depth-sdxl-small"], lambda: Keep.CPU, lambda: folder)
    assert "no ControlNet for pose is here" in problem(MissingModelFile, run(only, {"map": "pose"}))


@pytest.mark.parametrize(
    ("model", "context", "words"),
    [
        (
            SD15,
            64,
            f"takes a vector of 80 numbers besides the text, the ControlNet {SD15} one of 0",
        ),
        (CANNY, 32, "This checkpoint's text has 32 numbers for each token, the ControlNet controlnet-canny-sdxl"),
    ],
)
def test_a_named_network_for_another_checkpoint_is_refused(store: ModelStore, model: str, context: int, words: str) -> None:
    conditioning = run(store, {"model": model, "map": "lines"}).conditioning(SIZE)
    with pytest.raises(UnsupportedModel) as error:
        check_fit(sdxl_unet(context), conditioning)
    assert words in str(error.value)
    assert str(error.value).endswith("Choose a ControlNet for this checkpoint.")


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"picture": None}, "controls[1].picture: missing"),
        ({"start": 0.8, "end": 0.2}, "controls[1].start: 0.8 is after end, 0.2"),
        ({"low": 200, "high": 100}, "controls[1].low: 200 is above high, 100"),
        ({"preprocessor": "inpaint"}, "controls[1].region: missing; inpaint needs a mask"),
        ({"strength": 2.5}, "controls[1].strength: found 2.5, expected a number from 0.0 to 2.0"),
        ({"control_mode": "identity"}, "controls[1].control_mode: found 'identity', expected one of \"balanced\""),
    ],
)
def test_wrong_settings_are_refused_by_name(control: Values, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_from_dict({"controls": [{"picture": PICTURE, **control}]})
    assert words in str(error.value)


def test_at_most_four(store: ModelStore) -> None:
    with pytest.raises(SettingsError, match="controls: found 5, expected 1 to 4"):
        run(store, *[{"preprocessor": "canny"}] * 5)


def test_a_picture_that_cannot_be_read_is_refused_by_name(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    own = run(store, {"preprocessor": "canny", "picture": tmp_path / "broken.png"})
    assert "controls[1].picture" in problem(InstantIDError, own)


def test_the_infotext_has_everything_but_the_picture(store: ModelStore) -> None:
    settings = settings_from_dict({"controls": [{"picture": PICTURE, "preprocessor": "canny", "low": 50, "strength": 0.4}]})
    own = ControlNetRun(settings, store)
    text = infotext_of(settings, [own.recorded(SIZE)])
    restored, lost = settings_from_infotext(text, store)
    (entry,) = restored["controls"]
    assert entry.pop("picture") == f"#{lost[0].split()[1]}"
    assert restored == {"controls": [{"preprocessor": "canny", "low": 50, "strength": 0.4}]}
    assert len(lost) == 1
    assert lost[0].startswith("controls[1].picture: ")
