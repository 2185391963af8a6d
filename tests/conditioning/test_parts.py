"""Each kind of part alone and together, on SDXL's and SD1.5's UNets, against diffusers and against weights changed by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import (
    AttentionPart,
    Conditioning,
    ContextPart,
    ControlContext,
    ControlPart,
    LoraPart,
    LowRank,
    Part,
)
from lib_instantid.conditioning.schedule import Step, Window
from lib_instantid.conditioning.sites import attention_sites, cross_attention_sites
from lib_instantid.errors import UnsupportedModel
from lib_instantid.networks.attention import KeyValue
from lib_instantid.networks.controlnet import ControlNet, Shape
from tests.conftest import relative_error
from tests.ldm_unet import ldm_unet_like

HEIGHT, WIDTH, CONTEXT = 64, 128, 48
ROWS = (False, True)
SD15 = {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": CONTEXT, "attention_head_dim": 8}
SDXL = {
    "block_out_channels": (32, 64, 128),
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": (1, 1, 2),
    "transformer_layers_per_block": (1, 1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 32 + 6 * 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
}
UP = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")


class World:
    """A UNet, its ControlNet, and a call of two rows, unconditional and conditional."""

    def __init__(self, base: str, layout: str) -> None:
        torch.manual_seed(0)
        config, up = (SDXL, {"up_block_types": UP}) if base == "SDXL" else (SD15, {})
        self.reference = UNet2DConditionModel(**config, **up).eval()
        self.controlnet = ControlNetModel(**config, conditioning_embedding_out_channels=(16, 32, 96, 256)).eval()
        for parameter in self.controlnet.parameters():
            if not parameter.any():  # training starts with zeros
                nn.init.normal_(parameter, std=0.1)
        self.unet = self.reference if layout == "diffusers" else ldm_unet_like(self.reference)
        self.x, self.timestep = torch.randn(2, 4, HEIGHT // 8, WIDTH // 8), torch.tensor([601.0, 601.0])
        self.text, self.hint = torch.randn(2, 77, CONTEXT), torch.rand(1, 3, HEIGHT, WIDTH)
        pooled, ids = torch.randn(2, 32), torch.tensor([[64.0, 128, 0, 0, 64, 128]] * 2)
        self.added = {"text_embeds": pooled, "time_ids": ids} if base == "SDXL" else None
        sizes = self.reference.add_time_proj(ids.flatten()).reshape(2, -1) if base == "SDXL" else None
        self.vector = None if sizes is None else torch.cat([pooled, sizes], dim=-1)

    @torch.no_grad()
    def noise(self, *parts: Part, step: Step | None = None) -> Tensor:
        """With the parts attached."""
        own = Conditioning(parts=parts, size=(WIDTH, HEIGHT))
        now = step or Step(index=0, total=1)
        with attach(self.unet, own, rows_of=lambda _: ROWS, step=lambda: now):
            return self.call(self.unet, self.text)

    @torch.no_grad()
    def call(self, unet: nn.Module, text: Tensor, **other: Any) -> Tensor:
        if isinstance(unet, UNet2DConditionModel):
            return unet(self.x, self.timestep, text, added_cond_kwargs=self.added, **other).sample
        return unet(self.x, self.timestep, context=text, y=self.vector)

    @torch.no_grad()
    def residuals(self, context: Tensor, strength: float) -> dict[str, Any]:
        """Of diffusers' ControlNet, as its UNet takes them."""
        hint = self.hint.expand(2, -1, -1, -1)
        given = {"conditioning_scale": strength, "added_cond_kwargs": self.added, "return_dict": False}
        down, middle = self.controlnet(self.x, self.timestep, context, hint, **given)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def control(self, *contexts: ControlContext) -> ControlPart:
        net = ControlNet(Shape.of(self.controlnet.state_dict()))
        net.load_state_dict(self.controlnet.state_dict())
        return ControlPart(network=net.eval(), hint=self.hint, contexts=contexts, title="ControlNet", cure="Choose another.")

    def attention(self, strength: float = 0.7, **other: Any) -> tuple[AttentionPart, dict[int, nn.Module]]:
        """A part with random keys and values, and diffusers' processors that do the same, by the numbers of the sites."""
        torch.manual_seed(1)
        tokens, processors, keys_values = torch.randn(2, 5, CONTEXT), {}, {}
        for site in cross_attention_sites(self.reference):
            own = IPAdapterAttnProcessor2_0(site.width, CONTEXT, num_tokens=(5,), scale=strength).requires_grad_(False)
            key, value = own.to_k_ip[0](tokens), own.to_v_ip[0](tokens)
            keys_values[site.number], processors[site.number] = KeyValue(key, value), own
        self.tokens = tokens
        return AttentionPart(keys_values=keys_values, strength=strength, misfit="these are for another.", **other), processors

    def lora(self, strength: float = 0.6, **other: Any) -> tuple[LoraPart, UNet2DConditionModel]:
        """A part with random products in every linear layer, and a UNet whose weights have them."""
        torch.manual_seed(2)
        changed, layers = copy.deepcopy(self.reference), {}
        for site in attention_sites(changed):
            for name in ("to_q", "to_k", "to_v", "to_out"):
                layer: Any = site.linear(name)
                down, up = torch.randn(4, layer.in_features) * 0.1, torch.randn(layer.out_features, 4) * 0.1
                layers[site.number, name] = LowRank(down=down, up=up)
                layer.weight.data += strength * up @ down
        return LoraPart(layers=layers, strength=strength, misfit="this is for another.", **other), changed


@pytest.fixture(scope="module", params=["SD1.5 diffusers", "SD1.5 ldm", "SDXL diffusers", "SDXL ldm"])
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param.split())


def with_processors(processors: dict[int, nn.Module], unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of a diffusers UNet whose cross-attentions have an IP-Adapter."""
    changed = copy.deepcopy(unet)
    names = {f"{site.name}.processor": site.number for site in cross_attention_sites(changed)}
    changed.set_attn_processor(
        {name: processors[names[name]] if name in names else AttnProcessor2_0() for name in changed.attn_processors}
    )
    changed.config.encoder_hid_dim_type = None
    return changed


def called_with_tokens(world: World, unet: UNet2DConditionModel, **other: Any) -> Tensor:
    """diffusers' processors take the context and the tokens as a pair."""
    return world.call(unet, (world.text, [world.tokens[:, None]]), **other)  # type: ignore[arg-type]


def test_an_attention_part_is_diffusers_ip_adapter(world: World) -> None:
    part, processors = world.attention()
    expected = called_with_tokens(world, with_processors(processors, world.reference))
    assert relative_error(expected, world.call(world.reference, world.text)) > 1e-3
    assert relative_error(world.noise(part), expected) < 1e-5


def test_its_strength_may_differ_from_block_to_block_in_the_order_in_which_they_run(world: World) -> None:
    part, processors = world.attention()
    names = [name.partition(".transformer_blocks")[0] for name in world.reference.attn_processors]
    run = [name for start in ("down", "mid", "up") for name in dict.fromkeys(names) if name.startswith(start)]
    for number, own in processors.items():
        own.scale = [0.1 * run.index(names[number])]
    expected = called_with_tokens(world, with_processors(processors, world.reference))
    seen = set()

    def strength(block: int, blocks: int) -> float:
        seen.add(blocks)
        return 0.1 * block

    given = AttentionPart(keys_values=part.keys_values, strength=strength, misfit="")
    assert relative_error(world.noise(given), expected) < 1e-5
    assert seen == {len(run)}


def test_a_control_part_sees_the_text_or_its_own_tokens(world: World) -> None:
    own = torch.randn(2, 16, CONTEXT)
    for tokens, context in ((None, world.text), (own, own)):
        expected = world.call(world.reference, world.text, **world.residuals(context, 0.8))
        found = world.noise(world.control(ControlContext(strength=0.8, tokens=tokens)))
        assert relative_error(found, expected) < 1e-5


def test_two_control_parts_add_up(world: World) -> None:
    first, second = world.residuals(world.text, 0.8), world.residuals(world.text.flip(0), 0.5)
    both = {
        "down_block_additional_residuals": [
            a + b for a, b in zip(*(one["down_block_additional_residuals"] for one in (first, second)), strict=True)
        ],
        "mid_block_additional_residual": sum(one["mid_block_additional_residual"] for one in (first, second)),
    }
    parts = (
        world.control(ControlContext(strength=0.8)),
        world.control(ControlContext(strength=0.5, tokens=world.text.flip(0))),
    )
    assert relative_error(world.noise(*parts), world.call(world.reference, world.text, **both)) < 1e-5


def test_a_lora_part_is_weights_with_the_product(world: World) -> None:
    part, changed = world.lora()
    expected = world.call(changed, world.text)
    assert relative_error(expected, world.call(world.reference, world.text)) > 1e-3
    assert relative_error(world.noise(part), expected) < 1e-5


def test_a_context_part_lengthens_the_text(world: World) -> None:
    tokens = torch.randn(2, 9, CONTEXT)
    expected = world.call(world.reference, torch.cat([world.text, tokens], dim=1))
    assert relative_error(world.noise(ContextPart(tokens=tokens)), expected) < 1e-5


def test_all_kinds_act_together(world: World) -> None:
    """The attention's query is the one that the products have made; ControlNets see the text alone."""
    lora, changed = world.lora()
    attention, processors = world.attention()
    expected = called_with_tokens(world, with_processors(processors, changed), **world.residuals(world.text, 0.8))
    found = world.noise(world.control(ControlContext(strength=0.8)), attention, lora)
    assert relative_error(found, expected) < 1e-5


LATE = Window(start=0.5, end=1.0)


def test_each_kind_has_a_window_and_leaves_no_trace(world: World) -> None:
    plain = world.call(world.unet, world.text)
    parts: tuple[Part, ...] = (
        world.attention(window=LATE)[0],
        world.lora(window=LATE)[0],
        ContextPart(tokens=torch.randn(2, 9, CONTEXT), window=LATE),
    )
    for part in parts:
        assert torch.equal(world.noise(part, step=Step(index=0, total=2)), plain)
        assert relative_error(world.noise(part, step=Step(index=1, total=2)), plain) > 1e-4
    assert torch.equal(world.noise(), plain)
    assert torch.equal(world.call(world.unet, world.text), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in world.unet.modules())


def test_parts_for_another_unet_are_refused_in_their_own_words(world: World) -> None:
    attention, lora = world.attention()[0], world.lora()[0]
    fewer = dict(list(attention.keys_values.items())[1:])
    with pytest.raises(UnsupportedModel, match="these are for another"):
        world.noise(AttentionPart(keys_values=fewer, strength=1.0, misfit="these are for another."))
    beyond = {(999, "to_q"): next(iter(lora.layers.values()))}
    with pytest.raises(UnsupportedModel, match="this is for another"):
        world.noise(LoraPart(layers=beyond, strength=1.0, misfit="this is for another."))
    other = World("SDXL" if world.vector is None else "SD1.5", "diffusers")
    with pytest.raises(UnsupportedModel, match=r"ControlNet .*Choose another"):
        world.noise(other.control(ControlContext(strength=1.0)))
