"""A generation's people by FaceID: who acts, which face model and LoRA, versions, regions, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.faceid.looks import features_of
from lib_instantid.adapters.faceid.lora import read_lora
from lib_instantid.adapters.faceid.networks import FaceAdapter
from lib_instantid.adapters.faceid.recognise import FACE_RECOGNISER, FACEID_ADAPTER, RECOGNISER_FILE
from lib_instantid.adapters.faceid.run import FaceIDRun
from lib_instantid.adapters.runs import begin_runs
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.adapters.tower_files import ENCODER
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import AttentionPart, ControlPart, LoraPart
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.identity_files import save_identity
from lib_instantid.encoders.vision import pixels_of
from lib_instantid.errors import BadModelFile, InstantIDError, MissingModelFile, SettingsError, UnsupportedModel
from lib_instantid.hosts.stand_ins.face_models import write_face_models, write_recogniser
from lib_instantid.webui.infotext import infotext_of, settings_from_infotext
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.weights.finding import find_models
from tests.adapters.faceid.files import write_lora_beside
from tests.conftest import relative_error
from tests.encoders.face.scenes import as_png, squares
from tests.ldm_unet import ldm_unet_like
from tests.parity.faces import write_face_adapter
from tests.parity.prompts import HERE, PromptFixture, call, read_prompt_fixture, write_encoder

SIZE = (128, 192)
PHOTO = Image.fromarray(squares(300, 200, [(90, 60, 70)]))
OTHER = Image.fromarray(squares(300, 200, [(180, 90, 70)], (255, 40, 20)))
ANTELOPE = "faceid-antelopev2.bin"
Values = dict[str, Any]


@pytest.fixture(scope="module")
def fixture() -> PromptFixture:
    return read_prompt_fixture(HERE)


@pytest.fixture(scope="module")
def folder(fixture: PromptFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FaceID adapters for SD1.5's shape, antelopev2, buffalo_l's recogniser and the tower."""
    folder = tmp_path_factory.mktemp("models")
    write_encoder(fixture, folder / "image_encoder")
    names = {ANTELOPE: "faceid", "faceid.bin": "faceid", "faceid-plus.bin": "faceid-plus", "faceid-plusv2.bin": "faceid-plus"}
    for name, kind in {**names, "faceid-portrait.bin": "faceid-portrait", "mine.bin": "faceid-plus"}.items():
        write_face_adapter(fixture, kind, "sd15", folder / name)
    write_face_models(folder / "antelopev2")
    write_recogniser(folder / "buffalo_l" / RECOGNISER_FILE, seed=7)
    return folder


def store_of(folder: Path) -> ModelStore:
    return ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder)


@pytest.fixture(scope="module")
def store(folder: Path) -> ModelStore:
    return store_of(folder)


def run(store: ModelStore, *people: Values, **settings: Any) -> FaceIDRun:
    given = [{"photos": [PHOTO], "system": "FaceID", **one} for one in people]
    return FaceIDRun(settings_from_dict({"enabled": True, "faceid_model": ANTELOPE, "people": given, **settings}), store)


def parts(own: FaceIDRun) -> tuple[list[AttentionPart], list[LoraPart]]:
    found = own.conditioning(SIZE).parts
    return [part for part in found if isinstance(part, AttentionPart)], [part for part in found if isinstance(part, LoraPart)]


def told(own: FaceIDRun) -> tuple[str, ...]:
    """The advice, but for what is said of the small photos of these tests."""
    return tuple(sentence for sentence in own.advice(SIZE) if ".photos[" not in sentence)


def keys(own: FaceIDRun) -> torch.Tensor:
    """The keys of the first cross-attention, unconditional and conditional."""
    return parts(own)[0][0].keys_values[1].key


def test_every_file_is_told_by_its_content(folder: Path) -> None:
    found = {model.path.name: (model.role, model.description) for model in find_models([folder], SYSTEM_FILES)}
    assert found["faceid.bin"] == (FACEID_ADAPTER, "a FaceID IP-Adapter, with a LoRA")
    assert found["mine.bin"] == (FACEID_ADAPTER, "a FaceID Plus IP-Adapter, with a LoRA")
    assert found["faceid-portrait.bin"] == (FACEID_ADAPTER, "a FaceID Portrait IP-Adapter")
    assert found[RECOGNISER_FILE][0] == FACE_RECOGNISER


def test_the_checkpoint_decides_between_the_systems_where_a_person_names_none(folder: Path) -> None:
    def systems(store: ModelStore, **person: Any) -> list[str]:
        settings = settings_from_dict({"enabled": True, "people": [{"photos": [PHOTO], **person}]})
        return [type(own).__name__ for own in begin_runs(settings, store)]

    class OnSD15(ModelStore):
        context_size = 768  # type: ignore[assignment]

    on_sd15 = OnSD15(lambda: [folder], lambda: Keep.CPU, lambda: folder)
    assert systems(store_of(folder)) == systems(on_sd15, system="InstantID") == ["InstantIDRun"]
    assert systems(on_sd15) == systems(store_of(folder), system="FaceID") == ["FaceIDRun"]


def test_the_embedding_is_that_of_the_face_model_the_adapter_was_trained_with(store: ModelStore, folder: Path) -> None:
    face = store.analyser.face_of(PHOTO, "largest", None, "photo").face
    adapter = FaceAdapter(folder / ANTELOPE)
    expected = adapter.load().image_proj(normalize(torch.from_numpy(face.embedding)[None]))
    own = run(store, {})
    assert told(own) == ()
    assert relative_error(keys(own)[1:], adapter.load().ip_adapter["1"].to_k_ip(expected)) < 1e-6
    assert relative_error(keys(run(store, {}, faceid_model="faceid.bin"))[1:], keys(own)[1:]) > 0.1


def test_zeros_and_the_black_picture_are_unconditional(store: ModelStore, folder: Path) -> None:
    layer = FaceAdapter(folder / ANTELOPE).load()
    expected = layer.ip_adapter["1"].to_k_ip(layer.image_proj(torch.zeros(1, 512)))
    assert relative_error(keys(run(store, {}))[:1], expected) < 1e-6


def test_several_photos_are_one_mean_but_stand_side_by_side_for_portrait(store: ModelStore) -> None:
    one, two = (run(store, {"photos": [photo]}, faceid_model="faceid-portrait.bin") for photo in (PHOTO, OTHER))
    both = run(store, {"photos": [PHOTO, OTHER]}, faceid_model="faceid-portrait.bin")
    assert relative_error(keys(both), torch.cat([keys(one), keys(two)], dim=1)) < 1e-6
    mean = run(store, {"photos": [PHOTO, OTHER]})
    faces = [store.analyser.face_of(photo, "largest", None, "photo").face for photo in (PHOTO, OTHER)]
    layer = store.network(FACEID_ADAPTER, ANTELOPE).load()
    token = layer.image_proj(normalize(torch.from_numpy(combine(faces).embedding)[None]))
    assert relative_error(keys(mean)[1:], layer.ip_adapter["1"].to_k_ip(token)) < 1e-6


def test_the_name_tells_the_version_of_plus_and_where_it_does_not_the_setting_does(store: ModelStore) -> None:
    first, second = (run(store, {}, faceid_model=f"faceid-{name}.bin") for name in ("plus", "plusv2"))
    assert told(first) == told(second) == ()
    assert relative_error(keys(first), keys(second)) > 0.01
    unsaid = run(store, {}, faceid_model="mine.bin")
    assert told(unsaid) == (
        "faceid_version: mine.bin does not say which it is, so it is taken for PlusV2; say so if it is Plus.",
    )
    assert torch.equal(keys(unsaid), keys(second))
    said = run(store, {}, faceid_model="mine.bin", faceid_version="Plus")
    assert told(said) == ()
    assert torch.equal(keys(said), keys(first))
    without, less = (run(store, {"structure": s}, faceid_model="faceid-plusv2.bin") for s in (0.0, 0.5))
    assert relative_error(keys(less) - keys(without), (keys(second) - keys(without)) / 2) < 1e-4


def test_plus_sees_the_aligned_face(store: ModelStore) -> None:
    """insightface's norm_crop at 224 px, of which the official code gives the tower the whole."""
    photo = store.analyser.face_of(PHOTO, "largest", None, "photo")
    crop = align(np.asarray(PHOTO), photo.face.keypoints, 224)
    tower = store.network(ENCODER, None)
    assert torch.equal(features_of([photo], tower)[0], tower.load().see(pixels_of(crop, 224, "centre")).hidden)


def test_a_photo_is_decoded_once_for_detector_recogniser_and_tower(store: ModelStore, decoded: list[bytes]) -> None:
    photos = [as_png(squares(300, 200, [(x, 60, 70)])) for x in (50, 130)]  # which nothing has seen
    run(store, {"photos": photos}, faceid_model="faceid-plusv2.bin").conditioning(SIZE)
    assert decoded == photos


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
@pytest.mark.parametrize("names", ["diffusers", "ldm"])
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_a_lora_beside_the_adapter_is_the_one_in_it(
    fixture: PromptFixture, tmp_path: Path, base: str, names: str, alpha: float | None
) -> None:
    whole, path = write_face_adapter(fixture, "faceid", base, tmp_path / "whole.bin"), tmp_path / "faceid.bin"
    inside = read_lora(whole)
    content = torch.load(whole, weights_only=True)
    alone = {name: tensor for name, tensor in content["ip_adapter"].items() if "lora" not in name}
    torch.save({**content, "ip_adapter": alone}, path)
    assert read_lora(path) is None
    write_lora_beside(fixture, base, tmp_path / "faceid_lora.safetensors", names, alpha)
    beside = read_lora(path)
    assert inside is not None
    assert beside is not None
    assert inside.keys() == beside.keys()
    for layer, own in inside.items():
        assert relative_error(beside[layer].up @ beside[layer].down, own.up @ own.down) < 1e-6


def test_without_its_lora_it_acts_and_says_so(tmp_path: Path, folder: Path) -> None:
    content = torch.load(folder / ANTELOPE, weights_only=True)
    alone = {name: tensor for name, tensor in content["ip_adapter"].items() if "lora" not in name}
    torch.save({**content, "ip_adapter": alone}, tmp_path / ANTELOPE)
    write_face_models(tmp_path / "antelopev2")
    own = run(store_of(tmp_path), {})
    assert told(own) == (
        f"faceid_model: {ANTELOPE} belongs to a LoRA that is neither in it nor beside it; the likeness is less.",
    )
    assert (len(parts(own)[0]), parts(own)[1]) == (1, [])


def test_strengths_of_the_face_and_of_the_lora_are_apart_and_0_loads_nothing(store: ModelStore, folder: Path) -> None:
    (face,), (lora,) = parts(run(store, {"adapter_strength": 0.4, "lora_strength": 0.3}, adapter_end=0.5))
    assert (face.strength, lora.strength) == (0.4, 0.3)
    assert face.window.end == lora.window.end == 0.5
    assert parts(run(store, {"lora_strength": 0.0}))[1] == []
    off = store_of(folder)
    own = run(off, {"adapter_strength": 0.0, "lora_strength": 0.0})
    assert told(own) == ()
    assert own.conditioning(SIZE).parts == ()
    assert off._loaded == {}


def test_of_several_people_each_has_a_column_and_the_lora_acts_once(store: ModelStore) -> None:
    own = run(store, {}, {"photos": [OTHER], "lora_strength": 0.5})
    (said,) = told(own)
    assert said == "people: FaceID places no heads, so they share the picture in columns; paint a mask for each instead."
    (left, right), (lora,) = parts(own)
    assert left.region is not None
    assert right.region is not None
    assert torch.equal(left.region + right.region, torch.ones(192, 128))
    assert bool(left.region[:, :64].all())
    assert lora.strength == 1.0


def test_a_mask_is_the_region_and_a_black_one_is_refused(store: ModelStore) -> None:
    mask = np.zeros((96, 64), dtype=np.uint8)
    mask[:48] = 255
    (face,), _ = parts(run(store, {"region": Image.fromarray(mask)}))
    assert face.region is not None
    assert bool(face.region[:96].all())
    assert not face.region[96:].any()
    with pytest.raises(SettingsError, match=r"people\[1\].region: the mask is all black"):
        run(store, {"region": Image.fromarray(mask * 0)}).advice(SIZE)


def test_head_placement_is_said_to_have_no_effect(store: ModelStore) -> None:
    own = run(store, {"pose": "pose picture", "pose_picture": OTHER})
    assert told(own) == ('people[1].pose: FaceID places no head, so it is free; with the system "InstantID" it is placed.',)


def test_beside_a_person_of_instantid_each_system_has_its_own(store: ModelStore) -> None:
    people = [{"photos": [PHOTO], "system": "InstantID"}, {"photos": [OTHER], "system": "FaceID"}]
    settings = settings_from_dict({"enabled": True, "faceid_model": ANTELOPE, "people": people})
    by_name = {type(own).__name__: own for own in begin_runs(settings, store)}
    assert set(by_name) == {"InstantIDRun", "FaceIDRun"}
    assert by_name["FaceIDRun"].recorded(SIZE)["people"][0] == {}
    assert [len(own.embeddings) for own in by_name.values()] == [1, 1]
    faceid = by_name["FaceIDRun"].conditioning(SIZE).parts
    assert not any(isinstance(part, ControlPart) for part in faceid)
    assert [type(part).__name__ for part in faceid] == ["AttentionPart", "LoraPart"]


def test_an_infotext_gives_the_settings_back(store: ModelStore) -> None:
    values = {"lora_strength": 0.4, "structure": 0.3, "adapter_strength": 0.6}
    settings = settings_from_dict(
        {
            "enabled": True,
            "faceid_model": "mine.bin",
            "faceid_version": "Plus",
            "people": [{"photos": [PHOTO], "system": "FaceID", **values}],
        }
    )
    own = FaceIDRun(settings, store)
    restored, lost = settings_from_infotext(infotext_of(settings, [own.recorded(SIZE)]), store)
    assert {name: restored["people"][0][name] for name in values} == values
    assert (restored["people"][0]["system"], restored["faceid_model"], restored["faceid_version"]) == (
        "FaceID",
        "mine.bin",
        "Plus",
    )
    assert len(lost) == 1


@pytest.mark.parametrize("layout", ["diffusers", "ldm"])
def test_it_leaves_no_trace(store: ModelStore, fixture: PromptFixture, layout: str) -> None:
    unet = fixture.unets["sd15"] if layout == "diffusers" else ldm_unet_like(fixture.unets["sd15"])
    before = call(fixture, "sd15", unet)
    own = run(store, {})
    size = fixture.size
    with attach(unet, own.conditioning(size), rows_of=lambda _: (False, True), step=lambda: Step(index=0, total=1)):
        assert relative_error(call(fixture, "sd15", unet), before) > 0.01
    assert torch.equal(call(fixture, "sd15", unet), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


def refusal(kind: type[InstantIDError], own: FaceIDRun) -> str:
    with pytest.raises(kind) as error:
        own.advice(SIZE)
    return str(error.value)


def test_a_saved_identity_is_of_another_face_model(store: ModelStore, folder: Path) -> None:
    face = store.analyser.face_of(PHOTO, "largest", None, "photo").face
    save_identity(combine([face], name="Ada"), folder)
    ada = {"photos": [], "identity": "Ada"}
    assert torch.equal(keys(run(store, ada)), keys(run(store, {})))
    said = refusal(SettingsError, run(store, ada, faceid_model="faceid.bin"))
    assert said == (
        "people[1].identity: a saved identity is antelopev2's, and faceid.bin needs buffalo_l's; give the person's photos."
    )


def test_what_is_missing_or_unfit_is_named(fixture: PromptFixture, folder: Path, tmp_path: Path) -> None:
    write_face_models(tmp_path / "antelopev2")
    write_face_adapter(fixture, "faceid-plus", "sdxl", tmp_path / "faceid-plusv2.bin")
    only = store_of(tmp_path)
    assert "FaceID recogniser" in refusal(MissingModelFile, run(only, {}, faceid_model=None))
    write_recogniser(tmp_path / RECOGNISER_FILE, seed=7)
    said = refusal(MissingModelFile, run(store_of(tmp_path), {}, faceid_model=None))
    assert "image encoder" in said
    with pytest.raises(BadModelFile, match=r"FaceID adapter .*: this is .*; expected a FaceID, FaceID Plus or FaceID Portrait"):
        FaceAdapter(folder / "image_encoder" / "model.safetensors")
    save_file({"lora_unet_down.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "faceid-plusv2_lora.safetensors")
    content = torch.load(tmp_path / "faceid-plusv2.bin", weights_only=True)
    kept = {name: tensor for name, tensor in content["ip_adapter"].items() if "lora" not in name}
    torch.save({**content, "ip_adapter": kept}, tmp_path / "faceid-plusv2.bin")
    with pytest.raises(BadModelFile, match="expected FaceID's LoRA with kohya's names"):
        read_lora(tmp_path / "faceid-plusv2.bin")


def test_half_a_lora_is_refused(fixture: PromptFixture, tmp_path: Path) -> None:
    write_lora_beside(fixture, "sd15", tmp_path / "a_lora.safetensors", "diffusers")
    path = write_face_adapter(fixture, "faceid-portrait", "sd15", tmp_path / "a.bin")
    tensors = load_file(tmp_path / "a_lora.safetensors")
    tensors.pop(next(name for name in tensors if "attn1_to_q.lora_up" in name))
    save_file(tensors, tmp_path / "a_lora.safetensors")
    with pytest.raises(BadModelFile, match="the LoRA has one half of to_q of attention 0 only"):
        read_lora(path)


def test_an_adapter_for_another_unet_is_refused(store: ModelStore, fixture: PromptFixture) -> None:
    own = run(store, {})
    with (
        pytest.raises(UnsupportedModel, match=f"FaceID adapter {ANTELOPE} is for a UNet with a context of 128 numbers"),
        attach(
            fixture.unets["sdxl"], own.conditioning(SIZE), rows_of=lambda _: (False, True), step=lambda: Step(index=0, total=1)
        ),
    ):
        pass


def test_a_lora_of_another_adapter_is_refused(fixture: PromptFixture, tmp_path: Path) -> None:
    write_face_models(tmp_path / "antelopev2")
    content = torch.load(write_face_adapter(fixture, "faceid", "sd15", tmp_path / "whole.pt"), weights_only=True)
    alone = {name: tensor for name, tensor in content["ip_adapter"].items() if "lora" not in name}
    torch.save({**content, "ip_adapter": alone}, tmp_path / ANTELOPE)
    write_lora_beside(fixture, "sdxl", tmp_path / f"{Path(ANTELOPE).stem}_lora.safetensors", "diffusers")
    own = run(store_of(tmp_path), {})
    with (
        pytest.raises(UnsupportedModel, match=f"has 32 attentions; the LoRA of {ANTELOPE} is for others"),
        attach(fixture.unets["sd15"], own.conditioning(SIZE), rows_of=lambda _: (False,), step=lambda: Step(index=0, total=1)),
    ):
        pass
