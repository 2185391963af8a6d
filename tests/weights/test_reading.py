"""Weight files: any name, either format, any order of keys; never code."""

from __future__ import annotations

import gc
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.conditioning.sites import cross_attention_sites
from lib_instantid.errors import BadModelFile
from lib_instantid.networks.adapter import Adapter
from lib_instantid.weights.reading import read_weights

EMBEDDING = torch.linspace(-2, 2, 512)


@pytest.fixture(scope="module")
def nested(weights_folder: Path) -> dict[str, dict[str, Tensor]]:
    return torch.load(weights_folder / "ip-adapter.bin", weights_only=True)


@pytest.fixture(scope="module")
def flat(nested: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for part, tensors in nested.items() for name, tensor in tensors.items()}


def keys_values(adapter: Adapter) -> list[Tensor]:
    face = adapter.face_tokens(EMBEDDING, torch.zeros(512))
    return [t for _, pair in sorted(face.keys_values.items()) for t in (pair.key, pair.value)]


def test_every_layout_of_the_file_gives_the_same_adapter(nested: dict, flat: dict, tmp_path: Path) -> None:
    torch.save(nested, tmp_path / "whatever.dat")
    torch.save(flat, tmp_path / "flat.pth")
    save_file(dict(sorted(flat.items())), tmp_path / "sorted.safetensors")
    save_file(dict(reversed(flat.items())), tmp_path / "no_suffix")
    expected = keys_values(load_adapter(tmp_path / "whatever.dat"))
    for name in ("flat.pth", "sorted.safetensors", "no_suffix"):
        found = keys_values(load_adapter(tmp_path / name))
        assert all(map(torch.equal, found, expected)), name


def test_each_site_gets_the_layers_of_its_own_number(adapter: Adapter, flat: dict, diffusers_unet: torch.nn.Module) -> None:
    """Numbers of two digits too: sorted as text, 11 comes before 3."""
    face = adapter.face_tokens(EMBEDDING, torch.zeros(512))
    sites = cross_attention_sites(diffusers_unet)
    assert {site.number for site in sites} == set(face.keys_values)
    for number, pair in face.keys_values.items():
        assert torch.allclose(pair.key, face.tokens @ flat[f"ip_adapter.{number}.to_k_ip.weight"].T, atol=1e-5)
        assert torch.allclose(pair.value, face.tokens @ flat[f"ip_adapter.{number}.to_v_ip.weight"].T, atol=1e-5)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_file_is_closed_with_the_last_of_its_tensors(kind: str, flat: dict[str, Tensor], tmp_path: Path) -> None:
    """Also while the garbage collector sleeps: a reference cycle would keep gigabytes mapped until it looks at everything."""
    path = tmp_path / "adapter"
    torch.save(flat, path) if kind == "torch" else save_file(flat, path)
    gc.disable()
    try:
        adapter = load_adapter(path)
        face = adapter.face_tokens(EMBEDDING, torch.zeros(512))
        assert str(path) in Path("/proc/self/maps").read_text()
        del adapter
        assert str(path) not in Path("/proc/self/maps").read_text()
    finally:
        gc.enable()
    assert all(pair.key.isfinite().all() for pair in face.keys_values.values())


class Payload:
    """Unpickled with code allowed, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path, write: object) -> None:
    mark = tmp_path / "code-ran"
    write({"image_proj": Payload(mark)}, tmp_path / "evil.bin")  # type: ignore[operator]
    with pytest.raises(BadModelFile, match="refused"):
        read_weights(tmp_path / "evil.bin")
    assert not mark.exists()


def refusal(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a file, which nothing may have unpickled or run: not torch's reader of any version either."""
    opened: list[str] = []
    monkeypatch.setattr(torch.serialization, "load", lambda path, **_: opened.append(path))
    monkeypatch.setattr(torch.jit, "load", lambda path, **_: opened.append(path))
    with pytest.raises(BadModelFile) as refused:
        read_weights(path)
    assert opened == []
    return str(refused.value)


def test_only_torchs_zip_format_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the others `weights_only` could be passed by before torch 2.6: CVE-2025-32434."""
    torch.save({"a": torch.ones(2)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "PK-inside").write_bytes(b"tensors")
    with tarfile.open(tmp_path / "tar.bin", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "PK-inside", arcname="PK-inside")
    assert (tmp_path / "tar.bin").read_bytes()[:2] == b"PK"
    assert tarfile.is_tarfile(tmp_path / "tar.bin")
    for name in ("old.bin", "tar.bin"):
        said = refusal(tmp_path / name, monkeypatch)
        assert name in said
        assert "zip format" in said
        assert ".safetensors" in said


def test_a_torchscript_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "program.pt")
    with zipfile.ZipFile(tmp_path / "program.pt", "a") as archive:
        archive.writestr("program/constants.pkl", pickle.dumps((), protocol=2))
    assert "TorchScript" in refusal(tmp_path / "program.pt", monkeypatch)


CODE = {
    "a name": (b"cos\nsystem\n", "os.system"),
    "a name beside an allowed one": (b"ctorch._utils\n_rebuild_tensor\n", "torch._utils._rebuild_tensor"),
    "a name off the stack": (b"\x8c\x02os\x8c\x06system\x93", "SHORT_BINUNICODE"),
    "an instance": (b"(ios\nsystem\n", "INST"),
    "an object": (b"(ccollections\nOrderedDict\no", "OBJ"),
    "a registered extension": (b"\x82\x01", "EXT1"),
}


@pytest.mark.parametrize("code", CODE)
def test_a_pickle_is_known_by_its_opcodes_before_it_is_unpickled(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, named = CODE[code]
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("a/version", b"3\n")
    said = refusal(tmp_path / "a.bin", monkeypatch)
    assert named in said
    assert ".safetensors" in said


def test_what_training_programs_save_beside_tensors_passes(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    torch.save(
        {"state_dict": module.state_dict(), "p": module.weight, "epoch": 3, "rate": [1e-4, None, True, "a"]}, tmp_path / "a"
    )
    assert set(read_weights(tmp_path / "a").tensors) == {"state_dict.weight", "state_dict.bias", "p"}


def test_a_folder_is_read_by_its_one_weight_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.bin")
    assert read_weights(tmp_path).path.name == "model.safetensors"
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadModelFile, match="several weight files"):
        read_weights(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    assert read_weights(tmp_path).path.name == "diffusion_pytorch_model.safetensors"


def test_a_half_precision_file_keeps_its_layers_and_computes_its_tokens_in_float32(flat: dict, tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in flat.items()}, tmp_path / "half.safetensors")
    adapter = load_adapter(tmp_path / "half.safetensors")
    assert {p.dtype for p in adapter.ip_adapter.parameters()} == {torch.float16}
    assert adapter.face_tokens(EMBEDDING, torch.zeros(512)).tokens.dtype == torch.float32


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_an_fp8_file_gives_what_its_numbers_give_in_fp16(kind: torch.dtype, flat: dict, tmp_path: Path) -> None:
    rounded = {name: tensor.to(kind) for name, tensor in flat.items()}
    save_file(rounded, tmp_path / "fp8.safetensors")
    save_file({name: tensor.half() for name, tensor in rounded.items()}, tmp_path / "fp16.safetensors")
    torch.save(rounded, tmp_path / "fp8.bin")
    expected = keys_values(load_adapter(tmp_path / "fp16.safetensors"))
    for name in ("fp8.safetensors", "fp8.bin"):
        assert all(map(torch.equal, keys_values(load_adapter(tmp_path / name)), expected)), name


def test_an_fp8_identitynet_gives_what_its_numbers_give_in_fp16(weights_folder: Path, tmp_path: Path) -> None:
    tensors = load_file(weights_folder / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()}, tmp_path / "net.safetensors")
    found = load_identitynet(tmp_path / "net.safetensors").state_dict()
    assert {name: tensor.to(torch.float8_e4m3fn).half() for name, tensor in tensors.items()}.keys() == found.keys()
    assert all(torch.equal(tensors[name].to(torch.float8_e4m3fn).half(), found[name]) for name in tensors)


def test_what_a_resave_added_is_named_and_left_out(
    flat: dict, weights_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file({**flat, "image_proj.extra": torch.zeros(1)}, tmp_path / "adapter.safetensors")
    expected = keys_values(load_adapter(weights_folder / "ip-adapter.bin"))
    assert all(map(torch.equal, keys_values(load_adapter(tmp_path / "adapter.safetensors")), expected))
    net = load_file(weights_folder / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
    save_file({**net, "epoch": torch.zeros(1)}, tmp_path / "net.safetensors")
    assert load_identitynet(tmp_path / "net.safetensors").state_dict().keys() == net.keys()
    for path, name in ((tmp_path / "adapter.safetensors", "image_proj.extra"), (tmp_path / "net.safetensors", "epoch")):
        assert [name in text and str(path) in text for text in caplog.messages].count(True) == 1
