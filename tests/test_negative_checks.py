"""Eleven ways in which InstantID has gone wrong elsewhere. Each test fails where that fault is made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_instantid.adapters.instantid.files import load_adapter
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.conditioning.sites import cross_attention_sites
from lib_instantid.encoders.face.identity import Identity
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.encoders.face.model_files import find_face_models
from lib_instantid.errors import BadModelFile, IdentityFileError
from lib_instantid.networks.adapter import Adapter
from tests.conftest import HEIGHT, WIDTH, Call, Guide, place, relative_error
from tests.hosts.reference import FaceTokenControlNet, Reference
from tests.ldm_unet import ldm_unet_like

STEP = Step(index=0, total=1)


def test_1_the_unconditional_tokens_are_the_resampled_zero_vector_and_not_zero(guide: Guide, adapter: Adapter) -> None:
    unconditional = guide().people[0].face.tokens[0]
    assert unconditional.norm() > 1
    assert torch.allclose(unconditional, adapter.image_proj(torch.zeros(1, 1, 512))[0], atol=1e-6)


def test_2_the_last_keys_of_the_file_reach_the_middle_block(
    diffusers_unet: nn.Module, adapter: Adapter, guide: Guide, call: Call
) -> None:
    """In ldm's names they are of middle_block.1, although the middle runs before the output blocks."""
    unet = ldm_unet_like(diffusers_unet)  # type: ignore[arg-type]
    sites = cross_attention_sites(unet)
    middle = [site for site in sites if site.name.startswith("middle_block.1.")]
    assert [site.number for site in middle] == sorted(map(int, adapter.ip_adapter))[-len(middle) :]
    seen: list[Tensor] = []
    layers = adapter.ip_adapter[str(middle[-1].number)]
    expected = layers.to_k_ip(guide().people[0].face.tokens)
    handle = layers.to_k_ip.register_forward_hook(lambda _, __, out: seen.append(out))
    with attach(unet, guide().conditioning, rows_of=lambda _: (False, True), step=lambda: STEP):
        call(unet)
    handle.remove()
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_3_an_unconditional_row_that_runs_alone_gets_unconditional_tokens(unet: nn.Module, call: Call, guide: Guide) -> None:
    """Also after a conditional call has filled the caches."""
    rows: tuple[bool, ...] = (False, True)
    with attach(unet, guide().conditioning, rows_of=lambda _: rows, step=lambda: STEP):
        joined = call(unet, [0, 1])
        rows = (True,)
        call(unet, [1])
        rows = (False,)
        alone = call(unet, [0])
    assert relative_error(alone[0], joined[0]) < 1e-5


def test_4_a_batch_that_shrinks_in_the_middle_keeps_its_rows_right(unet: nn.Module, call: Call, guide: Guide) -> None:
    """As with a negative prompt that is skipped for some steps."""
    rows: tuple[bool, ...] = (True, True, False, False)
    with attach(unet, guide().conditioning, rows_of=lambda _: rows, step=lambda: STEP):
        whole = call(unet, [0, 1, 2, 3])
        rows = (True, True)
        shrunk = call(unet, [0, 1])
    assert relative_error(shrunk, whole[:2]) < 1e-5


def test_5_another_controlnet_beside_instantid_gets_the_text(weights_folder: Path, guide: Guide, tmp_path: Path) -> None:
    """And the sum is that of diffusers' MultiControlNet with the tokens routed by hand."""
    torch.manual_seed(7)
    other = ControlNetModel.from_pretrained(weights_folder / "ControlNetModel")
    for parameter in other.parameters():
        parameter.data *= 1 + 0.05 * torch.randn_like(parameter)
    other.save_pretrained(tmp_path)
    placed = place(0)
    guidance = guide([placed])
    contexts: list[Tensor] = []
    other.register_forward_pre_hook(lambda _, __, kw: contexts.append(kw["encoder_hidden_states"]), with_kwargs=True)
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        weights_folder / "checkpoint", controlnet=other, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    canny = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    given = {"prompt": "a person", "num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pt"}
    with attach(pipeline.unet, guidance.conditioning, rows_of=lambda _: (False, True), step=lambda: STEP):
        found = pipeline(
            image=canny, controlnet_conditioning_scale=0.6, generator=torch.Generator().manual_seed(1), **given
        ).images
    assert {tuple(context.shape) for context in contexts} == {(2, 77, guidance.people[0].face.tokens.shape[-1])}

    reference = Reference(weights_folder, torch.from_numpy(placed.embedding), 0.8, cfg=True)
    face: FaceTokenControlNet = reference.pipeline.controlnet
    both = StableDiffusionXLControlNetPipeline(
        **{**reference.pipeline.components, "controlnet": [face, ControlNetModel.from_pretrained(tmp_path)]},
        add_watermarker=False,
    )
    both.set_progress_bar_config(disable=True)
    keypoint_map = Image.fromarray(draw_keypoints(placed.keypoints, WIDTH, HEIGHT))
    expected = both(
        image=[keypoint_map, canny],
        controlnet_conditioning_scale=[0.8, 0.6],
        generator=torch.Generator().manual_seed(1),
        ip_adapter_image_embeds=reference.image_embeds,
        **given,
    ).images
    assert float((found - expected).abs().mean()) < 1 / 255 / 20


def test_6_a_normalised_embedding_is_refused() -> None:
    raw = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    assert Identity(embedding=raw).embedding is raw
    with pytest.raises(IdentityFileError, match="raw embeddings"):
        Identity(embedding=raw / np.linalg.norm(raw))


def test_7_antelopev2_is_found_where_its_zip_unpacks_it(weights_folder: Path, tmp_path: Path) -> None:
    nested = tmp_path / "models" / "insightface" / "models" / "antelopev2" / "antelopev2"
    shutil.copytree(weights_folder / "antelopev2", nested)
    assert find_face_models(tmp_path).detector.parent == nested


def test_8_keypoints_at_1024_have_the_references_radius() -> None:
    """Not that of a map drawn at 512 and enlarged."""
    points = np.array([[300.0, 300], [700, 300], [500, 500], [350, 700], [650, 700]])
    drawn = draw_keypoints(points, 1024, 1024)
    column, row = drawn[:, 300], drawn[300]
    full = [(c == (255, 0, 0)).all(axis=-1).sum() for c in (column, row)]
    assert full == [21, 21]  # radius 10, and the centre


def test_9_the_map_is_rgb() -> None:
    points = np.array([[300.0, 300], [700, 300], [500, 500], [350, 700], [650, 700]])
    drawn = draw_keypoints(points, 1024, 1024)
    colours = [tuple(int(v) for v in drawn[int(y), int(x)]) for x, y in points]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]


def test_10_keys_sorted_as_text_are_read_by_number(weights_folder: Path, adapter: Adapter, tmp_path: Path) -> None:
    nested = torch.load(weights_folder / "ip-adapter.bin", weights_only=True)
    flat = {f"{part}.{name}": tensor for part, content in nested.items() for name, tensor in content.items()}
    save_file(dict(sorted(flat.items())), tmp_path / "sorted.safetensors")
    found = load_adapter(tmp_path / "sorted.safetensors").state_dict()
    assert any(len(name.split(".")[1]) == 2 for name in found if name.startswith("ip_adapter"))
    assert all(torch.equal(tensor, found[name]) for name, tensor in adapter.state_dict().items())


class Code:
    def __reduce__(self) -> tuple:
        return print, ("code from a weight file ran",)


def test_11_a_bin_file_is_read_without_running_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"image_proj": Code()}, tmp_path / "ip-adapter.bin")
    with pytest.raises(BadModelFile, match="refused"):
        load_adapter(tmp_path / "ip-adapter.bin")
    assert capsys.readouterr().out == ""
