"""Settings refuse nonsense themselves, and say what would be right."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_instantid.adapters.fields import Choice, Number, settings_in
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.errors import SettingsError

FIVE = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]


def person(**values: object) -> Callable[[], object]:
    return lambda: settings_from_dict({"people": [{"photos": ["a.jpg"], **values}]})


def whole(**values: object) -> Callable[[], object]:
    return lambda: settings_from_dict({"people": [{"photos": ["a.jpg"]}], **values})


# what is wrong, words that the message must have: the field, the found and the expected value or the cure
BAD: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "unknown setting": (whole(wieght=1), ("wieght", "no such setting", "adapter_start")),
    "unknown field of a person": (person(strength=1), ("people[1].strength", "no such setting", "adapter_strength")),
    "strength too high": (person(adapter_strength=5.0), ("people[1].adapter_strength", "5.0", "0.0 to 1.5")),
    "strength below zero": (person(identitynet_strength=-1), ("identitynet_strength", "-1", "0.0 to 1.5")),
    "strength as text": (person(adapter_strength="abc"), ("adapter_strength", "'abc'", "a number from 0.0 to 1.5")),
    "strength as truth value": (person(adapter_strength=True), ("adapter_strength", "True", "a number")),
    "strength not a number": (person(adapter_strength=float("nan")), ("adapter_strength", "nan", "a number")),
    "strength infinite": (person(adapter_strength=float("inf")), ("adapter_strength", "inf", "a number")),
    "strength missing": (person(adapter_strength=None), ("adapter_strength", "None", "a number")),
    "start above 1": (whole(adapter_start=1.2), ("adapter_start", "1.2", "0.0 to 1.0")),
    "start after end": (whole(identitynet_start=0.9, identitynet_end=0.1), ("identitynet_start", "0.9", "0.1", "not be above")),
    "unknown region": (whole(face_region="head"), ("face_region", "'head'", '"everywhere"')),
    "unknown control mode": (whole(control_mode="strong"), ("control_mode", "'strong'", '"balanced"', '"identity"')),
    "unknown hires": (whole(hires="third"), ("hires", "'third'", '"first pass"')),
    "region grown too far": (whole(face_region_grow=3), ("face_region_grow", "3", "0.0 to 2.0")),
    "best_of zero": (whole(best_of=0), ("best_of", "0", "1 to 8")),
    "best_of with a fraction": (whole(best_of=2.5), ("best_of", "2.5", "a whole number")),
    "similarity as text": (whole(report_similarity="yes"), ("report_similarity", "'yes'", "true or false")),
    "five people": (lambda: settings_from_dict({"people": [{"photos": ["a"]}] * 5}), ("people", "found 5", "1 to 4")),
    "people as text": (lambda: settings_from_dict({"people": "me"}), ("people", "str", "a list")),
    "person as text": (lambda: settings_from_dict({"people": ["me"]}), ("people[1]", "str", "photos or identity")),
    "enabled without people": (lambda: settings_from_dict({"enabled": True}), ("people", "empty", "add a person")),
    "neither photo nor identity": (lambda: settings_from_dict({"people": [{}]}), ("photos, identity", "neither", "1 to 16")),
    "photo and identity": (person(identity="Ada"), ("photos, identity", "both", "either")),
    "seventeen photos": (lambda: settings_from_dict({"people": [{"photos": ["a"] * 17}]}), ("photos", "17", "at most 16")),
    "photo instead of photos": (person(photos="a.jpg"), ("photos", "'a.jpg'", "a list")),
    "unknown face": (person(face="tallest"), ("face", "'tallest'", "largest", "number")),
    "face number zero": (person(face=0), ("face", "0", "from 1")),
    "unknown pose": (person(pose="frontal"), ("pose", "'frontal'", '"keypoints"')),
    "pose without picture": (person(pose="pose picture"), ("pose_picture", "missing")),
    "pose without keypoints": (person(pose="keypoints"), ("keypoints", "missing")),
    "pose of a photo that is not there": (
        lambda: settings_from_dict({"people": [{"identity": "Ada", "pose": "photo"}]}),
        ("pose", "saved identity has none", '"none"'),
    ),
    "four keypoints": (person(pose="keypoints", keypoints=FIVE[:4]), ("keypoints", "4 points", "five pairs")),
    "keypoints without y": (person(pose="keypoints", keypoints=[1, 2, 3, 4, 5]), ("keypoints", "five pairs of numbers")),
    "keypoints in pixels": (
        person(pose="keypoints", keypoints=[[400, 300]] * 5),
        ("keypoints", "outside the picture", "fractions", "not pixels"),
    ),
    "keypoint not a number": (
        person(pose="keypoints", keypoints=[*FIVE[:4], [0.5, float("nan")]]),
        ("keypoints", "finite"),
    ),
    "photo keypoints for no photo": (person(photo_keypoints=[FIVE, FIVE]), ("photo_keypoints", "2 entries for 1 photos")),
    "photo keypoints of three": (person(photo_keypoints=[FIVE[:3]]), ("photo_keypoints", "3 points", "five")),
    "region missing": (whole(face_region="mask"), ("people[1].region", "missing", "mask for each person")),
    "identity as number": (
        lambda: settings_from_dict({"people": [{"identity": 3, "pose": "none"}]}),
        ("identity", "3", "a name"),
    ),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_wrong_setting_is_refused_by_field_value_and_cure(wrong: str) -> None:
    build, words = BAD[wrong]
    with pytest.raises(SettingsError) as caught:
        build()
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_defaults_are_the_references() -> None:
    settings, one = Settings(), Person(photos=["a.jpg"])
    assert (one.adapter_strength, one.identitynet_strength, one.face, one.pose) == (0.8, 0.8, "largest", "photo")
    assert (settings.face_region, settings.control_mode, settings.negative_noise) == ("face", "balanced", 0.0)
    assert not settings.enabled


def test_a_setting_of_an_earlier_version_is_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="identitynet_rows is no longer a setting and is ignored"):
        assert settings_from_dict({"identitynet_rows": "conditional"}) == Settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().best_of = 2  # type: ignore[misc]


def limited(kind: type) -> dict[str, Any]:
    """A strategy for every number and choice of the table."""
    strategies: dict[str, Any] = {}
    for own in settings_in(kind):
        if isinstance(own.kind, Choice) and not own.kind.numbered:
            strategies[own.name] = st.sampled_from(own.kind.options)
        elif isinstance(own.kind, Number):
            number = st.integers if own.kind.whole else st.floats
            strategies[own.name] = number(own.kind.low, own.kind.high)
    return strategies


@given(st.fixed_dictionaries(limited(Settings)), st.data())
def test_every_value_in_range_is_accepted_also_through_json(values: dict[str, Any], data: st.DataObject) -> None:
    for name in ("adapter", "identitynet"):
        ends = sorted((values[f"{name}_start"], values[f"{name}_end"]))
        values |= {f"{name}_start": ends[0], f"{name}_end": ends[1]}
    one = data.draw(st.fixed_dictionaries(limited(Person)))
    one |= {"photos": ["a.jpg"], "pose_picture": "b.jpg", "keypoints": FIVE, "region": "c.png"}
    settings = settings_from_dict(json.loads(json.dumps({**values, "people": [one]})))
    assert all(getattr(settings, name) == value for name, value in values.items())
    assert all(getattr(settings.people[0], name) == value for name, value in one.items())


@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.integers()))
    )
)
def test_whatever_json_comes_in_the_error_is_one_for_people(values: dict[str, Any]) -> None:
    with contextlib.suppress(SettingsError):
        settings_from_dict(values)


def test_a_saved_identity_is_free_to_place_its_head_unless_a_pose_is_given() -> None:
    """The default pose, "photo", has no photo there."""
    assert settings_from_dict({"people": [{"identity": "Ada"}]}).people[0].pose == "none"
    given = {"identity": "Ada", "pose": "keypoints", "keypoints": [[0.4, 0.4]] * 5}
    assert settings_from_dict({"people": [given]}).people[0].pose == "keypoints"


@pytest.mark.parametrize(
    ("person", "pose"),
    [
        ({"photos": ["a.png"]}, "photo"),
        ({"photos": ["a.png"], "pose_picture": "b.png"}, "pose picture"),
        ({"photos": ["a.png"], "keypoints": FIVE}, "keypoints"),
        ({"identity": "Ada", "pose_picture": "b.png"}, "pose picture"),
        ({"photos": ["a.png"], "pose_picture": "b.png", "pose": "photo"}, "photo"),
    ],
)
def test_what_places_the_head_implies_its_pose_for_every_person(person: dict[str, Any], pose: str) -> None:
    people = settings_from_dict({"people": [{"photos": ["first.png"]}, person]}).people
    assert [one.pose for one in people] == ["photo", pose]


def test_points_and_a_pose_picture_together_do_not_say_which_is_meant() -> None:
    with pytest.raises(SettingsError, match=r'people\[1\]\.pose: missing.*"keypoints" or "pose picture"'):
        settings_from_dict({"people": [{"photos": ["a.png"], "pose_picture": "b.png", "keypoints": FIVE}]})


def test_a_region_implies_that_regions_are_used_unless_another_face_region_is_named() -> None:
    one = {"photos": ["a.png"], "region": "m.png"}
    assert settings_from_dict({"people": [one]}).face_region == "mask"
    assert settings_from_dict({"people": [one], "face_region": "face"}).face_region == "face"
    with pytest.raises(SettingsError, match=r"people\[2\]\.region: missing"):
        settings_from_dict({"people": [one, {"photos": ["b.png"]}]})


@pytest.mark.parametrize("value", ["0.5", True, None])
def test_keypoints_are_numbers_and_nothing_that_looks_like_one(value: object) -> None:
    points = [[0.4, 0.4]] * 4 + [[value, 0.5]]
    with pytest.raises(SettingsError, match=r"keypoints: found .*five pairs of numbers"):
        settings_from_dict({"people": [{"identity": "Ada", "pose": "keypoints", "keypoints": points}]})
