"""The script's course over one generation, on a small real UNet: nothing is swallowed, nothing stays."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from lib_instantid.adapters.instantid import files as instantid_files
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.conditioning.attachment import Attachment, attach
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face import photos as photos_module
from lib_instantid.errors import MissingModelFile
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.webui import model_store
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.webui.run_state import StopGeneration
from lib_instantid.webui.script import NOTES, Extension
from tests.conftest import HEIGHT, ROWS, WIDTH, Call
from tests.encoders.face.scenes import squares


class Host:
    """A host with nothing of a WebUI: the core's own attachment to one UNet."""

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet
        self.attachment: Attachment | None = None
        self.sizes: list[tuple[int, ...]] = []
        self.freed = self.changed = 0
        self.device = CPU

    def loaded_unet(self) -> nn.Module:
        return self.unet

    def place(self, net: ControlNet) -> None:
        net.to(self.device)

    def rest(self, net: ControlNet) -> None:
        net.to(CPU)

    def model_changed(self) -> None:
        self.changed += 1

    def attach(self, conditioning: Conditioning, comment: Any) -> None:
        del comment
        self.sizes.append(conditioning.size[::-1])
        self.attachment = attach(self.unet, conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1))

    def refuse(self, error: Exception) -> None:
        def hook(*_: Any) -> None:
            raise error

        handle = self.unet.register_forward_pre_hook(hook)
        self.attachment = SimpleNamespace(detach=handle.remove)  # type: ignore[assignment]

    def detach(self) -> None:
        if self.attachment is not None:
            self.attachment.detach()
            self.attachment = None

    def free(self) -> None:
        self.freed += 1


class P:
    """A generation as scripts see it. Not hashable, as the WebUIs' are not."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.width, self.height, self.is_hr_pass = WIDTH, HEIGHT, False
        self.enable_hr = False
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, str] = {}

    def comment(self, text: str) -> None:
        self.comments.append(text)


def photo(*places: tuple[int, int, int]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(squares(300, 200, places)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


ONE = {"people": [{"photos": [photo((90, 60, 70))]}]}
CPU, META = torch.device("cpu"), torch.device("meta")
X = torch.zeros(1, 4, HEIGHT // 8, WIDTH // 8)


@pytest.fixture
def host(diffusers_unet: nn.Module) -> Host:
    return Host(diffusers_unet)


@pytest.fixture
def folder(weights_folder: Path, tmp_path: Path) -> Path:
    for name in ("ControlNetModel", "antelopev2"):
        shutil.copytree(weights_folder / name, tmp_path / name)
    shutil.copy(weights_folder / "ip-adapter.bin", tmp_path)
    return tmp_path


@pytest.fixture
def extension(host: Host, folder: Path) -> Extension:
    store = ModelStore(lambda: [folder], lambda: Keep.CPU, lambda: folder / "identities")
    return Extension(host, store, lambda: [])  # type: ignore[arg-type]


def run(extension: Extension, call: Call, arguments: list[Any], p: P | None = None, x: torch.Tensor = X) -> torch.Tensor:
    p = p or P()
    extension.process(p, arguments)
    extension.before_sampling(p, x)
    try:
        return call(extension.host.unet)  # type: ignore[attr-defined]
    finally:
        extension.stop()
        extension.end(p)


def test_enabled_it_acts_and_disabled_it_does_nothing(extension: Extension, call: Call, host: Host) -> None:
    plain = call(host.unet)
    assert not torch.equal(run(extension, call, [ONE]), plain)
    assert torch.equal(run(extension, call, [False]), plain)
    assert torch.equal(call(host.unet), plain)


def test_disabled_it_looks_for_no_file(host: Host, call: Call) -> None:
    asked: list[int] = []
    store = ModelStore(lambda: asked.append(1) or [], lambda: Keep.CPU, Path)  # type: ignore[func-returns-value]
    run(Extension(host, store, list), call, [False])  # type: ignore[arg-type]
    assert asked == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"wieght": 1}, "wieght"),
        ({"people": [{"photos": [photo()]}]}, r"people\[1\]\.photos\[1\].*no face"),
        ({"people": [{"photos": ["AAAA"]}]}, r"people\[1\]\.photos\[1\]"),
        ({"people": [{"identity": "nobody", "pose": "none"}]}, "nobody"),
    ],
)
def test_what_is_wrong_stops_the_generation_inside_sampling(
    extension: Extension, call: Call, host: Host, request_: dict[str, Any], words: str
) -> None:
    plain, right = call(host.unet), run(extension, call, [ONE])
    with pytest.raises(StopGeneration, match=words) as caught:
        run(extension, call, [request_])
    assert vars(caught.value)["status_code"] == 422
    assert vars(caught.value)["detail"] == str(caught.value)
    assert torch.equal(call(host.unet), plain)
    assert torch.equal(run(extension, call, [ONE]), right)


def test_an_error_nobody_thought_of_stops_it_too(extension: Extension, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension.host, "place", lambda _: 1 / 0)
    with pytest.raises(StopGeneration, match="internal error, ZeroDivisionError"):
        run(extension, call, [ONE])


def test_missing_files_are_named_with_where_they_were_looked_for(extension: Extension, call: Call, folder: Path) -> None:
    (folder / "ip-adapter.bin").rename(folder / "hidden.txt")
    with pytest.raises(StopGeneration, match="missing: adapter") as caught:
        run(extension, call, [ONE])
    assert str(folder) in str(caught.value)
    (folder / "hidden.txt").rename(folder / "any name.bin")
    run(extension, call, [ONE])


def test_a_damaged_file_is_named_with_the_reason(extension: Extension, folder: Path) -> None:
    content = (folder / "ip-adapter.bin").read_bytes()
    (folder / "ip-adapter.bin").write_bytes(content[:1000])
    with pytest.raises(MissingModelFile, match=r"Not readable: .*ip-adapter\.bin"):
        extension.store.network(ADAPTER)


def test_a_generation_that_died_leaves_nothing_to_the_next(extension: Extension, call: Call, host: Host) -> None:
    """After a real exception the WebUI calls neither post_sample nor postprocess."""
    plain = call(host.unet)
    p = P()
    extension.process(p, [ONE])
    extension.before_sampling(p, X)
    extension.process(P(), [False])
    assert torch.equal(call(host.unet), plain)


def test_a_nested_generation_does_not_disturb_the_outer_one(extension: Extension, call: Call, host: Host) -> None:
    outer, plain = P(), call(host.unet)
    expected = run(extension, call, [ONE])
    extension.process(outer, [ONE])
    for _ in range(2):  # batches, with another script's own generation after each
        extension.before_sampling(outer, X)
        assert torch.equal(call(host.unet), expected)
        extension.stop()
        assert torch.equal(run(extension, call, [False]), plain)
    extension.end(outer)


@pytest.mark.parametrize(
    ("hires", "acts"), [("both", [True, True]), ("first pass", [True, False]), ("second pass", [False, True])]
)
def test_hires_passes_act_as_set_with_maps_of_their_own_size(
    extension: Extension, call: Call, host: Host, hires: str, acts: list[bool]
) -> None:
    p, plain = P(), call(host.unet)
    p.enable_hr = True
    extension.process(p, [{**ONE, "hires": hires}])
    extension.before_sampling(p, X)
    found = [not torch.equal(call(host.unet), plain)]
    p.is_hr_pass = True
    large = torch.zeros(1, 4, HEIGHT // 4, WIDTH // 4)
    for _ in range(2):  # Forge calls twice
        extension.before_sampling(p, large)
    assert host.sizes[-1] == ((2 * HEIGHT, 2 * WIDTH) if acts[1] else (HEIGHT, WIDTH))
    found.append(bool(host.attachment))
    extension.end(p)
    assert found == acts


def test_the_second_pass_alone_is_refused_where_there_is_none(extension: Extension, call: Call) -> None:
    """It would be a plain picture whose infotext claims InstantID."""
    p = P()
    with pytest.raises(StopGeneration, match=r"hires: .*one pass only"):
        run(extension, call, [{**ONE, "hires": "second pass"}], p)
    assert "InstantID" not in p.extra_generation_params


def test_a_photo_is_analysed_once(extension: Extension, call: Call) -> None:
    analyser = extension.store.analyser
    seen: list[int] = []
    real = analyser._analyser.faces
    analyser._analyser.faces = lambda picture: seen.append(1) or real(picture)  # type: ignore[method-assign]
    run(extension, call, [ONE])
    run(extension, call, [ONE])
    assert len(seen) == 1


def test_a_photo_is_decoded_and_judged_once_whatever_the_passes(extension: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for name in ("read_picture", "report"):
        real = getattr(photos_module, name)
        monkeypatch.setattr(photos_module, name, lambda *given, real=real, name=name: seen.append(name) or real(*given))
    p = P()
    p.enable_hr = True
    pose = {"pose": "pose picture", "pose_picture": photo((60, 50, 80))}
    extension.process(p, [{"people": [{**ONE["people"][0], **pose}]}])
    extension.before_sampling(p, X)
    p.is_hr_pass = True
    extension.before_sampling(p, torch.zeros(1, 4, HEIGHT // 4, WIDTH // 4))
    extension.end(p)
    assert sorted(seen) == ["read_picture", "read_picture", "report", "report"]


def test_a_strength_of_zero_loads_and_places_nothing(
    extension: Extension, host: Host, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("asked")

    plain = call(host.unet)
    monkeypatch.setitem(model_store.LOADERS, IDENTITYNET, never)
    monkeypatch.setattr(host, "place", never)
    monkeypatch.setattr(host, "rest", never)
    found = run(extension, call, [{"people": [{**ONE["people"][0], "identitynet_strength": 0}]}])
    assert not torch.equal(found, plain)


def test_a_model_change_outside_a_generation_leaves_nothing_attached(extension: Extension, call: Call, host: Host) -> None:
    plain, p = call(host.unet), P()
    extension.process(p, [ONE])
    extension.before_sampling(p, X)
    extension.model_changed(generating=True)  # a refiner: the host goes on with the new model
    assert host.changed == 1
    assert not torch.equal(call(host.unet), plain)
    extension.model_changed(generating=False)  # the generation died, and its end was never told
    assert torch.equal(call(host.unet), plain)


@pytest.mark.parametrize(("keep", "device"), [(Keep.GPU, META), (Keep.CPU, CPU), (Keep.NOTHING, CPU)])
def test_after_a_pass_identitynet_stays_on_the_gpu_only_if_the_person_wants_it(
    host: Host, folder: Path, keep: Keep, device: torch.device
) -> None:
    """ "meta" is the device that stands for a GPU; what comes back from it must not be asked for its values."""
    moves: list[torch.device] = []

    class Net(ControlNet):
        def to(self, *where: Any) -> Any:
            moves.append(torch.device(where[0]))
            return self

    extension = Extension(host, ModelStore(lambda: [folder], lambda: keep, lambda: folder), lambda: [])  # type: ignore[arg-type]
    extension.store.network(IDENTITYNET).__class__ = Net
    host.device = META
    p = P()
    extension.process(p, [ONE])
    extension.before_sampling(p, X)
    assert moves == [META]
    extension.stop()
    assert moves[-1] == device


@pytest.mark.parametrize("keep", Keep)
def test_networks_are_loaded_once_or_not_kept_as_the_person_wants(
    host: Host, folder: Path, call: Call, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load_adapter, load_identitynet = instantid_files.load_adapter, model_store.LOADERS[IDENTITYNET]
    monkeypatch.setattr(instantid_files, "load_adapter", lambda path: read.append(path.name) or load_adapter(path))
    monkeypatch.setitem(model_store.LOADERS, IDENTITYNET, lambda path: read.append(path.name) or load_identitynet(path))
    store = ModelStore(lambda: [folder], lambda: keep, lambda: folder)
    extension = Extension(host, store, lambda: [])  # type: ignore[arg-type]
    first = run(extension, call, [ONE])
    assert torch.equal(run(extension, call, [ONE]), first)
    assert len(read) == (4 if keep is Keep.NOTHING else 2)
    assert len(set(read)) == 2
    extension.unload()
    assert extension.host.freed
    read.clear()
    assert torch.equal(run(extension, call, [ONE]), first)
    assert len(read) == 2


def test_advice_about_photos_becomes_comments(extension: Extension) -> None:
    p = P()
    extension.process(p, [ONE])
    extension.end(p)
    assert any("use at least 112" in comment for comment in p.comments)
    assert "use at least 112" in p.extra_generation_params[NOTES]
    assert len(p.comments) == len(set(p.comments))


def test_an_ended_generation_is_forgotten_also_without_its_end(extension: Extension) -> None:
    for _ in range(20):
        extension.process(P(), [ONE])
    assert len(extension._generations._by_id) <= 1
