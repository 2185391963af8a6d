"""IdentityNet laid out for a CPU, against diffusers' ControlNetModel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lib_instantid.networks.packing import PACKED, place
from lib_instantid.weights.storage import Storage, store
from tests.conftest import relative_error
from tests.networks.test_controlnet import SHAPES, Case
from tests.weights.test_storage import loaded, own_bytes

CPU = torch.device("cpu")


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape[0])))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_a_packed_network_is_diffusers(case: Case, tmp_path: Path) -> None:
    net = place(loaded(case, tmp_path), CPU, torch.float32)
    for found, expected in zip(case.found(net), case.expected(), strict=True):
        assert relative_error(found, expected) < 1e-5


def test_every_layer_of_the_blocks_is_packed_and_none_twice(case: Case, tmp_path: Path) -> None:
    net = place(loaded(case, tmp_path), CPU, torch.float32)
    layers = [layer for part in (net.down_blocks, net.mid_block) for layer in part.modules()]
    assert not [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
    packed = [layer for layer in layers if type(layer) in PACKED.values()]
    again = place(net, CPU, torch.float32)
    assert packed == [layer for part in (again.down_blocks, again.mid_block) for layer in part.modules() if layer in packed]


def test_there_is_no_second_copy_of_the_weights(case: Case, tmp_path: Path) -> None:
    net = place(loaded(case, tmp_path, torch.float16), CPU, torch.float32)
    assert own_bytes(net) == own_bytes(loaded(case, tmp_path, torch.float32))


def test_weights_are_packed_from_the_dtype_of_their_file(case: Case, tmp_path: Path) -> None:
    net = place(loaded(case, tmp_path, torch.float16), CPU, torch.float32)
    case.reference.half().float()
    for found, expected in zip(case.found(net), case.expected(), strict=True):
        assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", torch.bfloat16), ("cpu", torch.float64), ("meta", torch.float32)], ids=str
)
def test_elsewhere_a_network_is_only_moved(case: Case, tmp_path: Path, device: str, dtype: torch.dtype) -> None:
    net = place(loaded(case, tmp_path), torch.device(device), dtype)
    assert not [layer for layer in net.modules() if type(layer) in PACKED.values()]
    assert {(p.device.type, p.dtype) for p in net.parameters()} == {(device, dtype)}


@pytest.mark.parametrize("storage", [Storage(fp8=True), Storage(streamed=True), Storage(fp8=True, streamed=True)], ids=str)
def test_layers_that_are_kept_otherwise_stay_so(case: Case, tmp_path: Path, storage: Storage) -> None:
    net = loaded(case, tmp_path)
    store(net, storage)
    before = case.found(net)
    place(net, CPU, torch.float32)
    assert not [layer for layer in net.modules() if type(layer) in PACKED.values()]
    assert all(torch.equal(a, b) for a, b in zip(before, case.found(net), strict=True))
