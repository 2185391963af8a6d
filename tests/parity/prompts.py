"""The second kind of parity fixture: IP-Adapters on the UNets of SD1.5 and of SDXL, with a vision tower.

Its files are written in the released layouts and read with the project's own loaders, from the picture on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_instantid.adapters.ip_adapter.networks import PictureAdapter
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.adapters.ip_adapter.run import IPAdapterRun
from lib_instantid.adapters.ip_adapter.settings import ImagePrompt
from lib_instantid.adapters.settings import Settings
from lib_instantid.adapters.tower_files import ENCODER
from lib_instantid.adapters.towers import PictureEncoder, black
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.vision import pixels_of
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.networks.adapter import PromptTokens
from tests.ldm_unet import ldm_unet_like, ldm_vector
from tests.parity.fixture import adapter_layer_shapes, filled, relative_error, resampler_shapes, shapes_of

HERE = Path(__file__).parent / "ip-adapter"
STRENGTH = 0.7
ROWS = (False, True)
VARIANTS = {"noise": "all", "noise_style": "style", "noise_composition": "composition"}
Shapes = dict[str, tuple[int, ...]]
Row = tuple[str, float]
"""What was compared, and its relative error."""


@dataclass(frozen=True)
class PromptFixture:
    """folder: of the fixture. io: its tensors. tower: the vision tower's weights by transformers' names."""

    folder: Path
    seed: int
    io: Mapping[str, Tensor]
    unets: Mapping[str, UNet2DConditionModel]
    tower: Mapping[str, Tensor]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the output in pixels."""
        height, width = self.io["latents"].shape[2:]
        return 8 * width, 8 * height

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Kind and UNet of every case that is one of IP-Adapter's own."""
        cases = [name.removesuffix(".tokens").rsplit("-", 1) for name in self.io if name.endswith(".tokens")]
        return [(kind, base) for kind, base in cases if kind in ("plain", "plus", "full")]


def is_prompt_fixture(folder: Path) -> bool:
    return (folder / "vision").is_dir()


def read_prompt_fixture(folder: Path) -> PromptFixture:
    seed = int((folder / "seed.txt").read_text())
    unets = {}
    for base in ("sd15", "sdxl"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / f"unet-{base}" / "config.json").read_text())).eval()
        unet.load_state_dict(filled(shapes_of(unet.state_dict()), "unet", seed))
        unets[base] = unet
    config = CLIPVisionConfig.from_dict(json.loads((folder / "vision" / "config.json").read_text()))
    state = CLIPVisionModelWithProjection(config).state_dict()
    shapes = shapes_of({name: tensor for name, tensor in state.items() if tensor.is_floating_point()})
    io = load_file(folder / "io.safetensors")
    return PromptFixture(folder=folder, seed=seed, io=io, unets=unets, tower=filled(shapes, "vision", seed))


def projection_shapes(kind: str, embedding: int, features: int, context: int) -> Shapes:
    """The projection's tensors, as the fixture's README gives their sizes."""
    if kind == "plus":
        return resampler_shapes(context, 4, 16, features, context, 4)
    if kind == "plain":
        rows = 4 * context
        return {"proj.weight": (rows, embedding), "proj.bias": (rows,), "norm.weight": (context,), "norm.bias": (context,)}
    last = {"proj.3.weight": (context,), "proj.3.bias": (context,)}
    first = {"proj.0.weight": (features, features), "proj.0.bias": (features,)}
    return {**first, "proj.2.weight": (context, features), "proj.2.bias": (context,), **last}


def write_adapter(fixture: PromptFixture, kind: str, base: str, path: Path) -> Path:
    """Write an IP-Adapter as a torch file of the released layout."""
    unet, io = fixture.unets[base], fixture.io
    context = int(unet.config.cross_attention_dim)
    shapes = projection_shapes(kind, io["image_embeds"].shape[1], io["hidden_states"].shape[2], context)
    layers = filled(adapter_layer_shapes(unet), "ip_adapter", fixture.seed)
    torch.save({"image_proj": filled(shapes, "image_proj", fixture.seed), "ip_adapter": layers}, path)
    return path


def write_encoder(fixture: PromptFixture, folder: Path) -> Path:
    """Write the tower as a folder `image_encoder` of diffusers; returns its file."""
    folder.mkdir()
    (folder / "config.json").write_text((fixture.folder / "vision" / "config.json").read_text())
    save_file(dict(fixture.tower), folder / "model.safetensors")
    return folder / "model.safetensors"


def compare_prompts(folder: Path, faces: Callable[[PromptFixture, PictureEncoder, Path], Iterator[Row]]) -> Iterator[Row]:
    """Every tensor of the fixture, and how far this project's is from it. faces: compares the cases with a face."""
    fixture = read_prompt_fixture(folder)
    with tempfile.TemporaryDirectory() as temporary:
        encoder = PictureEncoder(write_encoder(fixture, Path(temporary) / "image_encoder"))
        yield from _compare_tower(fixture, encoder)
        for base, unet in fixture.unets.items():
            for family, own in (("diffusers", unet), ("ldm", ldm_unet_like(unet))):
                yield (
                    f"{base}.noise_plain, {family}",
                    relative_error(call(fixture, base, own), fixture.io[f"{base}.noise_plain"]),
                )
        for kind, base in fixture.cases:
            adapter = PictureAdapter(write_adapter(fixture, kind, base, Path(temporary) / f"{kind}-{base}.bin"))
            yield from _compare_case(fixture, kind, base, adapter, encoder)
        yield from faces(fixture, encoder, Path(temporary))


def _compare_tower(fixture: PromptFixture, encoder: PictureEncoder) -> Iterator[Row]:
    picture = read_picture(fixture.folder / "picture.png", "picture")
    seen, none = encoder.see({"picture": lambda side: pixels_of(picture, side, "centre"), "black": black})
    pixels = pixels_of(picture, fixture.io["pixel_values"].shape[-1], "centre")
    found = {
        "pixel_values": pixels,
        "image_embeds": seen.embedding,
        "hidden_states": seen.hidden,
        "hidden_states_zero": none.hidden,
    }
    yield from ((name, relative_error(tensor, fixture.io[name])) for name, tensor in found.items())


def _compare_case(
    fixture: PromptFixture, kind: str, base: str, adapter: PictureAdapter, encoder: PictureEncoder
) -> Iterator[Row]:
    case, io, unet = f"{kind}-{base}", fixture.io, fixture.unets[base]
    for variant, layers in VARIANTS.items():
        if f"{case}.{variant}" not in io:
            continue
        run = run_of(fixture, adapter, encoder, layers=layers)
        if variant == "noise":
            yield f"{case}.tokens", relative_error(tokens_of(run).tokens, io[f"{case}.tokens"])
        conditioning = run.conditioning(fixture.size)
        for family, own in (("diffusers", unet), ("ldm", ldm_unet_like(unet))):
            with attach(own, conditioning, rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)):
                yield f"{case}.{variant}, {family}", relative_error(call(fixture, base, own), io[f"{case}.{variant}"])


def run_of(fixture: PromptFixture, adapter: PictureAdapter, encoder: PictureEncoder, **prompt: object) -> IPAdapterRun:
    """A generation's run with the fixture's picture as its one image prompt."""
    given = ImagePrompt(pictures=[fixture.folder / "picture.png"], **{"strength": STRENGTH, **prompt})  # type: ignore[arg-type]
    networks = {IP_ADAPTER: adapter, ENCODER: encoder}
    sources = LoadedSources(analyser=None, identities=Path(), networks=networks)  # type: ignore[arg-type]
    return IPAdapterRun(Settings(enabled=True, image_prompts=[given]), sources)


def tokens_of(run: IPAdapterRun) -> PromptTokens:
    return run.prepared[0].tokens


@torch.no_grad()
def call(fixture: PromptFixture, base: str, unet: nn.Module) -> Tensor:
    """The UNet's noise for the fixture's inputs, in either layout."""
    io, sdxl = fixture.io, base == "sdxl"
    if isinstance(unet, UNet2DConditionModel):
        added = {name: io[name] for name in ("text_embeds", "time_ids")} if sdxl else None
        found: Tensor = unet(io["latents"], io["timestep"], io["context"], added_cond_kwargs=added).sample
        return found
    vector = ldm_vector(fixture.unets[base], io["text_embeds"], io["time_ids"]) if sdxl else None
    noise: Callable[..., Tensor] = unet
    return noise(io["latents"], io["timestep"], context=io["context"], y=vector)
