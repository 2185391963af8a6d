"""Whatever file or argument is wrong, the error is of its kind, names the file, says what was found and what would be right.

Settings stand in tests/adapters/instantid/test_settings.py, pictures, face models and identities in
tests/encoders/face/test_bad_input.py, downloads in tests/weights/test_download.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_instantid import errors
from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.request import GenerationRequest
from lib_instantid.hosts.diffusers.sampling import choose_device, scheduler_like

Bad = tuple[Callable[[Path, Path], object], type[errors.InstantIDError], tuple[str, ...]]


def adapter_with(change: Callable[[dict[str, Tensor]], object], name: str = "adapter.safetensors") -> Callable:
    """The right adapter, flat, after a change."""

    def run(weights: Path, folder: Path) -> object:
        nested = torch.load(weights / "ip-adapter.bin", weights_only=True)
        tensors = {f"{part}.{key}": tensor for part, content in nested.items() for key, tensor in content.items()}
        change(tensors)
        save_file(tensors, folder / name)
        return load_adapter(folder / name)

    return run


def adapter_of(tensors: dict[str, Tensor]) -> Callable:
    """An adapter file with other tensors, named as a person would name InstantID's."""

    def run(_: Path, folder: Path) -> object:
        torch.save(tensors, folder / "ip-adapter.bin")
        return load_adapter(folder / "ip-adapter.bin")

    return run


def net_with(change: Callable[[dict[str, Tensor]], object], name: str = "net.safetensors") -> Callable:
    def run(weights: Path, folder: Path) -> object:
        tensors = load_file(weights / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
        change(tensors)
        save_file(tensors, folder / name)
        return load_identitynet(folder / name)

    return run


def net_of(tensors: dict[str, Tensor]) -> Callable:
    def run(_: Path, folder: Path) -> object:
        save_file(tensors, folder / "net.safetensors")
        return load_identitynet(folder / "net.safetensors")

    return run


def raw(content: bytes, load: Callable[[Path], object] = load_adapter) -> Callable:
    def run(_: Path, folder: Path) -> object:
        (folder / "file.bin").write_bytes(content)
        return load(folder / "file.bin")

    return run


def cut(name: str, load: Callable[[Path], object]) -> Callable:
    """The first two thirds of the right file."""

    def run(weights: Path, folder: Path) -> object:
        content = (weights / name).read_bytes()
        path = folder / Path(name).name
        path.write_bytes(content[: len(content) * 2 // 3])
        return load(path)

    return run


def checkpoint(prepare: Callable[[Path], object]) -> Callable:
    def run(_: Path, folder: Path) -> object:
        prepare(folder)
        return load_pipeline(folder / "model.safetensors" if (folder / "model.safetensors").exists() else folder, torch.float32)

    return run


def index(content: str) -> Callable:
    return checkpoint(lambda folder: (folder / "model_index.json").write_text(content))


def squeezed(weights: dict[str, Tensor], name: str) -> None:
    weights[name] = weights[name][:-1].clone()


HINT = {"controlnet_cond_embedding.conv_in.weight": torch.zeros(16, 3, 3, 3)}
MIDDLE = {"mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": torch.zeros(8, 8)}
TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
RESAMPLER = {"image_proj.latents": torch.zeros(1, 16, 8)}
NO_MATTER = torch.zeros(1)

BAD: dict[str, Bad] = {
    # the adapter
    "no file": (lambda _, f: load_adapter(f / "no.bin"), errors.MissingModelFile, ("no.bin", "no such file", "--download")),
    "empty file": (raw(b""), errors.BadModelFile, ("file.bin", "empty", "fetch it again")),
    "text": (raw(b"hello, I am a text"), errors.BadModelFile, ("no weight file that is known",)),
    "web page": (raw(b"<!DOCTYPE html><html>"), errors.BadModelFile, ("a web page", "fetch it again")),
    "lfs pointer": (raw(b"version https://git-lfs.github.com/spec/v1\n"), errors.BadModelFile, ("Git LFS pointer",)),
    "onnx": (raw(b"\x08\x06\x12\x07fixture"), errors.BadModelFile, ("ONNX",)),
    "cut torch file": (cut("ip-adapter.bin", load_adapter), errors.BadModelFile, ("damaged or incomplete", "again")),
    "zip of something else": (raw(b"PK\x05\x06" + b"\0" * 18), errors.BadModelFile, ("zip format", ".safetensors")),
    "torch file without tensors": (adapter_of({"epoch": 3}), errors.BadModelFile, ("expected named tensors", "dict")),  # type: ignore[dict-item]
    "folder without weights": (lambda _, f: load_adapter(f), errors.MissingModelFile, ("no weight file", ".safetensors")),
    "plain ip-adapter": (
        adapter_of({"image_proj.proj.weight": NO_MATTER}),
        errors.BadModelFile,
        ("this is a plain IP-Adapter", "ip-adapter.bin of InstantX/InstantID"),
    ),
    "ip-adapter plus": (
        adapter_of({**RESAMPLER, "image_proj.proj_in.weight": torch.zeros(8, 1280)}),
        errors.BadModelFile,
        ("IP-Adapter Plus", "1280"),
    ),
    "full-face": (adapter_of({"image_proj.proj.3.weight": NO_MATTER}), errors.BadModelFile, ("full-face IP-Adapter",)),
    "faceid": (
        adapter_of({"image_proj.proj.2.weight": NO_MATTER, "ip_adapter.0.to_q_lora.down.weight": NO_MATTER}),
        errors.BadModelFile,
        ("FaceID IP-Adapter", "LoRA"),
    ),
    "faceid with the resampler": (
        adapter_with(lambda t: t.update({"ip_adapter.0.to_q_lora.down.weight": torch.zeros(1)})),
        errors.BadModelFile,
        ("FaceID IP-Adapter", "LoRA"),
    ),
    "faceid plus": (
        adapter_of({"image_proj.perceiver_resampler.proj_in.weight": NO_MATTER}),
        errors.BadModelFile,
        ("FaceID Plus",),
    ),
    "faceid portrait": (adapter_of({"image_proj.proj.2.weight": NO_MATTER}), errors.BadModelFile, ("FaceID Portrait",)),
    "faceid portrait of the very same layout": (
        adapter_with(lambda _: None, "ip-adapter-faceid-portrait_sdxl_unnorm.safetensors"),
        errors.BadModelFile,
        ("FaceID Portrait",),
    ),
    "identitynet as adapter": (
        lambda weights, _: load_adapter(weights / "ControlNetModel"),
        errors.BadModelFile,
        ("this is an IdentityNet", "expected InstantID's adapter"),
    ),
    "adapter for SD1.5": (
        adapter_of(
            {**RESAMPLER, "image_proj.proj_in.weight": torch.zeros(8, 512), "image_proj.proj_out.weight": torch.zeros(768, 8)}
        ),
        errors.BadModelFile,
        ("SD1.5", "only SDXL"),
    ),
    "adapter with missing tensors": (
        adapter_with(lambda t: [t.pop("image_proj.norm_out.bias"), t.pop("ip_adapter.5.to_v_ip.weight")]),
        errors.BadModelFile,
        ("missing: image_proj.norm_out.bias, ip_adapter.5.to_v_ip.weight", "again"),
    ),
    "adapter without resampler layers": (
        adapter_with(lambda t: [t.pop(name) for name in list(t) if "layers." in name or "proj_out" in name]),
        errors.BadModelFile,
        ("not a complete InstantID adapter", "proj_out"),
    ),
    "adapter of integers": (
        adapter_with(lambda t: t.update({"ip_adapter.1.to_k_ip.weight": t["ip_adapter.1.to_k_ip.weight"].char()})),
        errors.BadModelFile,
        ("quantised (ip_adapter.1.to_k_ip.weight is int8)", "fp16", "Fetch"),
    ),
    "adapter of fp8 with scales": (
        adapter_with(
            lambda t: t.update(
                {"image_proj.latents": t["image_proj.latents"].to(torch.float8_e4m3fn), "image_proj.latents_scale": NO_MATTER}
            )
        ),
        errors.BadModelFile,
        ("quantised (image_proj.latents_scale)", "plain fp8"),
    ),
    "IdentityNet of integers": (
        net_with(lambda t: t.update({"conv_in.bias": t["conv_in.bias"].char()})),
        errors.BadModelFile,
        ("quantised (conv_in.bias is int8)",),
    ),
    "adapter with a wrong shape": (
        adapter_with(lambda t: squeezed(t, "image_proj.norm_out.bias")),
        errors.BadModelFile,
        ("of another shape: image_proj.norm_out.bias is (79,) instead of (80,)",),
    ),
    # IdentityNet
    "no IdentityNet": (lambda _, f: load_identitynet(f / "ControlNetModel"), errors.MissingModelFile, ("ControlNetModel",)),
    "cut safetensors": (
        cut("ControlNetModel/diffusion_pytorch_model.safetensors", load_identitynet),
        errors.BadModelFile,
        ("damaged or incomplete",),
    ),
    "adapter as IdentityNet": (
        lambda weights, _: load_identitynet(weights / "ip-adapter.bin"),
        errors.BadModelFile,
        ("this is an InstantID adapter", "expected InstantID's IdentityNet"),
    ),
    "canny": (
        net_with(lambda _: None, "controlnet-canny-sdxl-1.0.safetensors"),
        errors.BadModelFile,
        ("ControlNet for SDXL (canny)",),
    ),
    "SD1.5 ControlNet": (
        net_of({**HINT, TO_K: torch.zeros(320, 768)}),
        errors.BadModelFile,
        ("ControlNet for SD1.5", "expected InstantID's IdentityNet"),
    ),
    "SD2 ControlNet": (net_of({**HINT, TO_K: torch.zeros(320, 1024)}), errors.BadModelFile, ("ControlNet for SD2",)),
    "small ControlNet": (net_of({**HINT, TO_K: torch.zeros(320, 2048)}), errors.BadModelFile, ("small ControlNet for SDXL",)),
    "ControlNet Union": (net_of({**HINT, "task_embedding": NO_MATTER}), errors.BadModelFile, ("ControlNet Union",)),
    "Control-LoRA": (net_of({"lora_controlnet": NO_MATTER}), errors.BadModelFile, ("Control-LoRA",)),
    "LLLite": (net_of({"lllite_unet.a": NO_MATTER}), errors.BadModelFile, ("LLLite",)),
    "T2I-Adapter": (net_of({"adapter.body.0.weight": NO_MATTER}), errors.BadModelFile, ("T2I-Adapter",)),
    "PuLID": (net_of({"id_adapter.a": NO_MATTER}), errors.BadModelFile, ("PuLID",)),
    "LoRA": (net_of({"lora_unet_down.alpha": NO_MATTER}), errors.BadModelFile, ("this is a LoRA",)),
    "VAE": (net_of({"decoder.conv_in.weight": NO_MATTER}), errors.BadModelFile, ("this is a VAE",)),
    "checkpoint as IdentityNet": (
        net_of({"model.diffusion_model.input_blocks.0.0.weight": NO_MATTER}),
        errors.BadModelFile,
        ("Stable Diffusion checkpoint",),
    ),
    "something unknown": (net_of({"what.is.this": NO_MATTER}), errors.BadModelFile, ("none of the kinds", "what.is.this")),
    "IdentityNet with missing tensors": (
        net_with(lambda t: t.pop("controlnet_mid_block.bias")),
        errors.BadModelFile,
        ("missing: controlnet_mid_block.bias",),
    ),
    "IdentityNet without its stem": (
        net_with(lambda t: t.pop("conv_in.weight")),
        errors.BadModelFile,
        ("not a complete IdentityNet", "conv_in.weight"),
    ),
    "IdentityNet of few tensors": (net_of({**HINT, **MIDDLE}), errors.BadModelFile, ("not a complete IdentityNet",)),
    # the checkpoint
    "no checkpoint": (lambda _, f: load_pipeline(f / "no", torch.float32), errors.MissingModelFile, ("no such file", "SDXL")),
    "folder that is no pipeline": (checkpoint(lambda _: None), errors.MissingModelFile, ("model_index.json",)),
    "broken index": (index("{"), errors.BadModelFile, ("model_index.json", "again")),
    "SD3 folder": (
        index('{"_class_name": "StableDiffusion3Pipeline"}'),
        errors.UnsupportedModel,
        ("StableDiffusion3Pipeline", "SDXL", "SD1.5"),
    ),
    "Flux folder": (index('{"_class_name": "FluxPipeline"}'), errors.UnsupportedModel, ("FluxPipeline", "SDXL")),
    "pipeline without parts": (
        index(json.dumps({"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]})),
        errors.BadModelFile,
        ("damaged or incomplete",),
    ),
    "SD1.5 file without VAE": (
        checkpoint(lambda f: save_file({"cond_stage_model.transformer.a": NO_MATTER}, f / "model.safetensors")),
        errors.BadModelFile,
        ("no VAE",),
    ),
    "refiner file": (
        checkpoint(lambda f: save_file({"conditioner.embedders.0.model.a": NO_MATTER}, f / "model.safetensors")),
        errors.UnsupportedModel,
        ("no base checkpoint of SDXL or SD1.5", "refiner"),
    ),
    "damaged checkpoint file": (
        checkpoint(lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 100)),
        errors.BadModelFile,
        ("not a whole .safetensors",),
    ),
    # the job
    "width": (lambda *_: GenerationRequest(prompt="", width=1001), errors.SettingsError, ("width", "1001", "multiple of 8")),
    "height": (lambda *_: GenerationRequest(prompt="", height=0), errors.SettingsError, ("height", "0", "multiple of 8")),
    "steps": (lambda *_: GenerationRequest(prompt="", steps=0), errors.SettingsError, ("steps", "0", "1 to")),
    "batch": (lambda *_: GenerationRequest(prompt="", batch_size=0), errors.SettingsError, ("batch_size", "0")),
    "batch too large": (
        lambda *_: GenerationRequest(prompt="", batch_size=65),
        errors.SettingsError,
        ("batch_size", "65", "to 64"),
    ),
    "seed": (lambda *_: GenerationRequest(prompt="", seed=-1), errors.SettingsError, ("seed", "-1")),
    "guidance": (lambda *_: GenerationRequest(prompt="", guidance_scale=-1), errors.SettingsError, ("guidance_scale", "-1")),
    "denoising": (
        lambda *_: GenerationRequest(prompt="", denoising_strength=2),
        errors.SettingsError,
        ("denoising_strength", "2"),
    ),
    "no step left": (
        lambda *_: GenerationRequest(prompt="", steps=1, init_picture="a.png", denoising_strength=0.5),
        errors.SettingsError,
        ("steps", "leave none", "raise either"),
    ),
    "scheduler": (lambda *_: scheduler_like(None, "magic"), errors.SettingsError, ("scheduler", "'magic'", "euler a")),
    "device": (lambda *_: choose_device("abacus"), errors.SettingsError, ("device", "'abacus'", "cpu")),
}


@pytest.mark.parametrize("wrong", BAD)
def test_the_error_is_of_its_kind_and_names_the_cure(wrong: str, weights_folder: Path, tmp_path: Path) -> None:
    run, kind, words = BAD[wrong]
    with pytest.raises(errors.InstantIDError) as caught:
        run(weights_folder, tmp_path)
    assert type(caught.value) is kind
    assert [word for word in words if word not in str(caught.value)] == []
