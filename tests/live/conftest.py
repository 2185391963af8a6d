"""Live tests: against a WebUI that runs on this machine with the extension in its extensions folder.

    INSTANTID_WEBUI_URL=http://127.0.0.1:7860 INSTANTID_WEBUI_DIR=/path/to/webui python -m pytest tests/live

A WebUI that runs with `--api-auth me:secret` is given `INSTANTID_WEBUI_LOGIN=me:secret`, and a second one, a worker for the
tests of the extension "distributed", `INSTANTID_WORKER_URL`; without it the one WebUI is both workers.
Without the first two variables nothing here is collected. The first run links `probe/` into the WebUI's extensions folder;
restart the WebUI once then. Small random checkpoints and the stand-in face models will do.
"""

from __future__ import annotations

import os
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from tests.live.replay import Guide, core_of, webuis_unet
from tests.live.webui import EFFECT, Answer, WebUI, alike, difference

URL, FOLDER = os.environ.get("INSTANTID_WEBUI_URL"), os.environ.get("INSTANTID_WEBUI_DIR")
LOGIN = os.environ.get("INSTANTID_WEBUI_LOGIN", "")
PROBE = Path(__file__).with_name("probe")
if not (URL and FOLDER):
    collect_ignore_glob = ["test_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "a1111: concerns AUTOMATIC1111's WebUI alone")
    config.addinivalue_line("markers", "forge: concerns Forge alone")
    config.addinivalue_line("markers", "auth: needs --api-auth and INSTANTID_WEBUI_LOGIN")
    config.addinivalue_line("markers", "controlnet: needs Forge, or the extension sd-webui-controlnet in A1111")
    config.addinivalue_line("markers", "unsteady: A1111's own plain picture changes by one level of 255")
    config.addinivalue_line("markers", "small: needs a WebUI that was started on the small model, where nothing else is run")
    config.addinivalue_line("markers", "page: needs the page, so not under --nowebui")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what concerns the other WebUI, or a part that this one lacks."""
    if not (URL and FOLDER):
        return
    webui = WebUI(URL, Path(FOLDER), LOGIN)
    lacking = {"page": not webui.has_page, "controlnet": not webui.has_controlnet, "auth": not LOGIN}
    others = {"a1111" if webui.forge else "forge"} | {mark for mark, lacks in lacking.items() if lacks}
    here = Path(__file__).parent
    lives = {item: {mark.name for mark in item.iter_markers()} for item in items if here in item.path.parents}
    left_out = [item for item, marks in lives.items() if others & marks or ("small" in marks) != webui.has_small_model]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def webui() -> WebUI:
    """The running WebUI, with the probe in it."""
    found = WebUI(URL or "", Path(FOLDER or ""), LOGIN)
    link = found.folder / "extensions" / "instantid-live-probe"
    if not link.exists():
        link.symlink_to(PROBE)
    try:
        found.get("instantid-probe/state")
    except urllib.error.HTTPError:
        pytest.exit(f"The probe is now linked at {link}, but {found.url} runs without it: restart the WebUI once.")
    found.settle()
    return found


@pytest.fixture(scope="module")
def plain(webui: WebUI) -> Answer:
    """The picture without InstantID, made before the module's tests."""
    return webui.plain()


@pytest.fixture(scope="module")
def guided(webui: WebUI, plain: Answer) -> Answer:
    """The same request with InstantID at its defaults."""
    found = webui.guided()
    assert difference(found.picture, plain.picture) > EFFECT
    return found


@pytest.fixture(autouse=True)
def _leaves_no_trace(request: pytest.FixtureRequest, webui: WebUI, plain: Answer) -> Iterator[None]:
    """After each test: the plain picture's file is what it was, and the UNet has the hooks that it had.

    A1111's own picture depends on which attention optimisations were chosen before, without InstantID too.
    """
    hooks = webui.get("instantid-probe/state")["hooks"]
    yield
    after, unsteady = webui.plain(), request.node.get_closest_marker("unsteady")
    same = alike(after.picture, plain.picture) if unsteady else after.files == plain.files
    assert same, "the picture without InstantID changed"
    assert webui.get("instantid-probe/state")["hooks"] == hooks, "hooks were left on the UNet"


@pytest.fixture(scope="session")
def unet(webui: WebUI) -> UNet2DConditionModel:
    """diffusers' UNet with the weights of the WebUI's checkpoint."""
    return webuis_unet(webui)


@pytest.fixture(scope="session")
def guide(webui: WebUI) -> Guide:
    """The core's guidance from settings."""
    return core_of(webui)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A file for the probe to write UNet calls to."""
    return tmp_path / "calls.pt"
