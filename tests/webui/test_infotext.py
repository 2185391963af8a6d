"""Settings → infotext → the WebUI's quoting and parsing → settings; nothing biometric on the way."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_instantid.adapters.faceid.settings import FaceIDSettings
from lib_instantid.adapters.fields import Choice, Number, Switch, settings_in
from lib_instantid.adapters.instantid.people import ResolvedPerson
from lib_instantid.adapters.instantid.prepare import PlacedPerson
from lib_instantid.adapters.instantid.record import recorded
from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.record import recorded_own
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.encoders.face.faces import short_hash
from lib_instantid.encoders.face.identity import Identity
from lib_instantid.encoders.face.identity_files import save_identity
from lib_instantid.encoders.face.photos import PhotoFace
from lib_instantid.encoders.face.report import report
from lib_instantid.errors import PictureError
from lib_instantid.webui.arguments import settings_of
from lib_instantid.webui.infotext import KEY, infotext_of, settings_from_infotext
from tests.encoders.face.scenes import a_face, somebody
from tests.webui.processing import P, create_infotext, parsed, stored

SIZE = (640, 480)
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PICTURE)
POINTS = np.array([[200.0, 150], [300, 151], [250.3, 200], [210, 260.7], [290, 261]])

fraction = st.floats(0, 1)
points = st.lists(st.tuples(fraction, fraction).map(list), min_size=5, max_size=5)
name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def fields(kind: type, left_out: set[str]) -> dict[str, Any]:
    """A strategy for each number, choice and switch, within its range."""
    found: dict[str, Any] = {}
    for own in settings_in(kind):
        if own.name in left_out:
            continue
        if isinstance(own.kind, Number):
            number = st.integers if own.kind.whole else st.floats
            found[own.name] = number(own.kind.low, own.kind.high)
        elif isinstance(own.kind, Choice) and not own.kind.numbered:
            found[own.name] = st.sampled_from(own.kind.options)
        elif isinstance(own.kind, Switch):
            found[own.name] = st.booleans()
    return found


@st.composite
def persons(draw: Any, masks: bool) -> Person:
    """A person of photos or a name, with any placement, and a mask where the people need one."""
    values = draw(st.fixed_dictionaries(fields(Person, {"pose"})))
    values["face"] = draw(st.sampled_from(["largest", "left", "right", "center", 2, "3"]))
    if draw(st.booleans()):
        values["photos"] = [IMAGE] * draw(st.integers(1, 3))
        each = st.lists(st.sampled_from(["left", 2]), min_size=len(values["photos"]), max_size=len(values["photos"]))
        values["face"] = draw(st.just(values["face"]) | each)
        values["photo_keypoints"] = draw(st.lists(st.none() | points, max_size=len(values["photos"])))
        values["pose"] = draw(st.sampled_from(["photo", "pose picture", "keypoints", "none"]))
    else:
        values["identity"] = draw(name)
        values["pose"] = draw(st.sampled_from(["pose picture", "keypoints", "none"]))
    if values["pose"] == "pose picture":
        values["pose_picture"] = IMAGE
    if values["pose"] == "keypoints":
        values["keypoints"] = draw(points)
    if masks:
        values["region"] = IMAGE
    return Person(**values)


@st.composite
def any_settings(draw: Any) -> Settings:
    windows = {"adapter_start", "adapter_end", "identitynet_start", "identitynet_end"}
    values = draw(st.fixed_dictionaries(fields(Settings, windows | {"enabled"})))
    for part in ("adapter", "identitynet"):
        values[f"{part}_start"], values[f"{part}_end"] = sorted(draw(st.tuples(fraction, fraction)))
    person = persons(values["face_region"] == "mask")
    return Settings(enabled=True, people=draw(st.lists(person, min_size=1, max_size=4)), **values)


def looked_at(*_: object) -> PhotoFace:
    """As the photos' analysis would give it, with a face at `POINTS`."""
    digest = hashlib.sha256(PICTURE.tobytes()).hexdigest()
    return PhotoFace(size=(60, 40), face=a_face(), crops={}, report=report(PICTURE, a_face()), digest=digest)


def resolved(person: Person) -> ResolvedPerson:
    """A person whose photos were looked at."""
    placed = None if person.pose == "none" else POINTS
    return ResolvedPerson(
        identity=Identity(embedding=somebody(1)),
        placed=PlacedPerson(
            embedding=somebody(1), keypoints=placed, region=np.ones((4, 4), np.float32) if person.region else None
        ),
        photos=tuple(looked_at() for _ in person.photos),
        advice=(),
    )


def written(given_settings: Settings) -> str:
    """The value as it comes back from the WebUI's infotext."""
    p = P(*SIZE)
    own = recorded(given_settings, [resolved(one) for one in given_settings.people], SIZE, None, looked_at)
    p.extra_generation_params[KEY] = infotext_of(given_settings, [own, recorded_own(given_settings, FaceIDSettings)])
    return parsed(create_infotext(p, [1], [1], 0))[KEY]


def values_of(person: Person) -> dict[str, Any]:
    values = {field.name: getattr(person, field.name) for field in dataclasses.fields(person)}
    return {**values, "photos": list(person.photos), "photo_keypoints": list(person.photo_keypoints)}


def expected_of(person: Person) -> dict[str, Any]:
    """What a person must be after restoring, with the lost photos and masks given again."""
    values = values_of(person)
    if person.pose in ("photo", "pose picture"):
        values["keypoints"] = np.round(POINTS / SIZE, 5).tolist()
    if person.pose == "pose picture":
        values.update(pose="keypoints", pose_picture=None)
    return values


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(any_settings())
def test_settings_come_back_from_an_infotext(given_settings: Settings) -> None:
    restored, lost = settings_from_infotext(written(given_settings), stored(Path("nowhere")))
    for person, own in zip(restored["people"], given_settings.people, strict=True):
        assert not {"pose_picture", "region"} & set(person)
        assert person.get("photos", []) == [f"#{short_hash(PICTURE)}"] * len(own.photos)
        person.update(photos=own.photos, region=own.region)
    found = settings_from_dict({**restored, "enabled": True})
    for field in dataclasses.fields(Settings):
        if field.name not in ("people", "best_of", "only_best"):
            assert getattr(found, field.name) == getattr(given_settings, field.name), field.name
    for person, own in zip(found.people, given_settings.people, strict=True):
        assert values_of(person) == expected_of(own)
    for i, own in enumerate(given_settings.people, 1):
        about = [sentence for sentence in lost if sentence.startswith(f"people[{i}].")]
        expected = [bool(own.photos), own.pose == "pose picture", bool(own.region), own.identity is not None]
        assert len(about) == sum(expected)


def test_the_picture_is_made_again_with_the_photo_alone() -> None:
    """Pose "photo" stays, so that the same photo places the head and its face region exactly as before."""
    one = Settings(enabled=True, people=[Person(photos=[IMAGE], adapter_strength=0.5)], best_of=4)
    restored, (sentence,) = settings_from_infotext(written(one), stored(Path("nowhere")))
    points = np.round(POINTS / SIZE, 5).tolist()
    photos = [f"#{short_hash(PICTURE)}"]
    assert restored == {"people": [{"photos": photos, "adapter_strength": 0.5, "pose": "photo", "keypoints": points}]}
    assert sentence.startswith("people[1].photos: ")
    assert '"keypoints"' in sentence


def test_the_value_is_short_and_holds_nothing_biometric() -> None:
    named = Settings(enabled=True, people=[Person(identity="Ada", pose="none")])
    assert written(named).startswith("{'people':[{'identity':'Ada','pose':'none','embedding':'")
    assert len(written(named)) < 80
    everything = written(Settings(enabled=True, people=[Person(photos=[IMAGE] * 3), Person(photos=[IMAGE])]))
    assert len(everything) < 450
    assert not any(f"{value:.4f}"[:6] in everything for value in somebody(1))


def test_an_identity_that_changed_or_is_gone_is_told(tmp_path: Path) -> None:
    text = written(Settings(enabled=True, people=[Person(identity="Ada", pose="none")]))
    assert "no identity 'Ada'" in settings_from_infotext(text, stored(tmp_path))[1][0]
    save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    assert settings_from_infotext(text, stored(tmp_path)) == ({"people": [{"identity": "Ada", "pose": "none"}]}, ())
    save_identity(Identity(embedding=somebody(2), name="Ada"), tmp_path)
    assert "another one" in settings_from_infotext(text, stored(tmp_path))[1][0]


PERSON = {"identity": "Ada", "pose": "none"}
STRANGE = {
    "empty": "",
    "no JSON": "me",
    "a list": "[]",
    "no people": "{}",
    "empty people": "{'people':[]}",
    "people an object": "{'people':{}}",
    "a person a text": "{'people':['me']}",
    "photos a text": "{'people':[{'photos':'abc'}]}",
    "unknown name": "{'people':[],'command':1}",
    "unknown name of a person": str({"people": [{**PERSON, "path": "/etc/passwd"}]}),
    "out of range": str({"people": [PERSON], "cfg_rescale": 7}),
    "no number": "{'people':[{'identity':'Ada','pose':'none','adapter_strength':NaN}]}",
    "identity a path": str({"people": [{"identity": ["x"], "pose": "none"}]}),
    "very deep": "[" * 100_000,
    "keypoints missing": "{'people':[{'identity':'Ada','pose':'pose picture','pose_picture':'x'}]}",
}


@pytest.mark.parametrize("strange", STRANGE)
def test_a_foreign_or_changed_text_restores_nothing_and_says_so(strange: str) -> None:
    restored, (sentence,) = settings_from_infotext(STRANGE[strange], stored(Path("nowhere")))
    assert restored == {}
    assert "cannot be read" in sentence
    assert "people: empty" not in sentence


def test_a_path_in_a_foreign_text_is_not_restored() -> None:
    text = str({"people": [{"photos": ["/etc/passwd"], "pose": "none"}]})
    restored, (sentence,) = settings_from_infotext(text, stored(Path("nowhere")))
    assert restored == {"people": [{"photos": ["#/etc/passwd"], "pose": "none"}]}
    with pytest.raises(PictureError, match=r"people\[1\]\.photos\[1\]: the picture #/etc/passwd .* add it again"):
        settings_of([restored], [Path("/etc")])
    assert "/etc/passwd cannot be restored" in sentence


def test_a_setting_of_an_earlier_version_is_left_out_and_told(tmp_path: Path) -> None:
    text = "{'people':[{'photos':['ab'],'pose':'none'}],'identitynet_rows':'conditional'}"
    values, told = settings_from_infotext(text, stored(tmp_path))
    assert set(values) == {"people"}
    assert [sentence for sentence in told if "identitynet_rows is no longer" in sentence]


def test_the_file_that_acted_is_written_and_asked_for_again_where_it_is_there() -> None:
    own = Settings(enabled=True, people=[Person(identity="Ada", pose="none")])
    text = infotext_of(own, [recorded(own, [resolved(own.people[0])], SIZE, "ControlNet/a.safetensors", looked_at)])
    assert "'identitynet_file':'ControlNet/a.safetensors'" in text
    restored, _ = settings_from_infotext(text, stored(Path("nowhere"), "b", "ControlNet/a.safetensors"))
    assert restored["identitynet_file"] == "ControlNet/a.safetensors"
    restored, lost = settings_from_infotext(text, stored(Path("nowhere"), "b"))
    assert "identitynet_file" not in restored
    assert "identitynet_file: 'ControlNet/a.safetensors' is not here; 'b' is used." in lost


def test_every_setting_is_written() -> None:
    """A field that is added to the settings is in the infotext too."""
    changed: dict[str, Any] = {}
    for own in settings_in(Settings):
        if isinstance(own.kind, Number):
            changed[own.name] = next(v for v in (own.kind.high, own.kind.low) if v != own.default)
        elif isinstance(own.kind, Choice):
            changed[own.name] = next(v for v in own.kind.options if v != own.default)
        elif own.name == "model":
            changed[own.name] = "mine"
    changed |= {"adapter_start": 0.5, "identitynet_start": 0.5, "adapter_end": 0.7, "identitynet_end": 0.7}
    own = Settings(enabled=True, people=[Person(photos=[IMAGE], region=IMAGE)], report_similarity=True, **changed)
    text = written(own)
    for field in dataclasses.fields(InstantIDSettings):
        expected = field.name not in ("enabled", "best_of", "only_best", "identitynet_file")  # the last by its own test
        assert (f"'{field.name}':" in text) == expected, field.name
