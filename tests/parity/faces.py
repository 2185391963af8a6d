"""The FaceID cases of the second kind of parity fixture. Their files are written in the released layouts, with the LoRA in the
adapter's file, and read with the project's own loader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from lib_instantid.adapters.faceid.networks import FaceAdapter
from lib_instantid.adapters.towers import PictureEncoder, black
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, LoraPart
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.vision import pixels_of
from tests.ldm_unet import ldm_unet_like
from tests.parity.fixture import adapter_layer_shapes, filled, relative_error, resampler_shapes
from tests.parity.prompts import ROWS, STRENGTH, PromptFixture, Row, Shapes, call

STRUCTURE, RANK = 0.7, 4
TOKENS = {"faceid-portrait": 16}


def face_cases(fixture: PromptFixture) -> list[tuple[str, str]]:
    """Kind and UNet of every case with a face."""
    cases = [name.removesuffix(".tokens").rsplit("-", 1) for name in fixture.io if name.endswith(".tokens")]
    return [(kind, base) for kind, base in cases if kind.startswith("faceid")]


def face_projection_shapes(kind: str, features: int, context: int) -> Shapes:
    rows = TOKENS.get(kind, 4) * context
    first = {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,), "proj.2.weight": (rows, 1024), "proj.2.bias": (rows,)}
    shapes = {**first, "norm.weight": (context,), "norm.bias": (context,)}
    if "plus" in kind:
        perceiver = resampler_shapes(context, 4, 16, features, context, 4)
        del perceiver["latents"]
        shapes |= {f"perceiver_resampler.{name}": shape for name, shape in perceiver.items()}
    return shapes


def lora_shapes(fixture: PromptFixture, base: str) -> Shapes:
    state, shapes = fixture.unets[base].state_dict(), Shapes()
    for i, name in enumerate(fixture.unets[base].attn_processors):
        attention = name.removesuffix("processor")
        for layer, own in (("to_q", "to_q"), ("to_k", "to_k"), ("to_v", "to_v"), ("to_out", "to_out.0")):
            out, given = state[f"{attention}{own}.weight"].shape
            shapes[f"{i}.{layer}_lora.down.weight"], shapes[f"{i}.{layer}_lora.up.weight"] = (RANK, given), (out, RANK)
    return shapes


def write_face_adapter(fixture: PromptFixture, kind: str, base: str, path: Path) -> Path:
    """Write a FaceID adapter as a torch file of the released layout; all but Portrait have their LoRA in it."""
    unet, seed = fixture.unets[base], fixture.seed
    shapes = face_projection_shapes(kind, fixture.io["hidden_states"].shape[2], int(unet.config.cross_attention_dim))
    layers = adapter_layer_shapes(unet) | ({} if "portrait" in kind else lora_shapes(fixture, base))
    torch.save({"image_proj": filled(shapes, "image_proj", seed), "ip_adapter": filled(layers, "ip_adapter", seed)}, path)
    return path


def compare_faces(fixture: PromptFixture, encoder: PictureEncoder, folder: Path) -> Iterator[Row]:
    """Every tensor of the cases with a face, and how far this project's is from it."""
    picture = read_picture(fixture.folder / "picture.png", "picture")
    seen, none = encoder.see({"picture": lambda side: pixels_of(picture, side, "centre"), "black": black})
    for kind, base in face_cases(fixture):
        adapter = FaceAdapter(write_face_adapter(fixture, kind, base, folder / f"{kind}_{base}.bin"))
        embeddings = fixture.io["normed_embeddings"][: 2 if adapter.several else 1]
        structure = STRUCTURE if adapter.version == "PlusV2" else None
        tokens = (
            adapter.tokens("face", embeddings, lambda: (seen.hidden, none.hidden), structure)
            if adapter.sees
            else (adapter.tokens("face", embeddings))
        )
        yield f"{kind}-{base}.tokens", relative_error(tokens.tokens, fixture.io[f"{kind}-{base}.tokens"])
        for variant, strength in (("noise", STRENGTH), ("noise_lora_only", 0.0)):
            expected = fixture.io.get(f"{kind}-{base}.{variant}")
            if expected is None:
                continue
            face = AttentionPart(keys_values=tokens.keys_values, strength=strength, misfit="")
            lora = [] if adapter.lora is None else [LoraPart(layers=adapter.lora, strength=1.0, misfit="")]
            conditioning = Conditioning(parts=(face, *lora), size=fixture.size)
            for family, own in (("diffusers", fixture.unets[base]), ("ldm", ldm_unet_like(fixture.unets[base]))):
                with attach(own, conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)):
                    yield f"{kind}-{base}.{variant}, {family}", relative_error(call(fixture, base, own), expected)
