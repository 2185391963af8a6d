"""What the face options of the settings page do."""

from __future__ import annotations

import shutil
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_instantid.errors import SettingsError
from lib_instantid.face.analyser import Analyser
from lib_instantid.nets.adapter import Adapter, load_adapter
from lib_instantid.nets.storage import Storage
from lib_instantid.webui import engine as engine_module
from lib_instantid.webui.engine import Engine, Keep
from lib_instantid.webui.remembering import FaceOptions, RememberingAdapter, RememberingAnalyser
from tests.face.scenes import squares


def test_an_option_that_changes_opens_the_analyser_anew_and_otherwise_it_stays(weights_folder: Path) -> None:
    options = [FaceOptions()]
    engine = Engine(lambda: [weights_folder], lambda: Keep.CPU, lambda: options[0])
    first = engine.analyser
    assert engine.analyser is first
    options[0] = FaceOptions(provider="auto")
    assert engine.analyser is not first
    options[0] = FaceOptions(backend="somebody")
    with pytest.raises(SettingsError, match="somebody"):
        _ = engine.analyser


@pytest.mark.parametrize(("remembered", "looks"), [(32, 2), (2, 2), (1, 4), (0, 4)])
def test_as_many_pictures_are_remembered_as_wished(weights_folder: Path, remembered: int, looks: int) -> None:
    seen: list[int] = []
    inner = Engine(lambda: [weights_folder], lambda: Keep.CPU).analyser

    class Counting:
        provider = "cpu"

        def faces(self, picture):  # type: ignore[no-untyped-def]
            seen.append(1)
            return inner.faces(picture)

    analyser = RememberingAnalyser(Counting(), FaceOptions(remembered=remembered))  # type: ignore[arg-type]
    pictures = [squares(300, 200, [(90, 60, 70)]), squares(300, 200, [(30, 60, 70)])]
    for _ in range(2):
        found = [analyser.faces(picture) for picture in pictures]
    assert [len(faces) for faces in found] == [1, 1]
    assert len(seen) == looks


def test_the_tokens_of_a_picture_s_faces_are_remembered_and_the_file_is_closed(weights_folder: Path) -> None:
    adapters: list[weakref.ref[Adapter]] = []

    def load() -> Adapter:
        adapter = load_adapter(weights_folder / "ip-adapter.bin")
        adapters.append(weakref.ref(adapter))
        return adapter

    right = load_adapter(weights_folder / "ip-adapter.bin")
    remembering = RememberingAdapter(load)
    faces = torch.randn(RememberingAdapter.FACES + 1, 512, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        for face in faces[1:]:
            found, expected = (one.face_tokens(face, torch.zeros(512)) for one in (remembering, right))
            assert torch.equal(found.tokens, expected.tokens)
            assert all(torch.equal(found.keys_values[i].key, pair.key) for i, pair in expected.keys_values.items())
    assert len(adapters) == RememberingAdapter.FACES
    remembering.face_tokens(faces[0], torch.zeros(512))
    remembering.face_tokens(faces[-1], torch.zeros(512))
    assert len(adapters) == RememberingAdapter.FACES + 1
    remembering.face_tokens(faces[-1], torch.ones(512))  # another unconditional embedding
    remembering.face_tokens(faces[1], torch.zeros(512))  # the oldest
    assert len(adapters) == RememberingAdapter.FACES + 3
    remembering.forget()
    remembering.face_tokens(faces[1], torch.zeros(512))
    assert len(adapters) == RememberingAdapter.FACES + 4
    assert not any(adapter() for adapter in adapters)


def test_another_storage_loads_identitynet_anew(weights_folder: Path) -> None:
    options = [Storage()]
    engine = Engine(lambda: [weights_folder], lambda: Keep.CPU, storage=lambda: options[0])
    whole = engine.identitynet()
    assert engine.identitynet() is whole
    options[0] = Storage(fp8=True)
    in_fp8 = engine.identitynet()
    assert engine.identitynet() is in_fp8
    sizes = [sum(t.nbytes for t in chain(net.parameters(), net.buffers())) for net in (whole, in_fp8)]
    assert sizes[1] < sizes[0]


def test_of_several_identitynets_the_named_one_acts_and_an_unknown_name_lists_them(
    weights_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ControlNet" / "other.safetensors"
    other.parent.mkdir()
    released = weights_folder / "ControlNetModel" / "diffusion_pytorch_model.safetensors"
    tensors = {name: tensor + 1 for name, tensor in load_file(released).items()}
    save_file(tensors, other)
    shutil.copy(released.with_name("config.json"), other.parent)
    engine = Engine(lambda: [weights_folder, tmp_path], lambda: Keep.CPU)
    first, second = "ControlNetModel/diffusion_pytorch_model.safetensors", "ControlNet/other.safetensors"
    assert engine.identitynet_names() == (first, second)
    assert engine.identitynet_name(None) == first
    bias = [next(iter(engine.identitynet(name).parameters())).flatten()[0].item() for name in (None, first, second)]
    assert bias == pytest.approx([bias[0], bias[0], bias[0] + 1])
    with pytest.raises(SettingsError, match=f"identitynet_file: found 'mine', expected '{first}' or '{second}'"):
        engine.identitynet("mine")


def test_a_face_at_points_by_hand_is_looked_at_once_too(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyser = Engine(lambda: [weights_folder], lambda: Keep.CPU).analyser
    inner = analyser._analyser  # type: ignore[attr-defined]
    real, seen = inner.face_at, []
    monkeypatch.setattr(inner, "face_at", lambda picture, points: seen.append(1) or real(picture, points))
    picture = squares(300, 200, [(90, 60, 70)])
    points = [[110.0, 80], [140, 80], [125, 95], [112, 112], [138, 112]]
    first = analyser.face_at(picture, points)
    assert analyser.face_at(picture, torch.tensor(points).numpy()) is first
    assert len(seen) == 1
    assert analyser.face_at(picture, [[x + 1, y] for x, y in points]) is not first
    assert analyser.faces(picture)[0] is not first
    assert len(seen) == 2


def test_however_many_ask_at_once_the_analyser_is_opened_once(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = engine_module.open_analyser

    def slowly(*arguments: Any) -> Analyser:
        time.sleep(0.2)
        opened.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(engine_module, "open_analyser", slowly)
    engine = Engine(lambda: [weights_folder], lambda: Keep.CPU)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine.analyser, range(4)))
    assert len(opened) == 1
    assert len({id(one) for one in found}) == 1


def test_two_who_ask_at_once_are_served_one_after_the_other() -> None:
    """A session of onnxruntime may be asked by several threads, but each run takes hundreds of MB."""
    inside: list[int] = []
    most: list[int] = []

    class Slow:
        provider = "cpu"

        def faces(self, _):  # type: ignore[no-untyped-def]
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()
            return ()

    analyser = RememberingAnalyser(Slow(), FaceOptions())  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(analyser.faces, [squares(40 + i, 40, []) for i in range(4)]))
    assert most == [1, 1, 1, 1]
