"""What the panel asks Python for, as the browser does: JSON in, JSON out, never an exception."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.encoders.face import photos as photos_module
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.geometry import crop_and_resize
from lib_instantid.encoders.face.head_points import average_head
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.webui.panel_service import Download, PanelBackend, PanelService, Status
from tests.encoders.face.scenes import DIM, RED, squares

ONE = squares(300, 300, [(90, 80, 120)], RED)
TWO = squares(400, 300, [(30, 90, 120), (240, 60, 130)], RED)
RIGHT = [[0.9, 0.2], [0.96, 0.2], [0.93, 0.24], [0.91, 0.28], [0.95, 0.28]]
FIVE = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]


@pytest.fixture(scope="module")
def analyser(weights_folder: Path) -> Photos:
    return Photos(open_analyser("builtin", weights_folder))


class Page:
    """A browser's side: uploads and questions."""

    def __init__(self, folder: Path, service: PanelService) -> None:
        self.folder = folder
        self.service = service

    def upload(self, picture: np.ndarray, name: str = "a.png") -> str:
        Image.fromarray(picture).save(self.folder / name)
        return str(self.folder / name)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.service.answer(json.dumps({"do": do, **request})))
        return answer


@pytest.fixture
def started() -> list[bool]:
    return []


@pytest.fixture
def page(tmp_path: Path, analyser: Photos, started: list[bool], monkeypatch: pytest.MonkeyPatch) -> Page:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    download = Download(text="4 GB, Apache-2.0", start=lambda: started.append(True), progress="", running=False)
    around = PanelBackend(
        analyser=lambda: analyser,
        identities=lambda: tmp_path / "identities",
        status=lambda: Status(problems={"people": "no files"}, download=download),
    )
    return Page(uploads, PanelService(around))


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def test_faces_come_from_left_to_right_as_fractions_with_a_report(page: Page, analyser: Photos) -> None:
    answer = page.ask("faces", photo=page.upload(TWO), keypoints=None)
    assert answer["size"] == [400, 300]
    lefts = [face["box"][0] for face in answer["faces"]]
    assert lefts == sorted(lefts)
    assert len(lefts) == 2
    found = sorted(analyser.faces(TWO), key=lambda face: face.centre[0])
    for shown, face in zip(answer["faces"], found, strict=True):
        assert np.array(shown["keypoints"]) * (400, 300) == pytest.approx(face.keypoints, abs=1e-3)
        assert shown["level"] in ("good", "usable", "poor")


def test_points_by_hand_make_one_face(page: Page) -> None:
    (face,) = page.ask("faces", photo=page.upload(squares(200, 100, [])), keypoints=FIVE)["faces"]
    assert np.array(face["keypoints"]) == pytest.approx(np.array(FIVE), abs=1e-6)


def test_placing_points_begins_where_a_face_is_likely_or_in_the_middle(page: Page, analyser: Photos) -> None:
    dim, dark = (page.ask("faces", photo=page.upload(picture), keypoints=None) for picture in (DIM, 0 * DIM))
    assert dim["faces"] == dark["faces"] == []
    assert np.array(dim["start"]) * (640, 480) == pytest.approx(analyser._analyser.likely(DIM), abs=1e-3)
    assert np.array(dark["start"]).mean(axis=0) == pytest.approx((0.5, 0.5), abs=1e-3)


def test_heads_are_placed_as_the_generation_places_them(page: Page, analyser: Photos) -> None:
    people = [
        {"photos": [page.upload(ONE)]},
        {"identity": "x", "pose": "keypoints", "keypoints": RIGHT},
        {"identity": "x", "pose": "none"},
    ]
    answer = page.ask("place", settings={"people": people}, width=320, height=200)
    first, second, third = answer["heads"]
    assert np.array(second["keypoints"]) == pytest.approx(np.array(RIGHT) * (320, 200), abs=1e-3)
    assert third is None
    each = [draw_keypoints(np.array(head["keypoints"]), 320, 200) for head in (first, second)]
    assert np.array_equal(decoded(answer["map"]), np.maximum(*each))
    assert max(first["depths"]) == first["depths"][2]
    (face,) = analyser.faces(ONE)
    placement = crop_and_resize((300, 300), (320, 200), keep=face.box)
    assert np.array(first["keypoints"]) == pytest.approx(placement.points(face.keypoints), abs=1e-3)


def test_a_nudge_decodes_no_photo_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    real = photos_module.read_picture
    monkeypatch.setattr(photos_module, "read_picture", lambda *given: decoded.append(given) or real(*given))
    first = {"photos": [page.upload(squares(310, 300, [(95, 85, 115)], RED))]}
    for x in (0.8, 0.82, 0.84):
        moved = {"identity": "x", "pose": "keypoints", "keypoints": [[x + dx / 9, y / 4] for dx, y in FIVE]}
        assert "heads" in page.ask("place", settings={"people": [first, moved]}, width=320, height=200)
    assert len(decoded) == 1
    page.ask("place", settings={"people": [{**first, "face": 1}]}, width=320, height=200)
    assert len(decoded) == 1


def test_by_hand_begins_with_the_average_head(page: Page) -> None:
    answer = page.ask("place", settings={"people": [{"identity": "x", "pose": "keypoints"}]}, width=512, height=640)
    assert np.array(answer["heads"][0]["keypoints"]) == pytest.approx(average_head(512, 640), abs=1e-3)


def test_an_identity_is_saved_listed_renamed_and_deleted(page: Page, tmp_path: Path, analyser: Photos) -> None:
    folder = tmp_path / "identities"
    person = {"photos": [page.upload(TWO)], "face": [1], "photo_keypoints": [None]}
    assert page.ask("save identity", name="Ada", thumbnail=False, **person)["identities"] == [
        {"name": "Ada", "thumbnail": None}
    ]
    left = min(analyser.faces(TWO), key=lambda face: face.centre[0])
    assert np.array_equal(load_identity("Ada", folder).embedding, left.embedding)
    assert not list(folder.glob("*.png"))

    (listed,) = page.ask("save identity", name="Ada", thumbnail=True, **person)["identities"]
    assert decoded(listed["thumbnail"]).shape == (112, 112, 3)
    (listed,) = page.ask("rename identity", name="Ada", new_name="Grace")["identities"]
    assert listed["name"] == "Grace"
    assert listed["thumbnail"]
    assert page.ask("delete identity", name="Grace")["identities"] == []
    assert list(folder.iterdir()) == []


def test_a_taken_name_is_not_overwritten_by_renaming(page: Page, tmp_path: Path) -> None:
    person = {"photos": [page.upload(ONE)], "face": "largest", "photo_keypoints": [], "thumbnail": False}
    for name in ("Ada", "Grace"):
        page.ask("save identity", name=name, **person)
    assert "'Grace' is taken" in page.ask("rename identity", name="Ada", new_name="Grace")["error"]
    assert len(list((tmp_path / "identities").iterdir())) == 2


def test_status_tells_the_problem_and_offers_a_download(page: Page, started: list[bool]) -> None:
    answer = page.ask("status")
    assert answer["problems"] == {"people": "no files"}
    assert answer["download"] == {"text": "4 GB, Apache-2.0", "progress": "", "running": False}
    assert not started
    page.ask("download")
    assert started == [True]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a path outside the uploads": ({"do": "faces", "photo": "/etc/passwd.png"}, "not below an allowed folder"),
    "a name that leaves the folder": ({"do": "delete identity", "name": "../x"}, "identity: the name"),
    "no such identity": ({"do": "rename identity", "name": "x", "new_name": "y"}, "no identity 'x'"),
    "an absurd size": ({"do": "place", "settings": {"people": []}, "width": 10**6, "height": 8}, "expected 1 to"),
    "an unknown setting": ({"do": "place", "settings": {"people": [], "hue": 1}, "width": 64, "height": 64}, "no such setting"),
    "an unknown request": ({"do": "sing"}, "Internal error, KeyError"),
    "a missing field": ({"do": "faces"}, "Internal error, KeyError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_answered_with_a_sentence(page: Page, name: str) -> None:
    request, words = WRONG[name]
    assert words in json.loads(page.service.answer(json.dumps(request)))["error"]


def test_what_is_no_json_is_answered_too(page: Page) -> None:
    assert "Internal error" in json.loads(page.service.answer("{"))["error"]
