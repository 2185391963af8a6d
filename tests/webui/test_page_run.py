"""The page of its own makes one generation at a time; gradio, which only shows it, is not needed for that."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


class Host:
    """Counts the generations that run at once. Each ends when the test lets it."""

    def __init__(self) -> None:
        self.begun = self.running = self.most = 0
        self.end = threading.Event()

    def generate(self, *_: Any) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.end.wait(20)
        self.running -= 1


def test_a_generation_whose_reader_has_left_keeps_the_next_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradio = ModuleType("gradio")
    gradio.__version__, gradio.Error = "4.40.0", RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    for name in ("panel", "page"):
        monkeypatch.delitem(sys.modules, f"lib_instantid.webui.{name}", raising=False)
    page, host = importlib.import_module("lib_instantid.webui.page"), Host()
    run: Any = page.Run(host, tmp_path)
    readers = [run.generate("a person", "", 64, 64, 1, 5, "euler", 0, 1, False, "") for _ in range(2)]
    for reader in readers:
        next(reader)
        reader.close()
    time.sleep(0.2)
    assert (host.begun, host.most) == (1, 1)
    host.end.set()
    while host.begun < 2 or host.running:
        time.sleep(0.01)
    assert host.most == 1
    for name in ("panel", "page"):
        monkeypatch.delitem(sys.modules, f"lib_instantid.webui.{name}", raising=False)
