"""The settings page's ways to keep IdentityNet in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.webui import EFFECT, Answer, WebUI, alike, difference

pytestmark = pytest.mark.page  # under --nowebui the WebUI knows no extension's options

DEFAULTS = {"instantid_keep_models": "CPU memory", "instantid_fp8": False, "instantid_streamed": False}
Choose = Callable[..., None]


@pytest.fixture
def choose(webui: WebUI) -> Iterator[Choose]:
    def post(**options: Any) -> None:
        status, answer = webui.post("sdapi/v1/options", options)
        assert status == 200, answer

    yield post
    post(**DEFAULTS)


@pytest.mark.parametrize("kept", ["GPU", "CPU memory", "not at all"])
def test_wherever_the_networks_wait_the_picture_is_the_same(webui: WebUI, guided: Answer, choose: Choose, kept: str) -> None:
    choose(instantid_keep_models=kept)
    for _ in range(2):
        assert webui.guided().files == guided.files


def test_layer_by_layer_the_picture_is_the_same(webui: WebUI, guided: Answer, choose: Choose) -> None:
    choose(instantid_streamed=True)
    for _ in range(2):
        assert alike(webui.guided().picture, guided.picture)
    choose(instantid_streamed=False)
    assert webui.guided().files == guided.files


@pytest.mark.parametrize("streamed", [False, True])
def test_in_fp8_the_picture_is_nearly_the_same(
    webui: WebUI, plain: Answer, guided: Answer, choose: Choose, streamed: bool
) -> None:
    choose(instantid_fp8=True, instantid_streamed=streamed)
    found = webui.guided()
    assert found.files == webui.guided().files
    assert 0 < difference(found.picture, guided.picture) < difference(plain.picture, guided.picture) / 2
    assert difference(found.picture, plain.picture) > EFFECT
    choose(**DEFAULTS)
    assert webui.guided().files == guided.files
