"""Points stay on the face, whatever is done to the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.transform import SimilarityTransform

from lib_instantid.encoders.face.faces import Picture
from lib_instantid.encoders.face.geometry import (
    ARCFACE_TEMPLATE,
    Placement,
    align,
    apply_placement,
    crop_and_resize,
    similarity_transform,
    transform_points,
)
from lib_instantid.encoders.face.picture import read_picture

FIRST_ROW_AND_COLUMN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""EXIF 2.3, tag 274: on which side of the upright picture the file's first row and first column lie."""

RADIUS = 5
sides = st.integers(48, 300)
fractions = st.floats(0, 1)


def stored(upright: Picture, orientation: int) -> Picture:
    row, column = FIRST_ROW_AND_COLUMN[orientation]
    pixels = upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)
    pixels = pixels[::-1] if row in ("bottom", "right") else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if column in ("bottom", "right") else pixels)


def with_marker(width: int, height: int, x: float, y: float) -> Picture:
    """A white disc on black; x, y continuous: the first pixel's middle is 0.5."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= RADIUS**2
    return np.repeat((inside * 255).astype(np.uint8)[..., None], 3, axis=2)


def marker(picture: Picture) -> np.ndarray:
    """XY of the disc's middle."""
    weight = np.where(picture[..., 1] > 40, picture[..., 1], 0).astype(float)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def encoded(picture: Picture, kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "TIFF lzw": {"compression": "tiff_lzw"}}.get(kind, {})
    Image.fromarray(picture).save(buffer, kind.split()[0], exif=exif, **options)
    return buffer.getvalue()


@given(
    st.sampled_from(sorted(FIRST_ROW_AND_COLUMN)),
    st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "TIFF lzw"]),
    st.tuples(sides, sides),
    st.tuples(sides, sides),
    st.tuples(fractions, fractions),
)
@settings(max_examples=150, deadline=None)
def test_points_stay_on_the_face_through_exif_crop_resize_and_back(
    orientation: int, kind: str, size: tuple[int, int], target: tuple[int, int], place: tuple[float, float]
) -> None:
    scale = max(target[0] / size[0], target[1] / size[1])
    assume(2 * RADIUS * scale + 4 <= min(target))
    room = RADIUS + 1
    x, y = (room + place[axis] * (size[axis] - 2 * room) for axis in (0, 1))
    upright = with_marker(*size, x, y)
    point = marker(upright)

    picture = read_picture(encoded(stored(upright, orientation), kind, orientation))
    assert picture.shape == upright.shape
    np.testing.assert_allclose(marker(picture), point, atol=0.5)

    placement = crop_and_resize(size, target, keep=(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS))
    output = apply_placement(picture, placement, target)
    assert output.shape == (target[1], target[0], 3)
    np.testing.assert_allclose(marker(output), placement.points(point[None])[0], atol=0.5)
    back = placement.inverse().points(marker(output)[None])[0]
    np.testing.assert_allclose(back, point, atol=max(0.5, 0.5 / scale))


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.tuples(fractions, fractions, fractions, fractions))
def test_window_lies_in_the_picture_and_keeps_the_box(
    size: tuple[int, int], target: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    low, high = np.sort(np.array(box).reshape(2, 2), axis=0) * size
    placement = crop_and_resize(size, target, keep=(*low, *high))
    for axis in (0, 1):
        scale, start = (placement.scale_x, placement.left) if axis == 0 else (placement.scale_y, placement.top)
        length = round(size[axis] * scale)
        assert 0 <= start <= length - target[axis]
        first, last = low[axis] * scale, high[axis] * scale
        seen = min(last, start + target[axis]) - max(first, start)
        assert seen >= min(last - first, target[axis]) - 1  # whole pixels: at most one is lost
        middle = (length - target[axis]) // 2
        if first >= middle and last <= middle + target[axis]:
            assert start == middle


def test_without_a_box_the_crop_is_in_the_middle() -> None:
    assert crop_and_resize((200, 100), (50, 50)) == Placement(scale_x=0.5, scale_y=0.5, left=25, top=0)


def test_window_moves_no_farther_than_the_box_needs() -> None:
    assert crop_and_resize((200, 100), (100, 100), keep=(170, 0, 180, 10)).left == 80
    assert crop_and_resize((200, 100), (100, 100), keep=(20, 0, 30, 10)).left == 20
    assert crop_and_resize((200, 100), (100, 100), keep=(0, 0, 120, 10)).left == 20
    assert crop_and_resize((200, 100), (100, 100), keep=(-50, 0, 10, 10)).left == 0


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.tuples(fractions, fractions))
def test_a_box_is_its_two_corners(size: tuple[int, int], target: tuple[int, int], at: tuple[float, float]) -> None:
    placement = crop_and_resize(size, target)
    corners = np.array([at, (at[0] + 30, at[1] + 40)]) * 3
    np.testing.assert_array_equal(placement.box(corners.ravel()).reshape(2, 2), placement.points(corners))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # `from_estimate` is only in new versions of skimage
@given(st.integers(0, 10_000), st.floats(0.05, 20), st.floats(-180, 180))
def test_similarity_agrees_with_skimage(seed: int, scale: float, degrees: float) -> None:
    stream = np.random.RandomState(seed)
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = np.array(ARCFACE_TEMPLATE) @ turn.T + stream.uniform(-300, 300, 2) + stream.normal(0, scale, (5, 2))
    reference = SimilarityTransform()
    assert reference.estimate(source, np.array(ARCFACE_TEMPLATE))
    np.testing.assert_allclose(similarity_transform(source, ARCFACE_TEMPLATE), reference.params[:2], rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_similarity_of_mirrored_points_does_not_mirror_and_is_the_best_of_those() -> None:
    mirrored = np.array(ARCFACE_TEMPLATE) * (-1, 1)
    found = similarity_transform(mirrored, ARCFACE_TEMPLATE)
    reference = SimilarityTransform()
    reference.estimate(mirrored, np.array(ARCFACE_TEMPLATE))
    assert np.linalg.det(found[:, :2]) > 0
    np.testing.assert_allclose(found, reference.params[:2], atol=1e-9)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180])
def test_alignment_brings_the_points_to_arcfaces_template(degrees: int) -> None:
    angle = np.radians(degrees)
    turn = 2.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (np.array(ARCFACE_TEMPLATE) - 56) @ turn.T + 250
    np.testing.assert_allclose(
        transform_points(similarity_transform(points, ARCFACE_TEMPLATE), points), ARCFACE_TEMPLATE, atol=1e-6
    )
    for point, expected in zip(points, ARCFACE_TEMPLATE, strict=True):
        crop = align(with_marker(500, 500, *(point + 0.5)), points)
        assert crop.shape == (112, 112, 3)
        np.testing.assert_allclose(marker(crop) - 0.5, expected, atol=0.5)
