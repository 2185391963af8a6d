"""What a detector's nine outputs mean, counted out by hand. Agreement with insightface: `test_insightface.py`."""

from __future__ import annotations

import numpy as np
import pytest

from lib_instantid.encoders.face.faces import Floats
from lib_instantid.encoders.face.scrfd import Detections, detect

SIDE = 64
CELLS = {8: 8, 16: 4, 32: 2}


class GivenOutputs:
    """Stands for a network: the same outputs whatever the picture."""

    def __init__(self, outputs: list[Floats]) -> None:
        self.outputs = outputs

    def run(self, _: Floats) -> list[Floats]:
        return self.outputs


def detections(*rows: tuple[int, int, int, int, float, tuple[float, ...]], batched: bool = False) -> Detections:
    """rows: stride, cell x, cell y, anchor, score, distances to the four sides in strides."""
    outputs = [np.zeros((cells**2 * 2, width), np.float32) for width in (1, 4, 10) for cells in CELLS.values()]
    for stride, x, y, anchor, score, sides in rows:
        index, row = list(CELLS).index(stride), (y * CELLS[stride] + x) * 2 + anchor
        outputs[index][row], outputs[index + 3][row] = score, sides
        outputs[index + 6][row] = np.arange(10) / 8
    if batched:
        outputs = [output[None] for output in outputs]
    return detect(GivenOutputs(outputs), np.zeros((SIDE, SIDE, 3), np.uint8), (SIDE, SIDE))  # type: ignore[arg-type]


@pytest.mark.parametrize("batched", [False, True])
def test_distances_and_offsets_are_in_strides_from_the_cells_corner(batched: bool) -> None:
    found = detections((16, 2, 1, 1, 0.75, (0.5, 0.25, 1, 1.5)), batched=batched)
    np.testing.assert_array_equal(found.boxes, [[32 - 8, 16 - 4, 32 + 16, 16 + 24]])
    np.testing.assert_array_equal(found.keypoints, [[(32 + 4 * i, 16 + 4 * i + 2) for i in range(5)]])
    np.testing.assert_array_equal(found.scores, [0.75])


def test_every_grid_is_read_and_the_best_score_comes_first() -> None:
    ones = (0.25,) * 4
    found = detections((8, 0, 7, 0, 0.6, ones), (16, 3, 0, 1, 0.9, ones), (32, 1, 1, 0, 0.7, ones), (32, 0, 0, 0, 0.4, ones))
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6])
    np.testing.assert_array_equal(found.boxes.reshape(-1, 2, 2).mean(axis=1), [(48, 0), (32, 32), (0, 56)])


@pytest.mark.parametrize(("shift", "left"), [(4, 1), (5, 2)])
def test_boxes_that_share_over_two_fifths_of_their_pixels_are_one_face(shift: int, left: int) -> None:
    # 10 x 10 pixels each, from 0 to 9: at a shift of 4 they share 60 of 140 (of lengths 9, 45 of 117), at 5 50 of 150
    first = (8, 0, 0, 0, 0.9, (0, 0, 9 / 8, 9 / 8))
    second = (8, 0, 0, 1, 0.8, (0, -shift / 8, 9 / 8, (9 + shift) / 8))
    assert len(detections(first, second)) == left


def test_overlapping_faces_are_told_apart_in_pixels_of_the_photo() -> None:
    """insightface scales the boxes back before it suppresses, and counts each a pixel wider: of 5120 pixels two faces stay, of
    640 one (they share 0.398 and 0.44 of their union; the limit is 0.4)."""
    outputs = [np.zeros(((640 // stride) ** 2 * 2, width), np.float32) for width in (1, 4, 10) for stride in CELLS]
    outputs[0][:2, 0] = 0.9, 0.8
    outputs[3][:2] = [[0, 0, 1, 1], [-3.5 / 8, 0, 11.5 / 8, 1]]
    found = detect(GivenOutputs(outputs), np.zeros((5120, 5120, 3), np.uint8), (640, 640))  # type: ignore[arg-type]
    assert found.boxes.tolist() == [[0, 0, 64, 64], [28, 0, 92, 64]]
    assert len(detect(GivenOutputs(outputs), np.zeros((640, 640, 3), np.uint8), (640, 640))) == 1  # type: ignore[arg-type]
