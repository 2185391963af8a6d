"""What lies below a folder is told by content, cheaply and without running anything from it."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_instantid.adapters.instantid.files import FILES
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.encoders.face.model_files import find_face_models
from lib_instantid.weights.finding import (
    DETECTOR,
    RECOGNISER,
    RESEARCH_ONLY,
    FoundModel,
    find_models,
    missing,
    report_dict,
    report_lines,
)

SYSTEM_FILES = (FILES,)
RELEASED = missing((), SYSTEM_FILES)
CONTEXT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
ONNX = b"\x08\x06\x12\x07pytorch"


def adapter() -> dict[str, Any]:
    return {
        "image_proj": {
            "latents": torch.zeros(1, 16, 8),
            "proj_in.weight": torch.zeros(8, 512),
            "proj_out.weight": torch.zeros(2048, 8),
        },
        "ip_adapter": {"1.to_k_ip.weight": torch.zeros(8, 2048), "1.to_v_ip.weight": torch.zeros(8, 2048)},
    }


def flat(nested: dict[str, Any]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for part, tensors in nested.items() for name, tensor in tensors.items()}


def controlnet(context: int) -> dict[str, Tensor]:
    return {"controlnet_cond_embedding.conv_in.weight": torch.zeros(4, 3, 3, 3), CONTEXT: torch.zeros(8, context)}


PLAIN_IP_ADAPTER = {"image_proj": {"proj.weight": torch.zeros(8, 8)}, "ip_adapter": {"1.to_k_ip.weight": torch.zeros(8, 8)}}
FACEID = {
    "image_proj": {"proj.0.weight": torch.zeros(8, 8), "proj.2.weight": torch.zeros(32, 8)},
    "ip_adapter": {"0.to_q_lora.down.weight": torch.zeros(8, 8), "1.to_k_ip.weight": torch.zeros(8, 8)},
}
LORA = {"lora_unet_mid_block.lora_down.weight": torch.zeros(4, 8)}


def write_released(folder: Path) -> None:
    """The five files in the layout of the hub, in miniature."""
    contents: dict[str, Callable[[Path], object]] = {
        "ip-adapter.bin": lambda path: torch.save(adapter(), path),
        "config.json": lambda path: path.write_text('{"_class_name": "ControlNetModel"}'),
        "diffusion_pytorch_model.safetensors": lambda path: save_file(controlnet(2048), path),
        "scrfd_10g_bnkps.onnx": lambda path: path.write_bytes(ONNX),
        "glintr100.onnx": lambda path: path.write_bytes(ONNX),
    }
    for file in RELEASED:
        path = file.below(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        contents[path.name](path)


def only(folder: Path) -> FoundModel:
    (found,) = find_models([folder], SYSTEM_FILES)
    return found


def test_the_released_files_are_found_in_the_hubs_layout_and_nothing_is_missing(tmp_path: Path) -> None:
    write_released(tmp_path)
    found = find_models([tmp_path], SYSTEM_FILES)
    assert {(model.role, model.path.relative_to(tmp_path).as_posix()) for model in found} == {
        (ADAPTER, "ip-adapter.bin"),
        (IDENTITYNET, "ControlNetModel/diffusion_pytorch_model.safetensors"),
        (DETECTOR, "antelopev2/scrfd_10g_bnkps.onnx"),
        (RECOGNISER, "antelopev2/glintr100.onnx"),
    }
    assert missing(found, SYSTEM_FILES) == ()


def test_face_models_are_released_to_where_the_face_analyser_looks(tmp_path: Path) -> None:
    write_released(tmp_path)
    files = find_face_models(tmp_path)
    by_role = {model.role: model.path for model in find_models([tmp_path], SYSTEM_FILES)}
    assert (files.detector, files.recogniser) == (by_role[DETECTOR], by_role[RECOGNISER])


@pytest.mark.parametrize(
    ("tensors", "role", "words"),
    [
        (adapter(), ADAPTER, "an InstantID adapter"),
        (controlnet(2048), IDENTITYNET, "an IdentityNet"),
        (controlnet(768), None, "a ControlNet for SD1.5"),
        (PLAIN_IP_ADAPTER, None, "a plain IP-Adapter"),
        (FACEID, None, "a FaceID IP-Adapter"),
        (LORA, None, "a LoRA"),
    ],
    ids=["adapter", "identitynet", "sd1.5 controlnet", "plain ip-adapter", "faceid", "lora"],
)
@pytest.mark.parametrize("name", ["deep/er/my model (1).bin", "x.PT", "renamed.safetensors"])
def test_a_weight_file_is_told_by_content_whatever_its_name_and_depth(
    tmp_path: Path, name: str, tensors: dict[str, Any], role: str | None, words: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(flat(tensors) if "image_proj" in tensors else tensors, path)
    else:
        torch.save(tensors, path)
    found = only(tmp_path)
    assert (found.path, found.role, found.problem) == (path, role, None)
    assert words in found.description
    assert found.size == path.stat().st_size


def test_a_safetensors_file_named_bin_is_read_as_what_it_is(tmp_path: Path) -> None:
    save_file(flat(adapter()), tmp_path / "ip-adapter.bin")
    assert only(tmp_path).role == ADAPTER


def test_a_controlnet_that_names_its_condition_in_its_metadata_is_no_identitynet(tmp_path: Path) -> None:
    save_file(controlnet(2048), tmp_path / "a.safetensors", metadata={"modelspec.title": "SDXL Canny"})
    assert only(tmp_path).role is None


def test_the_numbers_of_a_safetensors_file_are_not_read(tmp_path: Path) -> None:
    """A file of 8 GB whose numbers are a hole on the disk, in a type that numpy does not have."""
    shape = [1 << 21, 2048]
    size = shape[0] * shape[1] * 2
    tensors = {CONTEXT: {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}}
    header = json.dumps(tensors).encode()
    with (tmp_path / "huge.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(file.tell() + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert only(tmp_path).problem is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_torch_file_outside_the_zip_format_is_listed_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(adapter(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    opened: list[object] = []
    monkeypatch.setattr(torch.serialization, "load", lambda path, **_: opened.append(path))
    found = only(tmp_path)
    assert opened == []
    assert found.role is None
    assert ".safetensors" in str(found.problem)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["pickle", "torch", "old torch"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    folder, marker = tmp_path / "models", tmp_path / "code ran"
    folder.mkdir()
    content = {"image_proj.latents": Payload(marker)}
    path = folder / "ip-adapter.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
        pickle.loads(path.read_bytes())
        assert marker.exists(), "the payload of this test does nothing"
        marker.rmdir()
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    found = only(folder)
    assert not marker.exists()
    assert found.role is None
    assert "refused" in str(found.problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (bytes(range(1, 200)), "no weight file that is known"),
        (ONNX, "ONNX"),
    ],
    ids=["nothing", "lfs pointer", "web page", "garbage", "onnx"],
)
def test_a_file_that_is_no_weights_is_listed_with_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    found = only(tmp_path)
    assert (found.role, found.size) == (None, len(content))
    assert words in str(found.problem)
    assert str(tmp_path) not in str(found.problem), "the path is listed already"


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_a_truncated_file_is_listed_as_incomplete(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".bin":
        torch.save(adapter(), path)
    else:
        save_file(flat(adapter()), path)
    assert only(tmp_path).role == ADAPTER
    os.truncate(path, path.stat().st_size * 2 // 3)
    found = only(tmp_path)
    assert found.role is None
    assert "damaged or incomplete" in str(found.problem)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_no_damaged_file_keeps_the_others_from_being_listed(tmp_path: Path) -> None:
    rng = random.Random(0)
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pt")
    save_file({"a": torch.ones(2)}, tmp_path / "good.safetensors")
    for good in sorted(tmp_path.iterdir()):
        for number in range(200):
            damaged = bytearray(good.read_bytes())
            for _ in range(5):
                damaged[rng.randrange(2, len(damaged))] = rng.randrange(256)
            (tmp_path / f"{number}{good.suffix}").write_bytes(damaged)
    found = find_models([tmp_path], SYSTEM_FILES)
    assert len(found) == 402
    assert sum(model.problem is not None for model in found) > 200
    assert {model.path.name for model in found if model.path.stem == "good" and not model.problem} == {
        "good.pt",
        "good.safetensors",
    }


def test_an_adapter_whose_shapes_have_too_few_dimensions_is_no_adapter(tmp_path: Path) -> None:
    broken = {"image_proj.latents": torch.zeros(2), "image_proj.proj_in.weight": torch.zeros(2)}
    save_file(broken, tmp_path / "a.safetensors")
    found = only(tmp_path)
    assert found.role is None
    assert "not known here" in found.description


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    """Each of the two links back would double the work at every level."""
    elsewhere, models = tmp_path / "elsewhere", tmp_path / "models"
    write_released(elsewhere)
    models.mkdir()
    (models / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(models)
    (elsewhere / "back again").symlink_to(models)
    (elsewhere / "same file.bin").symlink_to(elsewhere / "ip-adapter.bin")
    for folders in ([models], [models, models / "linked", tmp_path]):
        found = find_models(folders, SYSTEM_FILES)
        assert len(found) == 4
        assert missing(found, SYSTEM_FILES) == ()


def test_what_is_no_regular_file_is_listed_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "gone.bin").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.bin").symlink_to(tmp_path / "self.bin")
    os.mkfifo(tmp_path / "pipe.bin")
    found = find_models([tmp_path], SYSTEM_FILES)
    assert {model.path.name for model in found if model.problem} == {"gone.bin", "self.bin", "pipe.bin"}


def test_files_of_other_kinds_are_not_listed(tmp_path: Path) -> None:
    for name in ("readme.md", "config.json", "ip-adapter.bin.part", "1k3d68.onnx"):
        (tmp_path / name).write_bytes(ONNX)
    assert find_models([tmp_path], SYSTEM_FILES) == ()


def test_one_face_model_without_the_other_is_of_no_use_and_both_stay_missing(tmp_path: Path) -> None:
    (tmp_path / "glintr100.onnx").write_bytes(ONNX)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scrfd_10g_bnkps.onnx").write_bytes(ONNX)
    found = find_models([tmp_path], SYSTEM_FILES)
    assert [model.role for model in found] == [None, None]
    assert "without scrfd_10g_bnkps.onnx beside it" in found[0].description
    assert {DETECTOR, RECOGNISER} <= {file.role for file in missing(found, SYSTEM_FILES)}


def test_a_web_page_in_place_of_a_face_model_is_told(tmp_path: Path) -> None:
    write_released(tmp_path)
    (tmp_path / "antelopev2" / "glintr100.onnx").write_bytes(b"<html>")
    found = find_models([tmp_path / "antelopev2"], SYSTEM_FILES)
    assert [model.path.name for model in found if model.problem] == ["glintr100.onnx"]


@pytest.mark.parametrize("folder", ["empty", "not there"])
def test_all_is_missing_from_a_folder_with_nothing_in_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    assert find_models([tmp_path / folder], SYSTEM_FILES) == ()
    assert missing(find_models([tmp_path / folder], SYSTEM_FILES), SYSTEM_FILES) == RELEASED


def test_an_identitynet_of_another_name_needs_no_config(tmp_path: Path) -> None:
    save_file(controlnet(2048), tmp_path / "my net.safetensors")
    absent = missing(find_models([tmp_path], SYSTEM_FILES), SYSTEM_FILES)
    assert [file.path for file in absent] == ["ip-adapter.bin", "scrfd_10g_bnkps.onnx", "glintr100.onnx"]


def test_the_report_tells_what_is_where_what_is_missing_and_where_to_get_it(tmp_path: Path) -> None:
    torch.save(adapter(), tmp_path / "ip-adapter.bin")
    save_file(LORA, tmp_path / "style.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"")
    text = "\n".join(report_lines(find_models([tmp_path], SYSTEM_FILES), SYSTEM_FILES))
    assert f"adapter: {tmp_path / 'ip-adapter.bin'}" in text
    assert f"{tmp_path / 'style.safetensors'}: a LoRA" in text
    assert f"{tmp_path / 'broken.pt'}: the file is empty." in text
    for file in RELEASED[1:]:
        assert f"{file.role}: {file.url()} ({file.size}, {file.licence})" in text
    assert RELEASED[0].url() not in text
    assert "--download" in text


def test_the_report_says_that_face_models_are_for_research_only_even_when_all_is_there(tmp_path: Path) -> None:
    write_released(tmp_path)
    lines = report_lines(find_models([tmp_path], SYSTEM_FILES), SYSTEM_FILES)
    assert not any("Missing" in line for line in lines)
    assert RESEARCH_ONLY in lines[-1]
    assert {file.licence for file in RELEASED if file.subfolder} == {RESEARCH_ONLY}


def test_the_report_as_values_survives_json_and_holds_what_the_models_hold(tmp_path: Path) -> None:
    torch.save(adapter(), tmp_path / "ip-adapter.bin")
    (tmp_path / "broken.pt").write_bytes(b"")
    report = report_dict(find_models([tmp_path], SYSTEM_FILES), SYSTEM_FILES)
    assert json.loads(json.dumps(report)) == report
    broken, good = report["found"]
    assert (good["path"], good["role"], good["problem"]) == (str(tmp_path / "ip-adapter.bin"), "adapter", None)
    assert (broken["role"], broken["size"]) == (None, 0)
    assert [entry["url"] for entry in report["missing"]] == [file.url() for file in RELEASED[1:]]
    assert report["missing"][0]["licence"] == "Apache-2.0"
