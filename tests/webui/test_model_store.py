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
from PIL import Image
from safetensors.torch import load_file, save_file

from lib_instantid.adapters.instantid.files import load_adapter
from lib_instantid.adapters.instantid.recognise import IDENTITYNET
from lib_instantid.adapters.instantid.tokens import RememberingAdapter
from lib_instantid.encoders.face.analyser import Analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import SettingsError
from lib_instantid.networks.adapter import Adapter
from lib_instantid.webui import model_store
from lib_instantid.webui.model_store import FaceOptions, Keep, ModelStore
from lib_instantid.weights.storage import Storage
from tests.encoders.face.scenes import squares


def nowhere() -> Path:
    """The folder of saved identities."""
    return Path("none")


def test_an_option_that_changes_opens_the_analyser_anew_and_otherwise_it_stays(weights_folder: Path) -> None:
    options = [FaceOptions()]
    store = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, nowhere, lambda: options[0])
    first = store.analyser
    assert store.analyser is first
    options[0] = FaceOptions(provider="auto")
    assert store.analyser is not first
    options[0] = FaceOptions(backend="somebody")
    with pytest.raises(SettingsError, match="somebody"):
        _ = store.analyser


@pytest.mark.parametrize(("remembered", "looks"), [(32, 2), (2, 2), (1, 4), (0, 4)])
def test_as_many_pictures_are_remembered_as_wished(weights_folder: Path, remembered: int, looks: int) -> None:
    seen: list[int] = []
    inner = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, nowhere).analyser

    class Counting:
        provider = "cpu"

        def faces(self, picture):  # type: ignore[no-untyped-def]
            seen.append(1)
            return inner.faces(picture)

    photos = Photos(Counting(), remembered)  # type: ignore[arg-type]
    pictures = [Image.fromarray(squares(300, 200, [(left, 60, 70)])) for left in (90, 30)]
    for _ in range(2):
        lefts = [photos.face_of(picture, "largest", None, "photo").face.box[0] for picture in pictures]
    assert lefts == pytest.approx([90, 30], abs=15)
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
    assert not any(adapter() for adapter in adapters)


def test_another_storage_loads_identitynet_anew(weights_folder: Path) -> None:
    options = [Storage()]
    store = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, nowhere, storage=lambda: options[0])
    whole = store.network(IDENTITYNET)
    assert store.network(IDENTITYNET) is whole
    options[0] = Storage(fp8=True)
    in_fp8 = store.network(IDENTITYNET)
    assert store.network(IDENTITYNET) is in_fp8
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
    store = ModelStore(lambda: [weights_folder, tmp_path], lambda: Keep.CPU, nowhere)
    first, second = "ControlNetModel/diffusion_pytorch_model.safetensors", "ControlNet/other.safetensors"
    assert store.names(IDENTITYNET) == (first, second)
    assert store.file_name(IDENTITYNET, None, "identitynet_file") == first
    bias = [next(iter(store.network(IDENTITYNET, name).parameters())).flatten()[0].item() for name in (None, first, second)]
    assert bias == pytest.approx([bias[0], bias[0], bias[0] + 1])
    with pytest.raises(SettingsError, match=f"identitynet_file: found 'mine', expected '{first}' or '{second}'"):
        store.file_name(IDENTITYNET, "mine", "identitynet_file")


def test_a_face_at_points_by_hand_is_looked_at_once_too(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, nowhere).analyser
    inner = photos._analyser
    real, seen = inner.face_at, []
    monkeypatch.setattr(inner, "face_at", lambda picture, points: seen.append(1) or real(picture, points))
    picture = Image.fromarray(squares(300, 200, [(90, 60, 70)]))
    points = [[0.37, 0.4], [0.47, 0.4], [0.42, 0.48], [0.37, 0.56], [0.46, 0.56]]
    first = photos.face_of(picture, "largest", points, "photo")
    assert photos.face_of(picture, "largest", torch.tensor(points, dtype=torch.float64).numpy(), "photo") is first
    assert len(seen) == 1
    assert photos.face_of(picture, "largest", [[x + 0.01, y] for x, y in points], "photo") is not first
    assert photos.face_of(picture, "largest", None, "photo") is not first
    assert len(seen) == 2


def test_however_many_ask_at_once_the_analyser_is_opened_once(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = model_store.open_analyser

    def slowly(*arguments: Any) -> Analyser:
        time.sleep(0.2)
        opened.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(model_store, "open_analyser", slowly)
    store = ModelStore(lambda: [weights_folder], lambda: Keep.CPU, nowhere)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.analyser, range(4)))
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

    analyser = Photos(Slow())  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(analyser.faces, [squares(40 + i, 40, []) for i in range(4)]))
    assert most == [1, 1, 1, 1]
