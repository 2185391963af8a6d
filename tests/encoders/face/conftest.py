"""Stand-in models and pictures for them: see `lib_instantid/hosts/stand_ins/face_models.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_instantid.encoders.face.analyser import FaceAnalyser
from lib_instantid.encoders.face.model_files import find_face_models
from lib_instantid.hosts.stand_ins.face_models import write_face_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "antelopev2"
    write_face_models(folder)
    return folder


@pytest.fixture(scope="session")
def analyser(models: Path) -> FaceAnalyser:
    return FaceAnalyser(find_face_models(models))
