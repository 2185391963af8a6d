"""A generation's image prompts: which files are used, several pictures, strengths, windows, regions, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.ip_adapter.networks import PictureAdapter
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.adapters.ip_adapter.run import IPAdapterRun
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.adapters.tower_files import ENCODER
from lib_instantid.adapters.towers import PictureEncoder
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import AttentionPart
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import BadModelFile, InstantIDError, MissingModelFile, PictureError, SettingsError, UnsupportedModel
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.webui.infotext import infotext_of, settings_from_infotext
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.weights.finding import find_models
from tests.conftest import relative_error
from tests.encoders.face.scenes import as_png, squares
from tests.parity.prompts import HERE, PromptFixture, call, read_prompt_fixture, run_of, tokens_of, write_adapter, write_encoder

SIZE = (128, 192)
Values = dict[str, Any]


@pytest.fixture(scope="module")
def fixture() -> PromptFixture:
    return read_prompt_fixture(HERE)


@pytest.fixture(scope="module")
def folder(fixture: PromptFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files: two IP-Adapters of either kind for SD1.5's shape, and the tower."""
    folder = tmp_path_factory.mktemp("models")
    write_encoder(fixture, folder / "image_encoder")
    for kind in ("plain", "plus", "full"):
        write_adapter(fixture, kind, "sd15", folder / f"{kind}.bin")
    return folder


@pytest.fixture
def store(folder: Path) -> ModelStore:
    return ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder)


def picture(seed: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def run(store: ModelStore, *prompts: Values) -> IPAdapterRun:
    settings = settings_from_dict({"enabled": True, "image_prompts": [{"model": "plus.bin", **one} for one in prompts]})
    return IPAdapterRun(settings, store)


def tokens(store: ModelStore, **prompt: Any) -> Tensor:
    return tokens_of(run(store, prompt)).tokens


def test_every_file_is_told_by_its_content(folder: Path) -> None:
    found = {model.path.name: (model.role, model.description) for model in find_models([folder], SYSTEM_FILES)}
    assert found["plain.bin"] == (IP_ADAPTER, "a plain IP-Adapter")
    assert found["plus.bin"][0] == found["full.bin"][0] == IP_ADAPTER
    assert found["model.safetensors"] == (ENCODER, "a CLIP vision tower (of width 64)")


@pytest.mark.parametrize("kind", ["plain", "plus", "full"])
def test_several_pictures_stand_side_by_side(store: ModelStore, kind: str) -> None:
    one, two = (tokens(store, pictures=[picture(i)], model=f"{kind}.bin") for i in (1, 2))
    both = tokens(store, pictures=[picture(1), picture(2)], model=f"{kind}.bin")
    assert relative_error(both, torch.cat([one, two], dim=1)) < 1e-6


def test_the_mean_of_several_pictures_is_of_what_is_seen(store: ModelStore, folder: Path) -> None:
    encoder, adapter = PictureEncoder(folder / "image_encoder" / "model.safetensors"), PictureAdapter(folder / "plus.bin")
    from lib_instantid.encoders.vision import pixels_of

    seen = [encoder.load().see(pixels_of(np.asarray(picture(i)), 224, "centre")).hidden for i in (1, 2)]
    expected = adapter.load().image_proj((seen[0] + seen[1]) / 2)
    found = tokens(store, pictures=[picture(1), picture(2)], combine="mean")
    assert found.shape[1] == 16
    assert relative_error(found[1:], expected) < 1e-6


def test_the_whole_picture_and_the_middle_square_are_seen_differently(store: ModelStore) -> None:
    wide = picture(1, (200, 60))
    assert relative_error(tokens(store, pictures=[wide], crop="whole picture"), tokens(store, pictures=[wide])) > 0.01


def test_the_face_is_cut_out(
    store: ModelStore, host: DiffusersHost, monkeypatch: pytest.MonkeyPatch, decoded: list[bytes]
) -> None:
    photo = Image.fromarray(squares(300, 200, [(190, 60, 70)]))
    photos: Photos = host.sources.analyser
    monkeypatch.setattr(ModelStore, "analyser", property(lambda _: photos))
    own = run(store, {"pictures": [as_png(np.asarray(photo))], "crop": "face"})
    assert own.advice(SIZE) == ()
    (seen,) = own._pictures[0]
    assert len(decoded) == 1
    x1, y1, x2, y2 = photos.face_of(photo, "largest", None, "photo").face.box
    assert seen.picture.shape[0] < 200 * 0.8
    assert seen.picture.shape[0] == pytest.approx(1.6 * max(x2 - x1, y2 - y1), abs=2)
    middle = np.asarray(photo)[round((y1 + y2) / 2), round((x1 + x2) / 2)]
    assert (seen.picture[seen.picture.shape[0] // 2, seen.picture.shape[1] // 2] == middle).all()


def test_a_file_is_opened_once_for_a_picture_and_its_results_are_kept(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for kind in (PictureAdapter, PictureEncoder):
        load = kind.load
        monkeypatch.setattr(kind, "load", lambda self, load=load, kind=kind: opened.append(kind.__name__) or load(self))
    for _ in range(2):
        own = run(store, {"pictures": [picture(1), picture(2)]})
        own.conditioning(SIZE)
        own.conditioning((64, 64))
    assert opened == ["PictureEncoder", "PictureAdapter"]


def test_strength_0_loads_nothing_and_adds_no_part(tmp_path: Path) -> None:
    empty = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    own = run(empty, {"pictures": [picture(1)], "strength": 0.0})
    assert own.advice(SIZE) == ()
    assert own.conditioning(SIZE).parts == ()


def test_window_region_and_layers_reach_the_part(store: ModelStore) -> None:
    mask = Image.fromarray(np.pad(np.full((96, 128), 255, np.uint8), ((0, 96), (0, 0))))
    given = {"pictures": [picture(1)], "start": 0.25, "end": 0.5, "region": mask, "layers": "style"}
    (part,) = run(store, given).conditioning(SIZE).parts
    assert isinstance(part, AttentionPart)
    assert (part.window.start, part.window.end) == (0.25, 0.5)
    assert part.region is not None
    assert part.region.shape == (192, 128)
    assert part.region[:90].min() == 1
    assert part.region[100:].max() == 0
    assert callable(part.strength)


def test_two_prompts_add_up(fixture: PromptFixture, store: ModelStore) -> None:
    """Their attentions are added, each at its strength, so at the cross-attentions themselves the sum is linear."""
    unet = fixture.unets["sd15"]
    one, two = {"pictures": [picture(1)], "strength": 0.5}, {"pictures": [picture(1)], "strength": 0.3}
    step = lambda: Step(index=0, total=1)  # noqa: E731
    with attach(unet, run(store, one, two).conditioning(SIZE), rows_of=lambda _: (False, True), step=step):
        found = call(fixture, "sd15", unet)
    with attach(unet, run(store, {**one, "strength": 0.8}).conditioning(SIZE), rows_of=lambda _: (False, True), step=step):
        expected = call(fixture, "sd15", unet)
    assert relative_error(found, expected) < 1e-5


def test_of_several_the_first_that_fits_the_checkpoint_is_used(fixture: PromptFixture, folder: Path) -> None:
    unet = fixture.unets["sd15"]
    store = ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder, unet=lambda: unet)
    own = run(store, {"pictures": [picture(1)], "model": None})
    own.advice(SIZE)
    assert own.prepared[0].misfit.startswith("the IP-Adapter full.bin is for a UNet")


def other_width(folder: Path, name: str, change: dict[str, tuple[int, ...]]) -> Path:
    state = torch.load(folder / "plus.bin", weights_only=True)
    flat = {f"{part}.{name}": tensor for part, own in state.items() for name, tensor in own.items()}
    shapes = {**{key: tuple(tensor.shape) for key, tensor in flat.items()}, **change}
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, folder / name)
    return folder / name


def problem(kind: type[InstantIDError], own: IPAdapterRun) -> str:
    with pytest.raises(kind) as error:
        own.advice(SIZE)
    return str(error.value)


def test_a_missing_tower_is_named_with_the_one_to_get(fixture: PromptFixture, tmp_path: Path) -> None:
    write_adapter(fixture, "plus", "sd15", tmp_path / "plus.bin")
    store = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    assert "image encoder" in problem(MissingModelFile, run(store, {"pictures": [picture(1)]}))
    shapes = {"image_proj.proj_in.weight": (128, 1280)}
    write_encoder(fixture, tmp_path / "image_encoder")
    other_width(tmp_path, "wide.safetensors", shapes)
    store = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    said = problem(MissingModelFile, run(store, {"pictures": [picture(1)], "model": "wide.safetensors"}))
    assert said.startswith("image_prompts[1].model: wide.safetensors takes features of 1280 numbers")
    assert "ViT-H" in said


def test_no_adapter_for_the_checkpoint_is_said_before_sampling(folder: Path) -> None:
    class Wide(torch.nn.Module):
        """Cross-attention with another context."""

        def __init__(self) -> None:
            super().__init__()
            block = torch.nn.Module()
            block.attn2 = torch.nn.Module()
            block.attn2.to_k = torch.nn.Linear(2048, 8)
            self.down_blocks = torch.nn.ModuleDict({"x": block})

    store = ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder, unet=Wide)
    said = problem(SettingsError, run(store, {"pictures": [picture(1)], "model": None}))
    assert said.startswith("image_prompts[1].model: no IP-Adapter is for the loaded checkpoint, whose text has 2048 numbers")


def test_an_adapter_of_another_checkpoint_is_refused_by_name_when_it_is_attached(
    fixture: PromptFixture, store: ModelStore
) -> None:
    conditioning = run(store, {"pictures": [picture(1)]}).conditioning(SIZE)
    with pytest.raises(UnsupportedModel, match=r"the IP-Adapter plus\.bin is for a UNet with a context of 128 numbers"):
        attach(fixture.unets["sdxl"], conditioning, rows_of=lambda _: (False, True), step=lambda: Step(index=0, total=1))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pictures": []}, r"image_prompts\[1\]\.pictures: found 0, expected 1 to 8"),
        ({"pictures": ["a.png"], "strength": 2.0}, r"image_prompts\[1\]\.strength: found 2\.0"),
        ({"pictures": ["a.png"], "start": 0.6, "end": 0.5}, r"image_prompts\[1\]\.start: 0\.6 is after end"),
        ({"pictures": ["a.png"], "layers": "colour"}, r"image_prompts\[1\]\.layers: found 'colour'"),
    ],
)
def test_wrong_values_are_refused_by_name(values: Values, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings_from_dict({"enabled": True, "image_prompts": [values]})


def test_a_bad_picture_a_black_mask_and_a_wrong_file_are_named(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert problem(PictureError, run(store, {"pictures": [tmp_path / "a.png"]})).startswith("image_prompts[1].pictures[1]: ")
    mask = Image.fromarray(np.zeros((8, 8), np.uint8))
    said = problem(SettingsError, run(store, {"pictures": [picture(1)], "region": mask}))
    assert said.startswith("image_prompts[1].region: the mask is all black")
    with pytest.raises(BadModelFile, match="this is no IP-Adapter"):
        PictureAdapter(folder / "image_encoder" / "model.safetensors")


def test_an_infotext_gives_the_settings_back_without_the_pictures(store: ModelStore) -> None:
    own = run(store, {"pictures": [picture(1)], "strength": 0.75, "layers": "style", "crop": "whole picture"})
    settings = own._settings
    text = infotext_of(settings, [own.recorded(SIZE)])
    restored, lost = settings_from_infotext(text, store)
    (entry,) = restored["image_prompts"]
    assert entry.pop("pictures") == [f"#{lost[0].split()[1]}"]
    assert restored == {"image_prompts": [{"model": "plus.bin", "strength": 0.75, "layers": "style", "crop": "whole picture"}]}
    assert [sentence.partition(":")[0] for sentence in lost] == ["image_prompts[1].pictures"]


def test_the_parity_fixtures_run_is_one_of_these(fixture: PromptFixture, folder: Path) -> None:
    encoder, adapter = PictureEncoder(folder / "image_encoder" / "model.safetensors"), PictureAdapter(folder / "plus.bin")
    assert relative_error(tokens_of(run_of(fixture, adapter, encoder)).tokens, fixture.io["plus-sd15.tokens"]) < 1e-5
