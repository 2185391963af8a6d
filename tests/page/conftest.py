"""The page of its own under both generations of gradio, in a real browser.

`make test` makes the two environments. Where there is no Chromium, or an environment is missing, these tests are left out, and
the end of the run says so.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import SMALL
from tests.page.browser import Panel, find_chromium, launch

ROOT = Path(__file__).parents[2]
CHROMIUM = find_chromium()
GRADIOS = {"gradio 3.41.2": ROOT / ".page-3.41", "gradio 4.40.0": ROOT / ".page-4.40"}
WRITE_WEIGHTS = f"""
import sys
from pathlib import Path
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from lib_instantid.hosts.stand_ins.weights import Size, write_weights
write_weights(Path(sys.argv[1]), {SMALL})
write_face_models(Path(sys.argv[1]) / "antelopev2")
"""
MISSING = [] if CHROMIUM else ["no Chromium: install the package chromium, or run `.venv/bin/playwright install chromium`"]
MISSING += [
    f"no environment {folder.name}, which `make test` makes (the older one up to Python 3.12)"
    for folder in GRADIOS.values()
    if not folder.is_dir()
]
if not CHROMIUM or len(MISSING) == len(GRADIOS):
    collect_ignore_glob = ["test_*.py"]
STARTING = 120
"""Seconds until the page is there; it imports torch and diffusers."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for missing in MISSING:
        terminalreporter.write_line(f"browser tests left out: {missing}", yellow=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed before the tests of other folders: while it runs, this thread has an event loop, in which asyncio.run refuses."""
    with sync_playwright() as playwright:
        browser = launch(playwright, str(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=[name for name, folder in GRADIOS.items() if folder.is_dir()])
def python(request: pytest.FixtureRequest) -> Path:
    """Of an environment with one of the gradios."""
    return GRADIOS[request.param] / "bin" / "python"


@pytest.fixture(scope="session")
def weights(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small ones, which the environment's own libraries have written."""
    folder = tmp_path_factory.mktemp("page") / "weights"
    subprocess.run([python, "-c", WRITE_WEIGHTS, folder], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def address(python: Path, weights: Path) -> Iterator[str]:
    """Of the running page."""
    files = ["--checkpoint", weights / "checkpoint", "--models-dir", weights]
    files += ["--ip-adapter", weights / "ip-adapter-plus.bin", "--image-encoder", weights / "image_encoder"]
    command = ["lib_instantid", "page", *files, "--size", "256", "--steps", "8", "--out", weights.parent / "outputs"]
    yield from _served(lambda port: [python, "-m", *command, "--port", str(port)], weights.parent)


@pytest.fixture(scope="session")
def two_tabs(python: Path, weights: Path) -> Iterator[str]:
    """Of a page with both tabs' panels."""
    yield from _served(lambda port: [python, "-m", "tests.page.two_tabs", str(port), weights / "antelopev2"], weights.parent)


def _served(command: Callable[[int], list[str | Path]], folder: Path) -> Iterator[str]:
    """Run a page until its tests are over. command: of a port. folder: for its log and uploads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command(port), cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/", server, folder / "log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(30)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTING
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the page did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="package")
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """One for the tests of a page, so that gradio's scripts are fetched and compiled once."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 1000})
    context.new_page()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    page.goto("/")
    yield page
    page.close()


@pytest.fixture
def panel(page: Page) -> Iterator[Panel]:
    """The opened panel; at the end there were no errors in the page."""
    panel = Panel(page)
    page.wait_for_function("() => window.instantid && window.instantid.start")
    panel.open()
    yield panel
    assert panel.errors == []
