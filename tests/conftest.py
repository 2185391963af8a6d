"""Small models that every test may use. Written once per run; a test that changes one works on its own copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from xdist.scheduler import LoadScopeScheduling

from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet
from lib_instantid.adapters.instantid.prepare import PlacedPerson, Prepared, prepare
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.commands.generate import open_small_host
from lib_instantid.encoders.face.analyser import FaceAnalyser, open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.small_model import PEOPLE, open_judge
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from lib_instantid.hosts.stand_ins.weights import Size, write_weights
from lib_instantid.networks.adapter import Adapter
from lib_instantid.networks.controlnet import ControlNet
from tests.ldm_unet import ldm_unet_like, ldm_vector

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

SMALL = Size(channels=(32, 64, 128), depths=(1, 1, 2), text=(32, 48), time_id=8, resampler=64)
WIDTH, HEIGHT = 128, 96
KEYPOINTS = np.array([[40.0, 35.0], [70.0, 33.0], [56.0, 50.0], [44.0, 63.0], [68.0, 61.0]])
BOX = np.array([30.0, 18.0, 82.0, 80.0])
ROWS = (False, True)


class OneBeginning(LoadScopeScheduling):
    """One worker for what shares a costly beginning: the tests of a file, and those of the page under one gradio.

    pytest-xdist 3.8 cannot group by marks under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        gradio = re.search(r"\[(gradio [\d.]+)", nodeid)
        return gradio[1] if gradio else nodeid.partition("::")[0]


LONGEST = ("[gradio ", "test_insightface.py", "test_benchmarks.py", "test_cli.py")
"""What a worker must not begin with when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return OneBeginning(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """`make test` has several workers: with two threads each they wait for one another, and take several times as long."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """checkpoint/, ip-adapter.bin, ControlNetModel/ and antelopev2/, all small. Nobody writes into it."""
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder, SMALL)
    write_face_models(folder / "antelopev2")
    written = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == written, "a test has changed what all tests read"


@pytest.fixture(scope="session")
def adapter(weights_folder: Path) -> Adapter:
    return load_adapter(weights_folder / "ip-adapter.bin")


@pytest.fixture(scope="session")
def identitynet(weights_folder: Path) -> ControlNet:
    return load_identitynet(weights_folder / "ControlNetModel")


@pytest.fixture(scope="session")
def host(weights_folder: Path, adapter: Adapter, identitynet: ControlNet) -> DiffusersHost:
    """The diffusers host on the small weights."""
    pipeline = load_pipeline(weights_folder / "checkpoint", torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    analyser = Photos(open_analyser("builtin", weights_folder))
    networks = {ADAPTER: adapter, IDENTITYNET: identitynet}
    return DiffusersHost(
        pipeline, LoadedSources(analyser=analyser, identities=weights_folder / "identities", networks=networks)
    )


@pytest.fixture(scope="session")
def diffusers_unet(weights_folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(weights_folder / "checkpoint" / "unet").eval()


@pytest.fixture(scope="session", params=["diffusers", "ldm"])
def unet(request: pytest.FixtureRequest, diffusers_unet: UNet2DConditionModel) -> nn.Module:
    return diffusers_unet if request.param == "diffusers" else ldm_unet_like(diffusers_unet)


class Inputs:
    """Inputs of UNet calls; row i depends on i alone, so that calls with fewer rows can be compared."""

    def __init__(self, unet: UNet2DConditionModel, count: int = 8) -> None:
        generator = torch.Generator().manual_seed(1)
        self.latents = torch.randn(count, 4, HEIGHT // 8, WIDTH // 8, generator=generator)
        self.context = torch.randn(count, 77, SMALL.context, generator=generator)
        self.text_embeds = torch.randn(count, SMALL.text[1], generator=generator)
        self.time_ids = torch.tensor([[float(HEIGHT), float(WIDTH), 0, 0, HEIGHT, WIDTH]]).repeat(count, 1)
        self.timestep = torch.full((count,), 601.0)
        self.vector = ldm_vector(unet, self.text_embeds, self.time_ids)


Call = Callable[..., Tensor]


@pytest.fixture(scope="session")
def call(diffusers_unet: UNet2DConditionModel) -> Call:
    """Call a UNet of either family on some of the rows of `Inputs`."""
    inputs = Inputs(diffusers_unet)

    @torch.no_grad()
    def run(unet: nn.Module, rows: list[int] | None = None) -> Tensor:
        rows = [0, 1] if rows is None else rows
        x, t, context = inputs.latents[rows], inputs.timestep[rows], inputs.context[rows]
        if isinstance(unet, UNet2DConditionModel):
            added = {"text_embeds": inputs.text_embeds[rows], "time_ids": inputs.time_ids[rows]}
            return unet(x, t, context, added_cond_kwargs=added).sample
        return unet(x, t, context=context, y=inputs.vector[rows])

    return run


Guide = Callable[..., Prepared]


@pytest.fixture(scope="session")
def guide(adapter: Adapter, identitynet: ControlNet) -> Guide:
    """Prepared for one person, or for the `placed` ones, with any settings of the person and of the whole."""

    def make(placed: list[PlacedPerson] | None = None, person: dict | None = None, **settings: object) -> Prepared:
        placed = placed or [place()]
        people = [Person(photos=["a.png"], **(person or {})) for _ in placed]
        own = Settings(enabled=True, people=people, **{"face_region": "everywhere", **settings})
        return prepare(own, placed, (WIDTH, HEIGHT), adapter, lambda: identitynet)

    return make


def place(seed: int = 0, shift: float = 0.0, **other: object) -> PlacedPerson:
    """A person with a random raw embedding, whose face is `shift` pixels to the right."""
    embedding = np.random.default_rng(seed).standard_normal(512).astype(np.float32)
    given = {"keypoints": KEYPOINTS + [shift, 0], "box": BOX + [shift, 0, shift, 0], **other}
    return PlacedPerson(embedding=embedding, **given)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture(scope="module")
def judge() -> FaceAnalyser:
    """The small model's, on which nothing is conditioned."""
    return open_judge()


@pytest.fixture(scope="module")
def small_host() -> DiffusersHost:
    """The small model."""
    return open_small_host()


@pytest.fixture(scope="module")
def references(judge: FaceAnalyser) -> np.ndarray:
    """(8, 512), each of length 1: the judge's embeddings of `PEOPLE`."""
    found = np.stack([judge.faces(read_picture(photo, "photo"))[0].embedding for photo in PEOPLE])
    return found / np.linalg.norm(found, axis=1, keepdims=True)
