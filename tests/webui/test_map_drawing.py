"""Maps for the panel: drawn in the background, one request at a time, and kept."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.webui.arguments import upload_folder
from lib_instantid.webui.map_drawing import MapDrawing
from lib_instantid.webui.panel_service import PanelBackend, PanelService

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
SIZE = (64, 64)


class Sources(LoadedSources):
    """With a preprocessor that waits until it may go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(analyser=None, identities=folder, networks={})  # type: ignore[arg-type]
        self.calls = 0
        self.go_on = threading.Event()

    @property
    def preprocessors(self) -> Preprocessors:
        def slow(picture: np.ndarray, _: int) -> np.ndarray:
            self.calls += 1
            assert self.go_on.wait(10)
            return picture // 2

        return Preprocessors(by_name={"slow": slow})


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def of(drawing: MapDrawing, preprocessor: str) -> Any:
    control = {"picture": Image.fromarray(PICTURE), "preprocessor": preprocessor}
    settings = settings_from_dict({"enabled": True, "controls": [control]})
    return drawing.of(preprocessor, settings, SIZE)


def waited(drawing: MapDrawing, preprocessor: str) -> Any:
    for _ in range(200):
        if (found := of(drawing, preprocessor)) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("no map within four seconds")


def test_a_map_is_drawn_once_while_others_wait_and_nobody_is_kept_waiting(sources: Sources) -> None:
    drawing = MapDrawing(lambda: sources)
    assert of(drawing, "slow") is None
    assert of(drawing, "slow") is None
    assert of(drawing, "canny") is None
    sources.go_on.set()
    assert np.array_equal(waited(drawing, "slow")[0], PICTURE // 2)
    assert np.array_equal(waited(drawing, "canny")[0][..., 0], cv2.Canny(PICTURE, 100, 200))
    assert of(drawing, "slow") is not None
    assert sources.calls == 1


def test_a_generation_and_a_map_take_turns(sources: Sources) -> None:
    turn = threading.Lock()
    drawing = MapDrawing(lambda: sources, lambda: turn)
    with turn:
        assert of(drawing, "canny") is None
        time.sleep(0.2)
        assert of(drawing, "canny") is None
    assert waited(drawing, "canny") is not None


def asked(service: PanelService, **control: Any) -> dict[str, Any]:
    request = {"do": "maps", "id": 1, "settings": {"controls": [control]}, "width": 64, "height": 64}
    for _ in range(200):
        answer: dict[str, Any] = json.loads(service.answer(json.dumps(request)))
        if answer.get("maps", True) is not None:
            return answer
        time.sleep(0.02)
    raise AssertionError("no answer within four seconds")


def test_the_panel_gets_the_map_or_the_sentence_in_its_words(sources: Sources) -> None:
    upload_folder().mkdir(parents=True, exist_ok=True)
    path = upload_folder() / "control-test.png"
    Image.fromarray(PICTURE).save(path)
    try:
        maps = MapDrawing(lambda: sources)
        service = PanelService(PanelBackend(analyser=lambda: None, identities=lambda: sources.identities, maps=maps))  # type: ignore[arg-type, return-value]
        assert asked(service, picture=str(path), preprocessor="canny")["maps"][0].startswith("data:image/png;base64,")
        for _ in range(2):  # an error is not kept: what it was about may be there now
            error = asked(service, picture=str(path), preprocessor="depth")["error"]
            assert error.startswith("Control 1, preprocessor: found 'depth', expected one of as it is, canny")
        assert asked(service, preprocessor="canny")["error"] == "Control 1, picture: missing; a control needs one."
    finally:
        path.unlink()
