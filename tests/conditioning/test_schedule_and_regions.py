"""Windows and masks as pure functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib_instantid.conditioning.regions import box_region, nearest_person, on_features, on_tokens
from lib_instantid.conditioning.schedule import Step, Window, acts_on_unconditional, residual_weights
from lib_instantid.errors import SettingsError, UnsupportedModel


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_a_step_acts_exactly_where_it_lies_wholly_inside_the_window(total: int, start: float, end: float) -> None:
    window = Window(start=start, end=end)
    acting = [i for i in range(total) if window.holds(Step(index=i, total=total))]
    assert acting == [i for i in range(total) if not (i / total < start or (i + 1) / total > end)]
    assert acting == list(range(acting[0], acting[-1] + 1)) if acting else True


def test_the_whole_window_holds_every_step() -> None:
    assert all(Window(start=0, end=1).holds(Step(index=i, total=n)) for n in range(1, 151) for i in range(n))


def test_balanced_is_the_reference() -> None:
    assert residual_weights("balanced", 10) == (1.0,) * 10
    assert acts_on_unconditional("balanced")
    assert acts_on_unconditional("prompt")
    assert not acts_on_unconditional("identity")


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 3))
def test_token_masks_fit_every_level_of_any_latent_size(height: int, width: int, halvings: int) -> None:
    grid = height, width
    for _ in range(halvings):
        grid = -(-grid[0] // 2), -(-grid[1] // 2)
    region = torch.rand(height * 8, width * 8)
    mask = on_tokens(region, height, width, grid[0] * grid[1])
    assert mask.shape == (1, grid[0] * grid[1], 1)
    assert set(mask.flatten().tolist()) <= set(region.flatten().tolist())  # nearest: no value is invented


def test_masks_are_scaled_as_the_reference_scales_them() -> None:
    """Bilinear to h // s for residuals; nearest by the ratio of areas for attention."""
    region = torch.zeros(320, 256)
    region[64:200, 48:179] = 1
    for scale in (8, 16, 32):
        expected = F.interpolate(region[None, None], (320 // scale, 256 // scale), mode="bilinear")
        assert torch.equal(on_features(region, 320 // scale, 256 // scale), expected)
        count = (320 // scale) * (256 // scale)
        ratio = (320 * 256 / count) ** 0.5
        official = F.interpolate(region[None, None], scale_factor=1 / ratio, mode="nearest").reshape([1, -1, 1])
        assert torch.equal(on_tokens(region, 40, 32, count), official)


def test_merged_tokens_are_refused_with_the_cure() -> None:
    with pytest.raises(UnsupportedModel, match="token merging"):
        on_tokens(torch.ones(64, 64), 8, 8, 50)


@given(st.lists(st.tuples(st.floats(0, 96), st.floats(0, 64)), min_size=2, max_size=4, unique=True))
def test_every_pixel_belongs_to_the_nearest_face(centres: list[tuple[float, float]]) -> None:
    masks = torch.stack(nearest_person([np.array(c) for c in centres], 96, 64))
    assert (masks.sum(dim=0) == 1).all()
    y, x = 17, 50
    distances = [np.hypot(x + 0.5 - cx, y + 0.5 - cy) for cx, cy in centres]
    assert distances[int(masks[:, y, x].argmax())] == pytest.approx(min(distances), abs=1e-4)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [([-5.0, -3, 4, 6], slice(0, 6), slice(0, 4)), ([7.0, 5, 30, 30], slice(5, 8), slice(7, 10))],
    ids=["top left", "bottom right"],
)
def test_a_box_that_reaches_over_the_edge_is_cut_at_it(box: list[float], rows: slice, columns: slice) -> None:
    expected = torch.zeros(8, 10)
    expected[rows, columns] = 1
    assert torch.equal(box_region(np.array(box), 10, 8), expected)


@pytest.mark.parametrize("box", [[-9.0, 2, -1, 6], [2.0, -9, 6, 0], [10.0, 2, 14, 6]], ids=["left", "above", "right"])
def test_a_box_beside_the_picture_is_refused(box: list[float]) -> None:
    with pytest.raises(SettingsError, match="lies outside the 10×8 picture"):
        box_region(np.array(box), 10, 8)
