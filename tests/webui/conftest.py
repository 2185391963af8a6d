"""The extension on small weights, without a WebUI."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.webui.script import Extension
from tests.webui.test_extension import Host


@pytest.fixture
def extension(diffusers_unet: nn.Module, weights_folder: Path, tmp_path: Path) -> Extension:
    for name in ("ControlNetModel", "antelopev2"):
        shutil.copytree(weights_folder / name, tmp_path / name)
    shutil.copy(weights_folder / "ip-adapter.bin", tmp_path)
    store = ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)
    return Extension(Host(diffusers_unet), store, lambda: [])  # type: ignore[arg-type]
