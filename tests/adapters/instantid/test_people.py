"""From settings to people: who is meant, and where their heads go."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters.instantid.people import ResolvedPerson, placed_people
from lib_instantid.adapters.instantid.placing import side_by_side
from lib_instantid.adapters.known import known_people
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.encoders.face.analyser import FaceAnalyser, open_analyser
from lib_instantid.encoders.face.faces import Face
from lib_instantid.encoders.face.head_points import Head
from lib_instantid.encoders.face.identity import combine, strangers
from lib_instantid.encoders.face.identity_files import save_identity
from lib_instantid.encoders.face.keypoints import box_from_keypoints
from lib_instantid.encoders.face.photos import TURNED, Photos
from lib_instantid.errors import IdentityFileError, NoFaceFound, PictureError, SettingsError
from tests.encoders.face.scenes import BLUE, GREEN, squares

OUTPUT = (640, 480)
ONE = squares(320, 240, [(100, 60, 70)])
THREE = squares(600, 300, [(30, 40, 70), (250, 60, 110), (480, 100, 80)])
FIVE = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]


@pytest.fixture(scope="module")
def analyser(weights_folder: Path) -> FaceAnalyser:
    return open_analyser("builtin", weights_folder)  # type: ignore[return-value]


def resolve(
    analyser: FaceAnalyser, *people: dict[str, Any], identities: Path = Path("none"), **settings: Any
) -> tuple[ResolvedPerson, ...]:
    given = [Person(**{"photos": [Image.fromarray(ONE)], **person}) for person in people]
    return people_at_output(Settings(enabled=True, people=given, **settings), analyser, identities)


def people_at_output(settings: Any, analyser: FaceAnalyser, identities: Path = Path("none")) -> tuple[ResolvedPerson, ...]:
    photos = Photos(analyser)
    return placed_people(settings, known_people(settings.people, photos, identities), OUTPUT, photos.face_of)


def picture(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array)


def test_a_photos_face_gives_the_identity_and_the_placement(analyser: FaceAnalyser) -> None:
    (person,) = resolve(analyser, {})
    (face,) = analyser.faces(ONE)
    assert np.array_equal(person.identity.embedding, face.embedding)
    assert person.placed.keypoints == pytest.approx(face.keypoints * 2)  # 320×240 to 640×480
    assert person.placed.box == pytest.approx(face.box * 2)
    assert len(person.photos) == 1


@pytest.mark.parametrize(
    ("which", "left"), [("largest", 250), ("left", 30), ("right", 480), ("center", 250), (3, 480), ("1", 30)]
)
def test_the_face_that_is_named_is_taken(analyser: FaceAnalyser, which: str | int, left: int) -> None:
    (person,) = resolve(analyser, {"photos": [picture(THREE)], "face": which})
    assert abs(person.photos[0].face.box[0] - left) < 40


def test_several_photos_give_the_mean_of_raw_embeddings_and_the_first_places_the_head(analyser: FaceAnalyser) -> None:
    photos = [ONE, squares(400, 400, [(150, 100, 90)]), squares(300, 500, [(60, 200, 100)])]
    (person,) = resolve(analyser, {"photos": [picture(photo) for photo in photos]})
    embeddings = [analyser.faces(photo)[0].embedding for photo in photos]
    assert person.identity.embedding == pytest.approx(np.mean(embeddings, axis=0), rel=1e-5, abs=1e-6)
    assert person.placed.keypoints == pytest.approx(analyser.faces(ONE)[0].keypoints * 2)


def test_points_by_hand_serve_where_no_detector_finds_the_face(analyser: FaceAnalyser) -> None:
    grey = np.full((240, 320, 3), 90, np.uint8)
    with pytest.raises(NoFaceFound, match=r"people\[1\]\.photos\[1\].*320 x 240.*by hand"):
        resolve(analyser, {"photos": [picture(grey)]})
    (person,) = resolve(analyser, {"photos": [picture(grey)], "photo_keypoints": [FIVE]})
    assert person.placed.keypoints == pytest.approx(np.array(FIVE) * OUTPUT, abs=1e-3)


def test_points_by_hand_and_detection_mix_photo_by_photo(analyser: FaceAnalyser) -> None:
    grey = np.full((240, 320, 3), 90, np.uint8)
    (person,) = resolve(analyser, {"photos": [picture(ONE), picture(grey)], "photo_keypoints": [None, FIVE]})
    assert [photo.face.score for photo in person.photos][1] == 1.0
    assert np.array_equal(person.photos[0].face.keypoints, analyser.faces(ONE)[0].keypoints)


def test_keypoints_place_the_head_with_the_box_of_an_average_face(analyser: FaceAnalyser) -> None:
    (person,) = resolve(analyser, {"pose": "keypoints", "keypoints": FIVE})
    expected = np.array(FIVE) * OUTPUT
    assert person.placed.keypoints == pytest.approx(expected, abs=1e-3)
    assert person.placed.box == pytest.approx(box_from_keypoints(expected), abs=1e-2)


MARK = (9, 9, 9)


class Upright:
    """Finds faces only in pictures with a mark in the upper left corner, as no detector finds a face that lies on its side."""

    provider = "cpu"

    def __init__(self, inner: FaceAnalyser) -> None:
        self.inner = inner

    def faces(self, picture: np.ndarray) -> tuple[Face, ...]:
        return self.inner.faces(picture) if tuple(picture[0, 0]) == MARK else ()


@pytest.mark.parametrize(("quarters", "degrees"), [(0, 0), (1, 90), (2, 180), (3, 270)])
def test_a_photo_that_lies_on_its_side_is_turned_and_that_is_said(analyser: FaceAnalyser, quarters: int, degrees: int) -> None:
    upright = ONE.copy()
    upright[:4, :4] = MARK
    lying = Image.fromarray(np.rot90(upright, quarters).copy())
    (person,) = people_at_output(Settings(people=[Person(photos=[lying])]), Upright(analyser))  # type: ignore[arg-type]
    assert person.photos[0].digest == hashlib.sha256(upright.tobytes()).hexdigest()
    assert person.placed.keypoints == pytest.approx(analyser.faces(upright)[0].keypoints * 2)
    said = [advice for advice in person.advice if "turned by" in advice]
    assert said == ([f"people[1].photos[1]: {TURNED.format(degrees)}"] if degrees else [])


def test_a_free_head_has_no_points_and_no_box(analyser: FaceAnalyser) -> None:
    (person,) = resolve(analyser, {"pose": "none"})
    assert person.placed.keypoints is None
    assert person.placed.box is None


def test_a_pose_picture_places_the_head_by_crop_and_resize(analyser: FaceAnalyser) -> None:
    wide = squares(900, 300, [(400, 100, 90)])
    (person,) = resolve(analyser, {"pose": "pose picture", "pose_picture": picture(wide)})
    face = max(analyser.faces(wide), key=lambda f: f.width)
    scale = OUTPUT[1] / 300
    offset = (900 * scale - OUTPUT[0]) / 2
    assert person.placed.keypoints == pytest.approx(face.keypoints * scale - [offset, 0], abs=1e-2)
    assert np.array_equal(person.identity.embedding, analyser.faces(ONE)[0].embedding)


def test_a_face_at_the_edge_of_a_pose_picture_stays_in_the_output(analyser: FaceAnalyser) -> None:
    wide = squares(900, 300, [(40, 100, 90)])
    (person,) = resolve(analyser, {"pose": "pose picture", "pose_picture": picture(wide)})
    assert person.placed.keypoints is not None
    assert (person.placed.keypoints >= 0).all()
    assert (person.placed.keypoints <= OUTPUT).all()


def test_people_who_share_a_pose_picture_take_its_faces_from_left_to_right(analyser: FaceAnalyser) -> None:
    shared = {"pose": "pose picture", "pose_picture": picture(THREE)}
    people = resolve(analyser, shared, {"pose": "keypoints", "keypoints": FIVE}, shared, shared)
    lefts = [person.placed.box[0] for i, person in enumerate(people) if i != 1 and person.placed.box is not None]
    assert lefts == sorted(lefts)
    assert len(set(lefts)) == 3


def boxes(people: tuple[ResolvedPerson, ...]) -> list[np.ndarray]:
    return [person.placed.box for person in people if person.placed.box is not None]


def test_two_heads_at_one_place_go_side_by_side_at_their_own_size_and_it_is_said(analyser: FaceAnalyser) -> None:
    (alone,) = resolve(analyser, {})
    people = resolve(analyser, {}, {"photos": [picture(squares(320, 240, [(115, 75, 60)]))]})
    left, right = boxes(people)
    assert left[2] <= OUTPUT[0] / 2 <= right[0]
    assert left[2:] - left[:2] == pytest.approx(boxes((alone,))[0][2:] - boxes((alone,))[0][:2], abs=1e-3)
    assert left[1] == pytest.approx(boxes((alone,))[0][1], abs=1e-3)
    assert people[0].placed.keypoints == pytest.approx(
        alone.placed.keypoints + (OUTPUT[0] / 4 - boxes((alone,))[0][[0, 2]].mean(), 0), abs=1e-2
    )
    said = [[advice for advice in person.advice if "side by side" in advice] for person in people]
    assert [advice[0].partition(":")[0] for advice in said] == ["people[1]", "people[2]"]
    assert not [advice for advice in alone.advice if "side by side" in advice]


def test_a_head_placed_by_hand_stays_and_the_other_goes_beside_it(analyser: FaceAnalyser) -> None:
    by_hand = {
        "pose": "keypoints",
        "keypoints": (np.array([[110, 75], [140, 75], [125, 95], [112, 110], [138, 110]]) / (320, 240)).tolist(),
    }
    alone = boxes(resolve(analyser, by_hand))[0]
    people = resolve(analyser, {}, by_hand)
    other, placed = boxes(people)
    assert np.array_equal(placed, alone)
    assert other[0] >= placed[2] or other[2] <= placed[0]
    assert boxes(resolve(analyser, by_hand, by_hand))[0] == pytest.approx(alone)


def test_heads_that_are_too_wide_for_their_columns_become_smaller_and_apart(analyser: FaceAnalyser) -> None:
    big = {"photos": [picture(squares(320, 240, [(60, 20, 180)]))]}
    found = boxes(resolve(analyser, big, big, big))
    for one, other in itertools.pairwise(found):
        assert one[2] <= other[0] + 1e-3


def test_heads_that_touch_a_little_and_free_heads_stay_where_they_are(analyser: FaceAnalyser) -> None:
    beside = {"photos": [picture(squares(320, 240, [(150, 60, 70)]))]}
    alone = [boxes(resolve(analyser, person))[0] for person in ({}, beside)]
    assert boxes(resolve(analyser, {}, beside)) == [pytest.approx(box) for box in alone]
    assert boxes(resolve(analyser, {}, {"pose": "none"})) == [pytest.approx(alone[0])]


@pytest.mark.parametrize(("shift", "moved"), [(70, False), (63, True)])
def test_heads_go_side_by_side_where_more_than_a_third_of_one_is_the_others(shift: int, moved: bool) -> None:
    box = np.array([200, 100, 300, 220], np.float32)
    heads = [
        Head(keypoints=np.full((5, 2), 150, np.float32), box=box + (by, 0, by, 0), depths=np.zeros(5, np.float32))
        for by in (0, shift)
    ]
    assert [head is not None and head.moved for head in side_by_side(heads, OUTPUT[0])] == [moved, moved]


def test_a_saved_identity_needs_no_photo(analyser: FaceAnalyser, tmp_path: Path) -> None:
    save_identity(combine(analyser.faces(ONE), name="Ada"), tmp_path)
    (person,) = resolve(analyser, {"photos": [], "identity": "Ada", "pose": "none"}, identities=tmp_path)
    assert np.array_equal(person.identity.embedding, analyser.faces(ONE)[0].embedding)
    assert person.photos == ()
    with pytest.raises(IdentityFileError, match="Grace"):
        resolve(analyser, {"photos": [], "identity": "Grace", "pose": "none"}, identities=tmp_path)


def test_a_region_is_stretched_to_the_output(analyser: FaceAnalyser) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, :40] = 255
    (person,) = resolve(analyser, {"region": Image.fromarray(mask)}, face_region="mask")
    region = person.placed.region
    assert region is not None
    assert region.shape == (480, 640)
    assert region[:, :310].min() == 1
    assert region[:, 330:].max() == 0


def test_photos_of_someone_else_and_small_faces_are_reported(analyser: FaceAnalyser) -> None:
    photos = [picture(squares(200, 200, [(80, 80, 8)], GREEN)), picture(squares(200, 200, [(80, 80, 4)], BLUE))]
    (person,) = resolve(analyser, {"photos": photos})
    assert strangers([photo.face.embedding for photo in person.photos]) == [0, 1]
    small = [advice for advice in person.advice if re.search(r"photos\[\d\].* px wide; use at least 112", advice)]
    other = [advice for advice in person.advice if "someone else" in advice]
    assert len(small) == len(other) == 2


def test_errors_name_the_person_and_the_photo(analyser: FaceAnalyser, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"people\[2\]\.photos\[2\]"):
        resolve(analyser, {}, {"photos": [picture(ONE), tmp_path / "missing.jpg"]})
    with pytest.raises(NoFaceFound, match=r"people\[1\]\.pose_picture"):
        resolve(analyser, {"pose": "pose picture", "pose_picture": picture(ONE * 0)})
    with pytest.raises(SettingsError, match=r"people\[1\]\.region.*black"):
        resolve(analyser, {"region": picture(ONE * 0)}, face_region="mask")
