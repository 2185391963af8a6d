"""The resampler against diffusers' IPAdapterPlusImageProjection, which computes the same thing under other names."""

from __future__ import annotations

import pytest
import torch
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from torch import Tensor

from lib_instantid.networks.resampler import Resampler
from tests.conftest import relative_error
from tests.parity.fixture import filled, resampler_shapes

# size, depth, queries, embedding, context, feed-forward factor
SIZES = [(64, 4, 16, 512, 64, 4), (128, 4, 16, 512, 96, 4), (192, 4, 8, 512, 40, 4), (1280, 4, 16, 512, 2048, 4)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_tokens_equal_diffusers_projection(sizes: tuple[int, ...]) -> None:
    weights = filled(resampler_shapes(*sizes), "image_proj", seed=sum(sizes))
    embeddings = torch.randn(3, 512) * 20
    ours = Resampler(weights)
    ours.load_state_dict(weights)
    with torch.no_grad():
        found, expected = ours(embeddings[:, None]), diffusers_projection(weights)(embeddings[:, None])
    assert found.shape == (3, sizes[2], sizes[4])
    assert relative_error(found, expected) < 2e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_stay_as_they_are_kept_and_tokens_are_computed_in_float32(dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in filled(resampler_shapes(*SIZES[0]), "image_proj", seed=1).items()}
    ours = Resampler(weights).to(dtype)
    ours.load_state_dict(weights)
    embeddings = torch.randn(3, 512) * 20
    with torch.no_grad():
        found = ours(embeddings[:, None])
        expected = diffusers_projection({name: tensor.float() for name, tensor in weights.items()})(embeddings[:, None])
    assert found.dtype == torch.float32
    assert relative_error(found, expected) < 2e-5
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}


def diffusers_projection(weights: dict[str, Tensor]) -> torch.nn.Module:
    convert = UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
    projection = convert(UNet2DConditionLoadersMixin(), dict(weights), low_cpu_mem_usage=False)
    assert type(projection).__name__ == "IPAdapterPlusImageProjection"
    return projection.eval()
