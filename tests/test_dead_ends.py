"""What a person can hand over broken, in an unusual place or under another name ends in a sentence or just works."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.cli import main
from lib_instantid.commands.batch import pictures_in
from lib_instantid.encoders.face.identity import Identity
from lib_instantid.encoders.face.identity_files import save_identity
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.errors import BadModelFile, InstantIDError, PictureError, SettingsError
from lib_instantid.hosts.diffusers import metadata
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.request import GeneratedPicture, GenerationRequest, Result
from lib_instantid.hosts.diffusers.sampling import check_scheduler
from lib_instantid.weights.finding import find_role
from tests.encoders.face.scenes import somebody, squares
from tests.weights.test_reading import Payload

NET = "ControlNetModel/diffusion_pytorch_model.safetensors"


def test_models_are_found_for_use_wherever_they_are_listed(weights_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ControlNet").mkdir()
    shutil.copy(weights_folder / "ip-adapter.bin", tmp_path / "ControlNet" / "ip-adapter_instant_id_sdxl.bin")
    shutil.copy(weights_folder / NET, tmp_path / "ControlNet" / "control_instant_id_sdxl.safetensors")
    assert find_role(tmp_path, ADAPTER, SYSTEM_FILES).name == "ip-adapter_instant_id_sdxl.bin"
    assert find_role(tmp_path, IDENTITYNET, SYSTEM_FILES).name == "control_instant_id_sdxl.safetensors"


def test_names_of_folders_decide_nothing_and_a_file_that_says_instantid_is_it(weights_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "openpose").mkdir()
    load_identitynet(shutil.copy(weights_folder / NET, tmp_path / "openpose" / "model.safetensors"))
    load_adapter(shutil.copy(weights_folder / "ip-adapter.bin", tmp_path / "my portrait instantid.bin"))
    with pytest.raises(BadModelFile, match="openpose"):
        load_identitynet(shutil.copy(weights_folder / NET, tmp_path / "openpose.safetensors"))


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0])
def test_a_guidance_scale_is_a_number_in_range(scale: float) -> None:
    with pytest.raises(SettingsError, match="guidance_scale"):
        GenerationRequest(prompt="", guidance_scale=scale)


def test_schedulers_are_known_however_they_are_capitalised_and_before_anything_is_loaded() -> None:
    assert check_scheduler("DPM++ 2M Karras") == "dpm++ 2m karras"
    with pytest.raises(SettingsError, match="scheduler"):
        GenerationRequest(prompt="", scheduler="magic")


def test_folders_give_what_is_read_one_by_one_and_hidden_files_and_folders_are_none(tmp_path: Path) -> None:
    good = ["a.jfif", "b.jpe", "c.jp2", "d.png", "e.heic"]
    for name in [*good, "._d.png", "notes.txt"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "album.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == good


def test_heic_is_named_with_the_cure() -> None:
    with pytest.raises(PictureError, match=r"HEIC.*JPEG or PNG"):
        read_picture(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 20)


def test_a_damaged_identity_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_identity(Identity(embedding=somebody(1), name="Zoe", photos=2, model="antelopev2"), tmp_path)
    (tmp_path / "Ada.safetensors").write_bytes(b"damaged")
    assert main(["identity", "list", "--identities", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "Zoe: 2 photo(s)" in out
    assert "Ada.safetensors is damaged" in err


def test_faces_without_a_face_says_the_cure_and_is_no_success(
    weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(squares(120, 100, [])).save(tmp_path / "nobody.png")
    assert main(["faces", str(tmp_path / "nobody.png"), "--models-dir", str(weights_folder)]) == 1
    assert "Crop closer" in capsys.readouterr().err


@pytest.mark.parametrize("points", ["0.6,0.4 0.4,0.4 0.5,0.5 0.42,0.6 0.58,0.6", "0.4,0.4 0.6,0.4 0.5,0.5 0.58,0.6 0.42,0.6"])
def test_exchanged_points_on_a_photo_are_told_with_the_order(
    weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], points: str
) -> None:
    Image.fromarray(squares(300, 200, [(90, 60, 70)])).save(tmp_path / "a.png")
    given = ["identity", "save", "Ada", "--photo", str(tmp_path / "a.png"), "--models-dir", str(weights_folder)]
    assert main([*given, "--identities", str(tmp_path), "--photo-keypoints", points]) == 1
    assert "mirrored" in capsys.readouterr().err


def test_a_folder_saved_as_a_variant_is_whole(weights_folder: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(weights_folder / "checkpoint", torch.float32)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    again = load_pipeline(tmp_path / "half", torch.float32)
    assert torch.equal(next(again.unet.parameters()), next(pipeline.unet.parameters()))


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_checkpoint_folder_of_torch_files_is_read(weights_folder: Path, tmp_path: Path, variant: str | None) -> None:
    pipeline = load_pipeline(weights_folder / "checkpoint", torch.float32)
    pipeline.save_pretrained(tmp_path / "old", safe_serialization=False, variant=variant)
    for part in ("text_encoder", "text_encoder_2"):  # transformers no longer writes these
        (file,) = (tmp_path / "old" / part).glob("*.safetensors")
        name = f"pytorch_model.{variant}.bin" if variant else "pytorch_model.bin"
        torch.save(load_file(file), file.with_name(name))
        file.unlink()
    assert not list((tmp_path / "old").glob("*/*.safetensors"))
    again = load_pipeline(tmp_path / "old", torch.float32)
    for part in ("unet", "text_encoder_2"):
        found, expected = getattr(again, part).state_dict(), getattr(pipeline, part).state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("place", ["unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"])
def test_code_in_a_checkpoint_folder_is_refused_and_does_not_run(weights_folder: Path, tmp_path: Path, place: str) -> None:
    folder = shutil.copytree(weights_folder / "checkpoint", tmp_path / "checkpoint")
    for file in (folder / place).parent.glob("*.safetensors"):
        file.unlink()
    torch.save({"a": Payload(tmp_path / "ran")}, folder / place)
    with pytest.raises(BadModelFile, match=rf"{place}.*\.safetensors") as caught:
        load_pipeline(folder, torch.float32)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("old_format", [True, False])
def test_a_checkpoint_file_of_torch_is_refused_with_the_cure(tmp_path: Path, old_format: bool) -> None:
    path = tmp_path / "model.bin"
    torch.save({"a": Payload(tmp_path / "ran")}, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(BadModelFile, match=r"model\.bin.*code.*\.safetensors"):
        load_pipeline(path, torch.float32)
    assert not (tmp_path / "ran").exists()


def test_a_torch_file_cut_short_in_a_checkpoint_folder_is_told(weights_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights_folder / "checkpoint", tmp_path / "checkpoint")
    (file,) = (folder / "unet").glob("*.safetensors")
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    content = file.with_suffix(".bin").read_bytes()
    file.with_suffix(".bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadModelFile, match=r"diffusion_pytorch_model\.bin: damaged or incomplete"):
        load_pipeline(folder, torch.float32)


def test_a_checkpoint_file_without_vae_is_told(tmp_path: Path) -> None:
    save_file({"conditioner.embedders.1.model.a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(BadModelFile, match="no VAE"):
        load_pipeline(tmp_path / "model.safetensors", torch.float32)


def test_a_checkpoint_folder_without_tokenizer_is_told(weights_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights_folder / "checkpoint", tmp_path / "checkpoint")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(InstantIDError, match="no tokenizer"):
        load_pipeline(folder, torch.float32)


def result() -> Result:
    pictures = (GeneratedPicture(image=Image.fromarray(np.zeros((8, 8, 3), np.uint8)), seed=1),)
    return Result(pictures=pictures, runs=(), size=(8, 8), advice=(), timings={})


def test_a_picture_that_cannot_be_saved_is_saved_beside_or_in_the_temporary_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "x.png").mkdir()
    assert metadata.save_pictures(tmp_path / "x.png", {}, result()) == [tmp_path / "x-saved.png"]
    (tmp_path / "file").write_text("")
    (saved,) = metadata.save_pictures(tmp_path / "file" / "x.png", {}, result())
    assert saved.parent == tmp_path
    assert Image.open(saved).size == (8, 8)
    assert str(saved) in caplog.text


def test_where_pictures_go_and_come_from_is_checked_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint is not there: what is named first was checked first."""
    Image.fromarray(squares(20, 20, [])).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    given = ["generate", "--checkpoint", str(tmp_path / "none"), "--prompt", "", "--photo", str(tmp_path / "a.png")]
    out = ["--out", str(tmp_path / "x.png")]
    for arguments, word in (
        (["--out", str(tmp_path / "file" / "x.png")], "out: "),
        ([*out, "--scheduler", "magic"], "scheduler: "),
        ([*out, "--init-picture", "none.png"], "init_picture: "),
        ([*out, "--photo", "none.png"], "people[1].photos[2]: "),
        ([*out, "--region", "none.png"], "people[1].region: "),
    ):
        assert main([*given, *arguments]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {word}")


def test_page_without_gradio_is_told(
    weights_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "lib_instantid.webui.page", raising=False)
    assert main(["page", "--checkpoint", str(weights_folder / "checkpoint")]) == 1
    assert "gradio" in capsys.readouterr().err


def test_a_name_that_no_identity_can_have_is_refused_before_photos_and_models_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert main(["identity", "save", "a/b", "--photo", nowhere, "--models-dir", nowhere]) != 0
    said = capsys.readouterr().err
    assert "a/b" in said
    assert "nowhere" not in said
