"""The maps of a picture: drawn, fitted to the output, by our own preprocessors and the host's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters.controlnet.draw import draw
from lib_instantid.adapters.controlnet.maps import OWN, as_hint, without
from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.adapters.family import Preprocessors
from lib_instantid.constants import KEYPOINT_COLOURS
from lib_instantid.encoders.face.faces import Picture
from lib_instantid.errors import MissingPackage, NoFaceFound, SettingsError
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.sources import LoadedSources
from tests.encoders.face.scenes import RED, squares

SIZE = (128, 96)
LINES = "lineart_standard (from white bg & black line)"
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


class Sources(LoadedSources):
    """Those of the diffusers host, with preprocessors of our own making."""

    def __init__(self, folder: Path, preprocessors: Preprocessors, analyser: Any = None) -> None:
        super().__init__(analyser=analyser, identities=folder, networks={})
        self._own = preprocessors

    @property
    def preprocessors(self) -> Preprocessors:
        return self._own


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    def dim(picture: Picture, resolution: int) -> Picture:
        assert resolution == min(picture.shape[:2])
        return picture // 2

    def small(_: Picture, resolution: int) -> Picture:
        return np.full((8, 8, 3), resolution % 256, np.uint8)

    by_name = {"depth_midas": dim, "openpose_full": small, "depth_zoe": small, LINES: dim}
    return Sources(tmp_path, Preprocessors(by_name=by_name, cure="Get more there."))


def drawn(picture: Picture, sources: Sources, size: tuple[int, int] = SIZE, **values: Any) -> Picture:
    control = Control(picture=Image.fromarray(picture), **values)
    return draw(control, picture, size, sources, "controls[1]")


def test_a_map_of_the_outputs_size_stays_as_it_is(sources: Sources) -> None:
    for fit in ("crop", "pad", "stretch"):
        assert np.array_equal(drawn(PICTURE, sources, fit=fit), PICTURE)


def test_crop_pad_and_stretch(sources: Sources) -> None:
    wide = np.zeros((50, 200, 3), np.uint8)
    wide[:, :100] = 255
    crop, pad, stretch = (drawn(wide, sources, (100, 100), fit=fit) for fit in ("crop", "pad", "stretch"))
    assert crop.shape == pad.shape == stretch.shape == (100, 100, 3)
    assert crop[:, :45].min() == 255
    assert crop[:, 55:].max() == 0
    assert pad[:36].max() == pad[64:].max() == 0
    assert pad[40:60, :45].min() == 255
    assert stretch[:, :45].min() == 255
    tall = drawn(np.full((200, 50, 3), 9, np.uint8), sources, (64, 104), fit="pad")
    assert tall.shape == (104, 64, 3)
    assert tall[:, 30:34].min() == 9
    assert tall[:, :15].max() == 0


def test_canny_is_cv2s_and_its_thresholds_matter(sources: Sources) -> None:
    smooth = np.asarray(cv2.GaussianBlur(PICTURE, (0, 0), 3), dtype=np.uint8)
    found = drawn(smooth, sources, preprocessor="canny", low=30, high=60)
    assert np.array_equal(found, np.repeat(cv2.Canny(smooth, 30, 60)[:, :, None], 3, axis=2))
    assert set(np.unique(found)) == {0, 255}
    assert drawn(smooth, sources, preprocessor="canny", low=250, high=255).sum() < found.sum()


def test_no_edge_where_padding_begins(sources: Sources) -> None:
    white = np.full((50, 100, 3), 255, np.uint8)
    assert drawn(white, sources, (96, 96), preprocessor="canny", fit="pad").max() == 0


def test_blur_and_grey(sources: Sources) -> None:
    much, little = (drawn(PICTURE, sources, preprocessor="blur", sigma=sigma).std() for sigma in (6.0, 1.0))
    assert much < little / 2
    grey = drawn(PICTURE, sources, preprocessor="grey")
    assert (grey[..., 0] == grey[..., 1]).all()
    assert np.abs(grey[..., 0] - PICTURE @ [0.299, 0.587, 0.114]).max() <= 1


def test_inpaint_marks_what_is_repainted() -> None:
    mask = np.zeros((96, 128), np.float32)
    mask[:40] = 1
    hint = without(PICTURE, mask, -1.0)
    assert (hint[:40] == -1).all()
    assert np.array_equal(hint[40:], as_hint(PICTURE)[40:])


def test_keypoints_are_of_every_face_and_lie_where_the_faces_are(host: DiffusersHost, tmp_path: Path) -> None:
    two = squares(400, 300, [(30, 90, 120), (240, 60, 130)], RED)
    own = Sources(tmp_path, Preprocessors(), host.sources.analyser)
    found = drawn(two, own, (400, 300), preprocessor="keypoints")
    eyes = [(found == colour).all(axis=2).any() for colour in KEYPOINT_COLOURS[:2]]
    assert all(eyes)
    assert found[:, :180].max() == found[:, 220:].max() == 255
    assert found[:, 195:205].max() == 0
    with pytest.raises(NoFaceFound, match=r"controls\[1\]\.picture"):
        drawn(squares(300, 200, []), own, preprocessor="keypoints")


def test_the_hosts_preprocessors_are_found_by_name_or_kind(sources: Sources) -> None:
    assert np.array_equal(drawn(PICTURE, sources, preprocessor="depth_midas"), PICTURE // 2)
    assert np.array_equal(drawn(PICTURE, sources, preprocessor="depth"), PICTURE // 2)
    assert (drawn(PICTURE, sources, preprocessor="pose") == 96).all()
    assert (drawn(PICTURE, sources, preprocessor="depth_zoe") == 96).all()
    assert np.array_equal(drawn(PICTURE, sources, preprocessor="lineart_standard"), PICTURE // 2)


@pytest.mark.parametrize("name", ["normal_bae", "depth_leres"])
def test_a_missing_one_is_named_with_the_cure(sources: Sources, name: str) -> None:
    """Also one of a kind of which there are others: they draw another map."""
    with pytest.raises(SettingsError) as error:
        drawn(PICTURE, sources, preprocessor=name)
    names = ", ".join((*OWN, "depth_midas", "openpose_full", "depth_zoe", LINES))
    expected = f"controls[1].preprocessor: found {name!r}, expected one of {names}. Get more there."
    assert str(error.value) == expected


def test_without_controlnet_aux_the_diffusers_host_says_how_to_get_it(tmp_path: Path) -> None:
    own = LoadedSources(analyser=None, identities=tmp_path, networks={})  # type: ignore[arg-type]
    control = Control(picture=Image.fromarray(PICTURE), preprocessor="depth")
    with pytest.raises(SettingsError, match="pip install controlnet_aux"):
        draw(control, PICTURE, SIZE, own, "controls[1]")


def test_controlnet_aux_that_cannot_fetch_its_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = "    @classmethod\n    def from_pretrained(cls, name):\n        raise OSError(f'no way to {name}')\n"
    (tmp_path / "controlnet_aux.py").write_text(f"class MidasDetector:\n{method}")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = LoadedSources(analyser=None, identities=tmp_path, networks={})  # type: ignore[arg-type]
    control = Control(picture=Image.fromarray(PICTURE), preprocessor="depth_midas")
    with pytest.raises(MissingPackage, match=r"MidasDetector cannot be used \(no way to lllyasviel/Annotators\)"):
        draw(control, PICTURE, SIZE, own, "controls[1]")
