"""The face that is meant is the face that is taken."""

from __future__ import annotations

import pytest

from lib_instantid.encoders.face.choose import choose
from lib_instantid.errors import NoFaceFound, SettingsError
from tests.encoders.face.scenes import a_face

SIZE = (1000, 500)
SMALL_LEFT = a_face(box=(10, 200, 60, 260), score=0.7)
LARGE_RIGHT = a_face(box=(700, 100, 990, 400), score=0.6)
CENTRAL = a_face(box=(400, 180, 560, 330), score=0.9)
FACES = (CENTRAL, SMALL_LEFT, LARGE_RIGHT)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("largest", LARGE_RIGHT),
        ("left", SMALL_LEFT),
        ("right", LARGE_RIGHT),
        ("center", CENTRAL),
        (1, SMALL_LEFT),
        (2, CENTRAL),
        (3, LARGE_RIGHT),
        ("2", CENTRAL),
        (" 3 ", LARGE_RIGHT),
    ],
)
def test_each_word_and_number_takes_its_face(which: str | int, expected: object) -> None:
    assert choose(FACES, which, size=SIZE) is expected


def test_the_largest_is_the_default_whatever_its_score() -> None:
    assert choose(FACES, size=SIZE) is LARGE_RIGHT


def test_no_face_says_the_pictures_size_and_what_to_do() -> None:
    with pytest.raises(NoFaceFound, match=r"^pose_picture: .*1000 x 500.*[Cc]rop closer.*112.*five points by hand"):
        choose((), size=SIZE, name="pose_picture")


def test_a_number_too_high_says_how_many_faces_there_are() -> None:
    with pytest.raises(NoFaceFound, match=r"face 4 .* has 3; choose 1 to 3"):
        choose(FACES, 4, size=SIZE)


@pytest.mark.parametrize("which", ["middle", "", "0", 0, -1, True, "1.5", "²", 1.5, None])
def test_another_choice_is_refused_even_where_there_is_no_face(which: object) -> None:
    with pytest.raises(SettingsError, match="expected largest, left, right, center or a number from 1"):
        choose((), which, size=SIZE)  # type: ignore[arg-type]


def test_of_equally_large_faces_the_leftmost_is_the_largest_as_the_panel_marks_it() -> None:
    left, right = a_face(box=(10, 0, 60, 60)), a_face(box=(200, 0, 250, 60))
    assert choose([right, left], size=(400, 300)) is left
