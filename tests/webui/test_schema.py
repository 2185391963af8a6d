"""The JSON schema says what the settings accept, field by field."""

from __future__ import annotations

import dataclasses
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.errors import SettingsError
from lib_instantid.webui.schema import settings_schema
from tests.webui.test_infotext import any_settings

VALIDATOR = jsonschema.Draft202012Validator(settings_schema())
ONE = {"people": [{"photos": ["a.png"]}]}


def request(own: Settings) -> dict[str, Any]:
    """The object that a client would send, with text for pictures."""
    people = [{name: value for name, value in plain(person).items() if value not in (None, [], ())} for person in own.people]
    whole = {name: value for name, value in plain(own).items() if value != ()}  # a list without entries is left out
    return {**whole, "people": people}


def plain(values: Any) -> dict[str, Any]:
    found = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    texts = {name: "picture" for name in ("pose_picture", "region") if found.get(name) is not None}
    return {**found, **texts, **({"photos": ["picture"] * len(found["photos"])} if "photos" in found else {})}


def test_it_is_a_json_schema_with_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(settings_schema())
    properties = settings_schema()["properties"]
    assert set(properties) == {field.name for field in dataclasses.fields(Settings)}
    assert set(properties["people"]["items"]["properties"]) == {field.name for field in dataclasses.fields(Person)}


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(any_settings())
def test_settings_that_are_accepted_fit_it(own: Settings) -> None:
    if all(len(person.identity or "") <= 64 for person in own.people):
        VALIDATOR.validate(request(own))


WRONG: list[dict[str, Any]] = [
    {"wieght": 1},
    {"adapter_start": -0.1},
    {"cfg_rescale": 1.5},
    {"best_of": 9},
    {"best_of": 1.5},
    {"control_mode": "ControlNet"},
    {"hires": 1},
    {"enabled": "yes"},
    {"people": []},
    {"people": [{"photos": ["a"]}] * 5},
    {"people": ["me"]},
    {"people": [{"photos": ["a"], "strength": 1}]},
    {"people": [{"photos": ["a"] * 17}]},
    {"people": [{"photos": ["a"], "face": "best"}]},
    {"people": [{"photos": ["a"], "face": 0}]},
    {"people": [{"photos": ["a"], "face": ["best"]}]},
    {"people": [{"photos": ["a"], "face": []}]},
    {"people": [{"photos": ["a"], "pose": "keypoints", "keypoints": [[0.5, 0.5]] * 4}]},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_does_not_fit_it_is_refused(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**ONE, **wrong})
    with pytest.raises(SettingsError):
        settings_from_dict({"enabled": True, **ONE, **wrong})


def test_a_name_outside_and_a_default_inside() -> None:
    """What the schema calls a default is what the settings have; naming InstantID in a request turns it on."""
    for field in dataclasses.fields(Settings):
        described = settings_schema()["properties"][field.name]
        if "default" in described:
            assert described["default"] == (True if field.name == "enabled" else field.default)
