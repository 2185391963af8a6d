"""The vision tower against transformers' own, and pictures against transformers' preparation of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip import CLIPImageProcessorPil

from lib_instantid.encoders.vision import MEAN, padded, pixels_of, tower_of
from tests.conftest import relative_error

SIDE = 56
CONFIG = CLIPVisionConfig(
    hidden_size=64,
    intermediate_size=96,
    projection_dim=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=SIDE,
    patch_size=14,
    hidden_act="gelu",
)


@pytest.fixture(scope="module")
def model() -> CLIPVisionModelWithProjection:
    torch.manual_seed(0)
    return CLIPVisionModelWithProjection(CONFIG).eval()


def in_open_clips_names(model: CLIPVisionModelWithProjection) -> dict[str, Tensor]:
    """The weights as open_clip's VisionTransformer names them."""
    state = {name.removeprefix("vision_model."): tensor for name, tensor in model.state_dict().items()}
    found = {
        "class_embedding": state["embeddings.class_embedding"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "conv1.weight": state["embeddings.patch_embedding.weight"],
        "proj": state["visual_projection.weight"].T,
    }
    for kind in ("weight", "bias"):
        found |= {f"ln_pre.{kind}": state[f"pre_layrnorm.{kind}"], f"ln_post.{kind}": state[f"post_layernorm.{kind}"]}
        for i in range(CONFIG.num_hidden_layers):
            theirs, own = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            parts = [state[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found |= {
                f"{own}.attn.in_proj_{kind}": torch.cat(parts),
                f"{own}.attn.out_proj.{kind}": state[f"{theirs}.self_attn.out_proj.{kind}"],
                f"{own}.ln_1.{kind}": state[f"{theirs}.layer_norm1.{kind}"],
                f"{own}.ln_2.{kind}": state[f"{theirs}.layer_norm2.{kind}"],
                f"{own}.mlp.c_fc.{kind}": state[f"{theirs}.mlp.fc1.{kind}"],
                f"{own}.mlp.c_proj.{kind}": state[f"{theirs}.mlp.fc2.{kind}"],
            }
    return {f"visual.{name}": tensor for name, tensor in found.items()}


@pytest.mark.parametrize("names", ["transformers", "open_clip"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_towers_sizes_follow_from_its_tensors(model: CLIPVisionModelWithProjection, names: str, dtype: torch.dtype) -> None:
    state = dict(model.state_dict()) if names == "transformers" else in_open_clips_names(model)
    kept = {name: tensor.to(dtype) for name, tensor in state.items()}
    other = {"text_model.final_layer_norm.weight": torch.ones(3), "logit_scale": torch.ones(())}  # of a whole CLIP
    tower = tower_of({**kept, **other}, heads=4)
    reference = CLIPVisionModelWithProjection(CONFIG).eval()
    reference.load_state_dict({name: tensor.to(dtype).float() for name, tensor in model.state_dict().items()})
    pixels = torch.randn(2, 3, SIDE, SIDE)
    found = tower.see(pixels)
    with torch.no_grad():
        expected = reference(pixels, output_hidden_states=True)
    assert tower.side == SIDE
    assert relative_error(found.embedding, expected.image_embeds) < 1e-5
    assert relative_error(found.hidden, expected.hidden_states[-2]) < 1e-5


@pytest.mark.parametrize("size", [(224, 224), (300, 200), (200, 301), (90, 500), (31, 33)], ids=str)
def test_the_middle_square_is_seen_as_transformers_prepares_it(size: tuple[int, int]) -> None:
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = CLIPImageProcessorPil()(images=Image.fromarray(picture), return_tensors="pt").pixel_values
    assert torch.allclose(pixels_of(picture, 224, "centre"), expected, atol=1e-5)


def test_the_whole_picture_is_seen_in_a_square_of_the_mean_colour() -> None:
    picture = np.full((100, 40, 3), 255, np.uint8)
    square = padded(picture)
    assert square.shape == (100, 100, 3)
    assert (square[:, 30:70] == 255).all()
    assert square[0, 0].tolist() == [round(255 * value) for value in MEAN]
    seen = pixels_of(picture, 100, "whole picture")
    assert seen[0, :, 50, 5].abs().max() < 0.02  # the mean is zero there
    assert seen[0, :, 0, 50].min() > 1.5  # its upper edge is there
