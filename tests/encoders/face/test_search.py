"""Where nothing is found the detector looks again: smaller, then with a border; coordinates are the picture's all the same."""

from __future__ import annotations

import numpy as np
import pytest

from lib_instantid.encoders.face.faces import Picture
from lib_instantid.encoders.face.scrfd import Detections, fit
from lib_instantid.encoders.face.search import Size, search

PICTURE = np.full((300, 400, 3), 200, dtype=np.uint8)
ATTEMPTS = [(side, (300, 400)) for side in (640, 512, 384, 320, 256, 192)] + [(side, (side, side)) for side in (640, 384, 256)]
"""(canvas, height and width of what is shown to the detector): the picture itself, then a canvas with it in the middle."""


class FindsAt:
    """Finds the picture's own corners as a face, at one attempt only."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.seen: list[tuple[int, tuple[int, ...]]] = []

    def __call__(self, picture: Picture, size: Size) -> Detections:
        self.seen.append((size[0], picture.shape[:2]))
        count = 1 if len(self.seen) == self.attempt else 0
        rows, columns = np.nonzero(picture[..., 0])
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)
        return Detections(
            boxes=np.tile(box, (count, 1)),
            scores=np.full(count, 0.9, np.float32),
            keypoints=np.tile(box[[0, 1, 2, 1, 0, 3, 2, 3, 0, 1]].reshape(5, 2), (count, 1, 1)),
        )


@pytest.mark.parametrize("attempt", range(1, len(ATTEMPTS) + 1))
def test_attempts_go_on_in_order_until_a_face_is_found(attempt: int) -> None:
    detect = FindsAt(attempt)
    found = search(PICTURE, detect)
    assert detect.seen == ATTEMPTS[:attempt]
    np.testing.assert_allclose(found.boxes, [(0, 0, 400, 300)], atol=1e-3)
    np.testing.assert_allclose(found.keypoints[0, :3], [(0, 0), (400, 0), (0, 300)], atol=1e-3)


def test_when_every_attempt_finds_nothing_the_result_is_empty() -> None:
    detect = FindsAt(0)
    assert len(search(PICTURE, detect)) == 0
    assert detect.seen == ATTEMPTS


def test_a_fixed_size_is_the_only_one_tried_without_and_with_a_border() -> None:
    detect = FindsAt(0)
    search(PICTURE, detect, (640, 480))
    assert detect.seen == [(640, (300, 400)), (640, (480, 640))]


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (640, 640), (333, 777)])
def test_a_picture_fits_its_canvas_and_never_vanishes(shape: tuple[int, int]) -> None:
    width, height = fit(np.zeros((*shape, 3), dtype=np.uint8), (640, 640))
    assert 1 <= width <= 640
    assert 1 <= height <= 640
    assert max(width, height) == 640
