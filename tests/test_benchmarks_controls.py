"""What `benchmarks.controls` measures is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.controls import edges_again, from_wall, ordered, outline


def line(column: int) -> np.ndarray:
    found = np.zeros((40, 40), dtype=bool)
    found[:, column] = True
    return found


@pytest.mark.parametrize(("column", "score"), [(20, 1.0), (22, 1.0), (23, 0.0)])
def test_an_edge_is_found_again_within_two_pixels(column: int, score: float) -> None:
    assert edges_again(line(20), line(column)) == score


def test_edges_that_nobody_asked_for_count_against_it() -> None:
    assert edges_again(line(20), line(20) | line(5)) == pytest.approx(2 / 3)


def test_a_person_differs_from_the_wall_in_the_corners() -> None:
    picture = np.full((60, 60, 3), 200, dtype=np.uint8)
    picture[:, 30:] = (100, 200, 200)  # a wall of two colours
    picture[30:, 20:40] = 0
    person = np.zeros((60, 60), dtype=bool)
    person[30:, 20:40] = True
    distance = from_wall(picture)
    assert ordered(person, distance) == 1
    assert ordered(person, -distance) == 0
    assert outline(person, distance > 60) == 1
    assert outline(person, np.roll(person, 10, axis=1)) == pytest.approx(1 / 3)
