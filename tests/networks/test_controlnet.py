"""IdentityNet against diffusers' ControlNetModel with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_instantid.adapters.instantid.files import load_identitynet
from lib_instantid.networks.controlnet import ControlNet, Residuals
from tests.conftest import relative_error
from tests.ldm_unet import ldm_name

# channels, depths, context size, pooled text size, time id size, latents' height and width, batch
SHAPES = [
    ((32, 64, 128), (1, 2, 3), 64, 32, 8, (12, 16), 2),
    ((64, 128, 192), (1, 1, 4), 96, 48, 16, (9, 7), 1),
    ((32, 64, 64), (1, 3, 1), 32, 16, 4, (16, 15), 5),
    ((64, 64, 128), (1, 2, 2), 128, 64, 32, (10, 22), 3),
]


def controlnet(channels: tuple[int, ...], depths: tuple[int, ...], context: int, text: int, time_id: int) -> ControlNetModel:
    torch.manual_seed(sum(channels))
    net = ControlNetModel(
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=depths,
        attention_head_dim=tuple(max(1, c // 64) for c in channels),
        cross_attention_dim=context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_id,
        projection_class_embeddings_input_dim=text + 6 * time_id,
        conditioning_embedding_out_channels=(16, 32, 96, 256),
    ).eval()
    for parameter in net.parameters():
        if not parameter.any():  # training starts with zeros
            nn.init.normal_(parameter, std=0.1)
    return net


class Case:
    def __init__(self, shape: tuple) -> None:
        channels, depths, context, text, time_id, (height, width), batch = shape
        self.reference = controlnet(channels, depths, context, text, time_id)
        self.x = torch.randn(batch, 4, height, width)
        self.timestep = torch.rand(batch) * 1000
        self.tokens = torch.randn(batch, 16, context)
        self.hint = torch.rand(1, 3, height * 8, width * 8)
        self.text_embeds = torch.randn(batch, text)
        self.time_ids = torch.randint(0, 1024, (batch, 6)).float()

    @torch.no_grad()
    def expected(self, strength: float = 1.0) -> tuple[Tensor, ...]:
        down, middle = self.reference(
            self.x,
            self.timestep,
            self.tokens,
            self.hint.expand(len(self.x), -1, -1, -1),
            conditioning_scale=strength,
            added_cond_kwargs={"text_embeds": self.text_embeds, "time_ids": self.time_ids},
            return_dict=False,
        )
        return (*down, middle)

    @torch.no_grad()
    def found(self, net: ControlNet) -> tuple[Tensor, ...]:
        ids = self.reference.add_time_proj(self.time_ids.flatten()).reshape(len(self.x), -1)
        vector = torch.cat([self.text_embeds, ids], dim=-1)
        residuals: Residuals = net(self.x, self.timestep, vector, net.prepare_hint(self.hint), net.prepare_context(self.tokens))
        return (*residuals.down, residuals.middle)


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape[0])))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_residuals_equal_diffusers_for_any_shape_read_off_the_weights(case: Case, tmp_path: Path) -> None:
    case.reference.save_pretrained(tmp_path / "ControlNetModel")
    net = load_identitynet(tmp_path / "ControlNetModel")
    for found, expected in zip(case.found(net), case.expected(), strict=True):
        assert found.shape == expected.shape
        assert relative_error(found, expected) < 1e-5


def test_ldm_names_and_any_order_and_file_name_give_the_same_network(case: Case, tmp_path: Path) -> None:
    renamed = {"control_model." + ldm_name(name): tensor for name, tensor in case.reference.state_dict().items()}
    save_file(dict(sorted(renamed.items(), reverse=True)), tmp_path / "anything.safetensors")
    net = load_identitynet(tmp_path / "anything.safetensors")
    for found, expected in zip(case.found(net), case.expected(), strict=True):
        assert relative_error(found, expected) < 1e-5


def test_weights_keep_the_files_dtype_and_are_no_copy(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in Case(SHAPES[0]).reference.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    net = load_identitynet(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float16}
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_bfloat16_stays_near_float32(case: Case, tmp_path: Path) -> None:
    case.reference.save_pretrained(tmp_path / "net")
    net = load_identitynet(tmp_path / "net").to(torch.bfloat16)
    for found, expected in zip(case.found(net), case.expected(), strict=True):
        assert relative_error(found, expected) < 0.05
