"""The panel's download: one at a time, never lost, and watched without a look through every folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lib_instantid.webui import panel_backend
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.webui.panel_backend import ModelDownload, panel_backend_of
from tests.webui.test_extension import Host


class Hub:
    """In the place of the hub: each download waits until the test lets it end."""

    def __init__(self) -> None:
        self.asked = 0
        self.end = threading.Event()
        self.failure: Exception | None = None

    def download(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        self.end.wait(20)
        if self.failure:
            raise self.failure


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    monkeypatch.setattr(panel_backend, "download", hub.download)
    yield hub
    hub.end.set()


def test_of_many_who_start_it_at_once_one_does(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = ModelDownload(tmp_path)
    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (time.sleep(0.05), real(thread))[1])
    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: (together.wait(20), fetching.start([])), range(4)))
    assert hub.asked == 1


def test_a_failure_that_nobody_thought_of_is_shown_and_the_log_says_more(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.failure = KeyError("Location")
    fetching = ModelDownload(tmp_path)
    fetching.start([])
    hub.end.set()
    while fetching.running:
        time.sleep(0.01)
    assert "KeyError" in fetching.progress
    assert "Traceback" in caplog.text


@pytest.mark.usefixtures("hub")
def test_while_it_runs_the_folders_are_not_looked_through_again(tmp_path: Path) -> None:
    looks: list[int] = []
    store = ModelStore(lambda: looks.append(1) or [tmp_path], lambda: Keep.CPU, lambda: tmp_path)  # type: ignore[func-returns-value]
    host: Any = Host(nn.Identity())
    around = panel_backend_of(host, store, tmp_path)
    offered = around.status().download
    assert offered is not None
    offered.start()
    before = len(looks)
    for _ in range(3):
        download = around.status().download
        assert download is not None
        assert download.running
    assert len(looks) == before
