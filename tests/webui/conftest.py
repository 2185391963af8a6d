"""The extension on small weights, without a WebUI."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

from lib_instantid.webui.engine import Engine, Keep
from lib_instantid.webui.script import Extension
from tests.webui.test_extension import Host


@pytest.fixture
def extension(diffusers_unet: nn.Module, weights_folder: Path, tmp_path: Path) -> Extension:
    for name in ("ControlNetModel", "antelopev2"):
        shutil.copytree(weights_folder / name, tmp_path / name)
    shutil.copy(weights_folder / "ip-adapter.bin", tmp_path)
    engine = Engine(lambda: [tmp_path], lambda: Keep.CPU)
    return Extension(Host(diffusers_unet), engine, lambda: tmp_path, lambda: [])  # type: ignore[arg-type]
