"""The diffusers host beyond agreement with diffusers: what it adds, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.encoders.face.identity import cosine
from lib_instantid.errors import DownloadError, NoFaceFound
from lib_instantid.hosts.diffusers.checkpoint import load_pipeline
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.metadata import metadata_of, save_pictures
from lib_instantid.hosts.diffusers.request import GeneratedPicture, GenerationRequest, Result
from tests.encoders.face.scenes import squares
from tests.hosts.single_file import write_single_file

PHOTO = Image.fromarray(squares(300, 200, [(90, 60, 70)]))
GIVEN = {"prompt": "a person", "width": 128, "height": 96, "steps": 3, "seed": 5}


def job(person: dict[str, Any] | None = None, **changes: Any) -> GenerationRequest:
    own = {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
    people = [Person(**{"photos": [PHOTO], **(person or {})})]
    return GenerationRequest(**{**GIVEN, **changes}, settings=Settings(**{"enabled": True, "people": people, **own}))


def arrays(result: Result) -> list[np.ndarray]:
    return [np.asarray(picture.image) for picture in result.pictures]


def plain(host: DiffusersHost, seed: int = 5) -> np.ndarray:
    images = host.pipeline(
        "a person",
        negative_prompt="",
        width=128,
        height=96,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(seed),
    ).images
    return np.asarray(images[0])


def test_disabled_it_is_the_plain_pipeline(host: DiffusersHost) -> None:
    assert np.array_equal(arrays(host.generate(GenerationRequest(**GIVEN)))[0], plain(host))


def test_the_pipeline_is_the_same_before_and_after_a_generation_and_after_one_that_failed(host: DiffusersHost) -> None:
    before = plain(host)
    first = arrays(host.generate(job()))[0]
    assert not np.array_equal(first, before)
    with pytest.raises(NoFaceFound):
        host.generate(job({"photos": [Image.fromarray(squares(200, 200, []))]}))
    assert np.array_equal(plain(host), before)
    assert np.array_equal(arrays(host.generate(job()))[0], first)


def test_each_picture_of_a_batch_is_that_of_its_own_seed(host: DiffusersHost) -> None:
    batch = host.generate(job(batch_size=3))
    assert [picture.seed for picture in batch.pictures] == [5, 6, 7]
    alone = arrays(host.generate(job(seed=6)))[0].astype(float)
    assert np.abs(arrays(batch)[1] - alone).mean() < 0.5


def test_best_of_makes_candidates_and_orders_them_by_likeness(host: DiffusersHost) -> None:
    result = host.generate(job(best_of=3))
    assert sorted(picture.seed for picture in result.pictures) == [5, 6, 7]
    likeness = [picture.likeness for picture in result.pictures]
    assert likeness == sorted(likeness, reverse=True)
    assert "similarity" in result.timings


def test_only_the_best_of_the_candidates_are_returned_if_that_is_wished(host: DiffusersHost) -> None:
    best = host.generate(job(best_of=3)).pictures[0]
    (only,) = host.generate(job(best_of=3, only_best=True)).pictures
    assert (only.seed, only.similarity) == (best.seed, best.similarity)


def test_similarity_is_the_cosine_of_the_pictures_face_and_no_face_is_a_value(host: DiffusersHost) -> None:
    result = host.generate(job())
    (embedding,) = result.runs[0].embeddings
    other = squares(400, 300, [(20, 40, 60), (200, 80, 110)])
    measured = host._measured(GeneratedPicture(image=Image.fromarray(other), seed=0), [embedding])
    expected = max(cosine(face.embedding, embedding) for face in host.sources.analyser.faces(other))
    assert measured.similarity == (pytest.approx(expected),)
    faceless = host._measured(GeneratedPicture(image=Image.fromarray(other * 0), seed=0), [embedding])
    assert faceless.similarity == (None,)
    assert faceless.likeness < measured.likeness


def test_two_people_are_in_one_picture(host: DiffusersHost) -> None:
    group = Image.fromarray(squares(300, 200, [(20, 60, 60), (200, 60, 60)]))
    pose = {"pose": "pose picture", "pose_picture": group}
    one, two = Person(photos=[PHOTO], **pose), Person(photos=[PHOTO], **pose)  # type: ignore[arg-type]
    result = host.generate(job(people=[one, two]))
    left, right = (np.flatnonzero(points.any(axis=(0, 2))) for points in result.control_maps)
    assert left.max() < right.min()


def test_the_record_and_the_png_hold_settings_but_no_biometric_data(host: DiffusersHost, tmp_path: Path) -> None:
    given = job(report_similarity=True, best_of=2)
    result = host.generate(given)
    paths = save_pictures(tmp_path / "new" / "a.png", metadata_of(given, result), result)
    assert [path.name for path in paths] == ["a.png", "a-2.png"]
    text = Image.open(paths[0]).text["instantid"]  # type: ignore[union-attr]
    assert '"adapter_strength": 0.8' in text
    assert '"similarity": [' in text
    embedding = result.runs[0].embeddings[0]
    assert not any(f"{value:.4f}" in text for value in embedding[:50])


def test_a_single_file_checkpoint_is_the_folder_it_was_made_of(
    weights_folder: Path, host: DiffusersHost, tmp_path: Path
) -> None:
    write_single_file(weights_folder / "checkpoint", tmp_path / "model.safetensors")
    pipeline = load_pipeline(tmp_path / "model.safetensors", torch.float32, str(weights_folder / "checkpoint"))
    pipeline.set_progress_bar_config(disable=True)
    single = DiffusersHost(pipeline, host.sources)
    assert np.abs(arrays(single.generate(job()))[0] - arrays(host.generate(job()))[0].astype(float)).max() <= 1


def test_a_single_file_without_its_configurations_says_what_to_do(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    write_single_file(weights_folder / "checkpoint", tmp_path / "model.safetensors")
    with pytest.raises(DownloadError, match="--checkpoint-config"):
        load_pipeline(tmp_path / "model.safetensors", torch.float32)
