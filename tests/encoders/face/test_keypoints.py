"""The keypoint map is the official one, and the five points go where they should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from lib_instantid.encoders.face.geometry import ARCFACE_TEMPLATE
from lib_instantid.encoders.face.keypoints import (
    black_map,
    box_from_keypoints,
    draw_keypoints,
    fractions_to_pixels,
    pixels_to_fractions,
)

OFFICIAL = Path(__file__).parents[2] / "parity" / "official"
FRONTAL = np.array([(412, 420), (612, 420), (512, 540), (432, 660), (592, 660)], dtype=np.float32)


def test_map_equals_the_official_one_in_every_pixel() -> None:
    with safe_open(str(OFFICIAL / "io.safetensors"), framework="numpy") as file:
        points, expected = file.get_tensor("keypoints"), file.get_tensor("keypoint_map")
    drawn = draw_keypoints(points, expected.shape[1], expected.shape[0])
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(drawn, np.asarray(Image.open(OFFICIAL / "keypoint_map.png").convert("RGB")))


def test_map_is_rgb_with_the_viewers_left_eye_red() -> None:
    drawn = draw_keypoints(FRONTAL, 1024, 1024)
    found = [tuple(int(c) for c in drawn[int(y), int(x)]) for x, y in FRONTAL]
    assert found == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]


@pytest.mark.parametrize("side", [512, 1024, 2048])
def test_disc_has_radius_ten_at_every_size(side: int) -> None:
    drawn = draw_keypoints(FRONTAL * (side / 1024), side, side)
    red = np.argwhere((drawn == (255, 0, 0)).all(axis=-1))
    height, width = red.max(axis=0) - red.min(axis=0) + 1
    assert (width, height) == (21, 21)
    assert abs(len(red) - math.pi * 10**2) < 20


def test_sticks_run_to_the_nose_at_six_tenths_of_the_colour() -> None:
    drawn = draw_keypoints(FRONTAL, 1024, 1024)
    nose = FRONTAL[2]
    colours = {0: (153, 0, 0), 1: (0, 153, 0), 3: (153, 153, 0), 4: (153, 0, 153)}
    for index, colour in colours.items():
        x, y = (FRONTAL[index] * 0.6 + nose * 0.4).astype(int)
        assert tuple(drawn[y, x]) == colour
    assert {tuple(c) for c in np.unique(drawn.reshape(-1, 3), axis=0).tolist()} == {
        (0, 0, 0),
        *colours.values(),
        *((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)),
    }


def test_points_outside_the_picture_are_drawn_as_far_as_they_reach() -> None:
    drawn = draw_keypoints(FRONTAL - (512, 0), 1024, 1024)
    assert drawn[420, 100].tolist() == [0, 255, 0]
    assert (draw_keypoints(FRONTAL - 5000, 64, 48) == black_map(64, 48)).all()


def test_black_map_is_black_and_of_the_outputs_size() -> None:
    assert black_map(640, 480).shape == (480, 640, 3)
    assert not black_map(640, 480).any()


@given(st.integers(64, 4096), st.integers(64, 4096), st.integers(0, 1000))
def test_fractions_and_pixels_are_inverse(width: int, height: int, seed: int) -> None:
    fractions = np.random.RandomState(seed).uniform(-0.2, 1.2, size=(5, 2))
    pixels = fractions_to_pixels(fractions, width, height)
    np.testing.assert_allclose(pixels, fractions * [width, height], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(pixels_to_fractions(pixels, width, height), fractions, atol=1e-6)


def test_implied_box_of_arcfaces_template_spans_the_face_and_not_much_more() -> None:
    left, top, right, bottom = box_from_keypoints(ARCFACE_TEMPLATE)
    eye_distance = ARCFACE_TEMPLATE[1][0] - ARCFACE_TEMPLATE[0][0]
    middle = (ARCFACE_TEMPLATE[0][0] + ARCFACE_TEMPLATE[1][0]) / 2
    assert (left + right) / 2 == pytest.approx(middle, abs=2)
    # drawing rule: a head is five eyes wide, the eyes' centres are two eyes apart; ears and temples are not in the box
    assert 2.2 < (right - left) / eye_distance < 2.7
    # the eyes are halfway up the head, and the face without the top of the skull is 1.2 to 1.4 times as high as wide
    assert 1.1 < (bottom - top) / (right - left) < 1.4
    assert 0.3 < (ARCFACE_TEMPLATE[0][1] - top) / (bottom - top) < 0.5


@given(st.floats(0.2, 20), st.floats(-500, 2000), st.floats(-500, 2000))
def test_implied_box_moves_and_grows_with_the_points(scale: float, x: float, y: float) -> None:
    box = box_from_keypoints(np.array(ARCFACE_TEMPLATE) * scale + (x, y))
    expected = box_from_keypoints(ARCFACE_TEMPLATE).reshape(2, 2) * scale + (x, y)
    np.testing.assert_allclose(box, expected.reshape(4), rtol=1e-4, atol=1e-2)


def test_implied_box_contains_the_points_at_every_roll() -> None:
    centre = np.mean(ARCFACE_TEMPLATE, axis=0)
    for degrees in range(0, 360, 15):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        points = (np.array(ARCFACE_TEMPLATE) - centre) @ np.array([[c, s], [-s, c]]) + centre
        box = box_from_keypoints(points)
        assert (points > box[:2]).all()
        assert (points < box[2:]).all()
