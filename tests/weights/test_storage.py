"""Other ways to keep IdentityNet's weights, against diffusers' ControlNetModel and against the same network kept whole."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_instantid.adapters.instantid.files import load_identitynet
from lib_instantid.errors import SettingsError
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.weights.storage import SLOTS, Storage, _layers, store
from tests.conftest import relative_error
from tests.networks.test_controlnet import SHAPES, Case

FP8, STREAMED, BOTH = Storage(fp8=True), Storage(streamed=True), Storage(fp8=True, streamed=True)


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape[0])))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def loaded(case: Case, folder: Path, dtype: torch.dtype = torch.float32) -> ControlNet:
    path = folder / f"{dtype}.safetensors"
    if not path.exists():  # a network that is loaded already may have it mapped
        save_file({name: tensor.to(dtype) for name, tensor in case.reference.state_dict().items()}, path)
    return load_identitynet(path)


def kept(case: Case, folder: Path, storage: Storage) -> ControlNet:
    net = loaded(case, folder)
    store(net, storage)
    return net


def own_bytes(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def in_fp8(weight: Tensor) -> Tensor:
    """By ml_dtypes: each output row scaled by the least power of two with which it fits."""
    numbers = weight.double().numpy()
    _, exponents = np.frexp(np.abs(numbers).reshape(len(numbers), -1).max(axis=1) / 448 * (1 - 1e-12))
    scales = np.exp2(exponents).reshape(-1, *[1] * (numbers.ndim - 1))
    return torch.from_numpy((numbers / scales).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scales).to(weight)


@torch.no_grad()
def test_fp8_is_diffusers_network_with_rounded_weights(case: Case, tmp_path: Path) -> None:
    found = case.found(kept(case, tmp_path, FP8))
    exact = case.expected()
    for part in (case.reference.down_blocks, case.reference.mid_block):
        for layer in part.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.copy_(in_fp8(layer.weight))
    for own, rounded, right in zip(found, case.expected(), exact, strict=True):
        assert relative_error(own, rounded) < 1e-5
        assert relative_error(own, right) < 0.2  # random weights add up each layer's rounding
    assert relative_error(found[-1], exact[-1]) > 1e-3


def test_fp8_takes_a_byte_for_each_weight_and_lets_the_dtype_change(case: Case, tmp_path: Path) -> None:
    net, whole = kept(case, tmp_path, FP8), loaded(case, tmp_path)
    before = case.found(net)
    blocks = [(getattr(n, part)) for n in (net, whole) for part in ("down_blocks", "mid_block")]
    assert sum(map(own_bytes, blocks[:2])) < 0.3 * sum(map(own_bytes, blocks[2:]))
    for dtype, error in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
        assert relative_error(case.found(net.to(dtype))[-1], before[-1]) < error
    weight = next(_layers(net)).weight
    assert weight.dtype is torch.float16
    assert torch.equal(weight.float(), next(_layers(net.float())).weight)  # fp16 multiplies exactly


def test_a_row_of_zeros_and_a_row_of_tiny_numbers_stay_finite(case: Case, tmp_path: Path) -> None:
    net = loaded(case, tmp_path)
    layer = next(_layers(net))
    layer.weight.data[0], layer.weight.data[1] = 0.0, 1e-30
    store(net, FP8)
    assert not layer.weight[:2].any()
    assert all(t.isfinite().all() for t in case.found(net))


@pytest.mark.parametrize("storage", [STREAMED, BOTH], ids=["file's dtype", "fp8"])
def test_streamed_the_numbers_are_the_same(case: Case, tmp_path: Path, storage: Storage) -> None:
    whole = kept(case, tmp_path, Storage(fp8=storage.fp8))
    streamed = kept(case, tmp_path, storage)
    for _ in range(3):
        assert all(map(torch.equal, case.found(streamed), case.found(whole)))


def test_streamed_one_layer_has_its_weights_at_a_time(case: Case, tmp_path: Path) -> None:
    net, whole = kept(case, tmp_path, STREAMED), loaded(case, tmp_path)
    layers = list(_layers(net))
    most = max(map(own_bytes, _layers(whole)))
    present: list[list[nn.Module]] = []
    for layer in layers:
        layer.register_forward_hook(lambda *_: present.append([one for one in layers if own_bytes(one)]), prepend=True)
    case.found(net)
    assert all(len(one) == 1 for one in present)
    assert len({one[0] for one in present}) == len(layers)
    assert not any(map(own_bytes, layers))
    assert most * SLOTS <= net.slots.nbytes < (most + 256) * SLOTS


def test_streamed_the_next_layers_are_there_before_their_turn(case: Case, tmp_path: Path) -> None:
    """Copied while earlier layers compute, so that a copy can overlap, once the order is known."""
    net, whole = kept(case, tmp_path, STREAMED), loaded(case, tmp_path)
    given: list[tuple] = []
    handle = net.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    case.found(net)
    handle.remove()
    there: list[bool] = []
    for layer, own in zip(_layers(net), _layers(whole), strict=True):
        weight = own.weight.data.flatten().view(torch.uint8)
        layer.register_forward_pre_hook(
            lambda *_, weight=weight: there.append(any(torch.equal(slot[: len(weight)], weight) for slot in net.slots)),
            prepend=True,
        )
    with torch.no_grad():
        net(*given[0])
        there.clear()
        net(*given[0])
    assert len(there) > SLOTS
    assert all(there)


def test_streamed_through_moves_breaks_and_another_order(case: Case, tmp_path: Path) -> None:
    net, whole = kept(case, tmp_path, STREAMED), loaded(case, tmp_path)
    expected = case.found(whole)
    case.found(net)
    layers = list(_layers(net))
    handle = layers[len(layers) // 2].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        case.found(net)
    handle.remove()
    assert all(map(torch.equal, case.found(net), expected))
    net.prepare_context(case.tokens)
    net.double().float().to("cpu")
    assert all(map(torch.equal, case.found(net), expected))
    assert torch.equal(case.found(net.double())[-1], case.found(whole.double())[-1])


def test_streamed_the_file_s_dtype_stays_whatever_computes(case: Case, tmp_path: Path) -> None:
    case.reference.half().float()
    net = loaded(case, tmp_path, torch.float16)
    store(net, STREAMED)
    net.float()
    assert net.slots.nbytes < max(map(own_bytes, _layers(loaded(case, tmp_path)))) * SLOTS * 0.6
    for own, right in zip(case.found(net), case.expected(), strict=True):
        assert relative_error(own, right) < 1e-5


def test_without_float8_one_sentence_says_so(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = loaded(case, tmp_path)
    monkeypatch.delattr(torch, "float8_e4m3fn")
    with pytest.raises(SettingsError, match=r"fp8 need PyTorch 2\.1 or newer, and this is .*settings page"):
        store(net, FP8)


@pytest.mark.parametrize("storage", [FP8, STREAMED, BOTH], ids=str)
def test_a_networks_memory_is_free_with_its_last_reference(case: Case, tmp_path: Path, storage: Storage) -> None:
    """Also while the garbage collector sleeps: gigabytes would be there twice until it looks at everything."""
    net = kept(case, tmp_path, storage)
    case.found(net)
    weights = [weakref.ref(t) for t in (net, *net.buffers(), next(_layers(net)))]
    gc.collect()
    gc.disable()
    try:
        del net
        assert not [one for one in weights if one() is not None]
    finally:
        gc.enable()
