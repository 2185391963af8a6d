"""Compares this project with what the official code computed.

    python tests/parity/compare.py FIXTURE_DIR

Writes the fixture's weights in the released layout, reads them with the project's own loaders, attaches with its own hooks
to diffusers' UNet and to the ldm UNet with the same weights, and prints a table of relative errors. Exits with 1 if one is
beyond 1e-4, or the keypoint map is not identical.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.adapters.instantid.prepare import PlacedPerson, Prepared, prepare
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.networks.adapter import Adapter
from lib_instantid.networks.controlnet import ControlNet
from tests.ldm_unet import ldm_unet_like, ldm_vector
from tests.parity.faces import compare_faces
from tests.parity.fixture import Fixture, read_fixture, relative_error, write_weights
from tests.parity.prompts import compare_prompts, is_prompt_fixture

TOLERANCE = 1e-4
ADAPTER_STRENGTH, IDENTITYNET_STRENGTH = 0.8, 0.7
ROWS = (False, True)


@dataclass(frozen=True)
class Row:
    tensor: str
    error: float


def compare(folder: Path) -> Iterator[Row]:
    """Every tensor of the fixture, of either kind, and how far this project's is from it."""
    if is_prompt_fixture(folder):
        yield from (Row(*row) for row in compare_prompts(folder, compare_faces))
        return
    fixture = read_fixture(folder)
    with tempfile.TemporaryDirectory() as temporary:
        adapter_file, identitynet_folder = write_weights(fixture, Path(temporary))
        adapter, net = load_adapter(adapter_file), load_identitynet(identitynet_folder)
        yield from _compare(fixture, adapter, net)


def _compare(fixture: Fixture, adapter: Adapter, net: ControlNet) -> Iterator[Row]:
    expected_map = fixture.io["keypoint_map"].numpy()
    drawn = draw_keypoints(fixture.io["keypoints"].numpy(), *fixture.size)
    yield Row("keypoint_map (pixels that differ)", float(np.any(drawn != expected_map, axis=-1).sum()))
    guidance = guidance_for(fixture, adapter, net)
    yield Row("tokens", relative_error(guidance.people[0].face.tokens, fixture.io["tokens"]))
    yield from _compare_residuals(fixture, guidance)
    for family, unet, call in unets(fixture):
        yield Row(f"noise_plain, {family}", relative_error(call(), fixture.io["noise_plain"]))
        for case, settings in CASES.items():
            with attach(
                unet, guidance_for(fixture, adapter, net, **settings).conditioning, rows_of=lambda _: ROWS, step=one_step
            ):
                yield Row(f"{case}, {family}", relative_error(call(), fixture.io[case]))


CASES: dict[str, dict[str, object]] = {
    "noise_identitynet_only": {"adapter_strength": 0.0},
    "noise_instantid": {},
    "noise_face_region": {"face_region": "face"},
}


def one_step() -> Step:
    return Step(index=0, total=1)


def guidance_for(
    fixture: Fixture,
    adapter: Adapter,
    net: ControlNet,
    adapter_strength: float = ADAPTER_STRENGTH,
    face_region: str = "everywhere",
) -> Prepared:
    io = fixture.io
    width, height = fixture.size
    person = Person(
        photos=["photo.png"],
        pose="keypoints",
        keypoints=(io["keypoints"].numpy() / [width, height]).tolist(),
        adapter_strength=adapter_strength,
        identitynet_strength=IDENTITYNET_STRENGTH,
    )
    placed = PlacedPerson(embedding=io["embedding"][0].numpy(), keypoints=io["keypoints"].numpy(), box=io["face_box"].numpy())
    settings = Settings(enabled=True, people=[person], face_region=face_region)  # type: ignore[arg-type]
    return prepare(settings, [placed], fixture.size, adapter, lambda: net)


@torch.no_grad()
def _compare_residuals(fixture: Fixture, guidance: Prepared) -> Iterator[Row]:
    io, net, person = fixture.io, guidance.identitynet, guidance.people[0]
    vector = ldm_vector(fixture.unet, io["text_embeds"], io["time_ids"])
    hint, context = net.prepare_hint(person.keypoint_map), net.prepare_context(person.face.tokens)
    residuals = net(io["latents"], io["timestep"], vector, hint, context)
    for i, residual in enumerate(residuals.down):
        name = f"residual_down_{i}"
        yield Row(name, relative_error(residual * IDENTITYNET_STRENGTH, io[name]))
    yield Row("residual_mid", relative_error(residuals.middle * IDENTITYNET_STRENGTH, io["residual_mid"]))


def unets(fixture: Fixture) -> Iterator[tuple[str, nn.Module, Callable[[], Tensor]]]:
    """Name, module and call of the UNet in both families."""
    io, unet = fixture.io, fixture.unet
    added = {"text_embeds": io["text_embeds"], "time_ids": io["time_ids"]}
    ldm = ldm_unet_like(unet)
    vector = ldm_vector(unet, io["text_embeds"], io["time_ids"])

    @torch.no_grad()
    def call_diffusers() -> Tensor:
        return unet(io["latents"], io["timestep"], io["context"], added_cond_kwargs=added).sample

    @torch.no_grad()
    def call_ldm() -> Tensor:
        return ldm(io["latents"], io["timestep"], context=io["context"], y=vector)

    yield "diffusers", unet, call_diffusers
    yield "ldm", ldm, call_ldm


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print(__doc__)
        return 2
    worst = 0.0
    for row in compare(Path(sys.argv[1])):
        print(f"{row.tensor:36} {row.error:.2e}  {'' if row.error <= TOLERANCE else 'BEYOND ' + str(TOLERANCE)}".rstrip())
        worst = max(worst, row.error)
    print(f"{'worst':36} {worst:.2e}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
