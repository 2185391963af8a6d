"""Five points with depth: as the landmarks say, or as the average face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib_instantid.encoders.face.head_points import average_head, depths_of, five_of
from lib_instantid.encoders.face.keypoints import box_from_keypoints
from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE


def test_of_a_turned_face_depths_are_those_of_the_rotated_landmarks() -> None:
    turn = cv2.Rodrigues(np.radians([10.0, 35.0, -5.0]))[0]
    landmarks = (turn @ (np.array(MEAN_SHAPE) * 150).T).T + (300, 200, 0)
    five = five_of(landmarks)
    found = depths_of(five[:, :2], landmarks.astype(np.float32))
    assert found == pytest.approx(five[:, 2] - five[:, 2].mean(), abs=1e-3)


def test_depths_grow_with_the_face_and_do_not_depend_on_where_it_is() -> None:
    five = five_of(MEAN_SHAPE)[:, :2] * 100
    small = depths_of(five, None)
    assert depths_of(five * 3 + (50, -20), None) == pytest.approx(small * 3, abs=1e-4)
    assert small.argmax() == 2  # the nose stands out
    assert small.mean() == pytest.approx(0, abs=1e-4)


def test_points_that_lie_together_have_no_depth() -> None:
    assert np.array_equal(depths_of(np.full((5, 2), 7.0), None), np.zeros(5))


@pytest.mark.parametrize("size", [(512, 512), (1024, 640), (640, 1216)])
def test_the_average_head_stands_upright_in_the_middle(size: tuple[int, int]) -> None:
    points = average_head(*size)
    assert points.mean(axis=0) == pytest.approx(np.array(size) / 2, abs=1e-3)
    assert points[0, 0] < points[2, 0] < points[1, 0]
    assert points[0, 1] < points[2, 1] < points[3, 1]
    box = box_from_keypoints(points)
    assert 0 < box[0] < box[2] < size[0]
    assert 0 < box[1] < box[3] < size[1]
