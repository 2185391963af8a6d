"""What people have saved goes on working. The files were written by version 0.1.0, when InstantID was the only system."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from lib_instantid.adapters.settings import settings_from_dict
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.webui.infotext import KEY, settings_from_infotext
from tests.webui.processing import parsed, stored

SAVED = Path(__file__).parent / "saved"
MEANT: dict[str, Any] = json.loads((SAVED / "meant.json").read_text())


def test_an_infotext_gives_the_settings_that_it_gave() -> None:
    text = parsed((SAVED / "infotext.txt").read_text())[KEY]
    restored, lost = settings_from_infotext(text, stored(SAVED, "ControlNet/net.safetensors"))
    assert restored == MEANT["infotext"]["restored"]
    assert sorted(lost) == sorted(MEANT["infotext"]["lost"])


def test_a_request_means_what_it_meant() -> None:
    settings = settings_from_dict({**json.loads((SAVED / "request.json").read_text()), "enabled": True})
    found = json.loads(json.dumps(dataclasses.asdict(settings)))
    meant = MEANT["request"]
    people = [{name: own[name] for name in was} for own, was in zip(found["people"], meant["people"], strict=True)]
    assert {**{name: found[name] for name in meant}, "people": people} == meant


def test_an_identity_is_who_it_was() -> None:
    identity = load_identity("Ada", SAVED)
    assert round(float(np.linalg.norm(identity.embedding)), 4) == MEANT["identity"]["norm"]
    assert identity.photos == MEANT["identity"]["photos"]
