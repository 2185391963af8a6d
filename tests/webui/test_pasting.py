"""What the WebUIs' paste buttons give a panel, from the entries of a picture's infotext."""

from __future__ import annotations

import json
from pathlib import Path

from lib_instantid.encoders.face.identity import Identity
from lib_instantid.encoders.face.identity_files import save_identity
from lib_instantid.webui.infotext import KEY
from lib_instantid.webui.pasting import Pasting
from tests.encoders.face.scenes import somebody
from tests.webui.processing import stored

WITH = {"Prompt": "x", KEY: "{'people':[{'identity':'Ada','adapter_strength':0.5,'pose':'none'}]}"}
WITHOUT = {"Prompt": "x"}


def test_a_picture_with_instantid_fills_the_panel_and_one_without_switches_it_off(tmp_path: Path) -> None:
    save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    pasting = Pasting(stored(tmp_path))
    assert pasting.enabled(WITH) is True
    assert json.loads(pasting.settings(WITH) or "") == {
        "people": [{"identity": "Ada", "adapter_strength": 0.5, "pose": "none"}],
    }
    assert "another one" in pasting.lost(WITH)  # the infotext names no embedding
    assert (pasting.enabled(WITHOUT), pasting.settings(WITHOUT), pasting.lost(WITHOUT)) == (False, None, "")


def test_what_is_lost_is_said_in_the_words_of_the_page(tmp_path: Path) -> None:
    entries = {KEY: "{'people':[{'photos':['0badcafe'],'pose':'none'}]}"}
    (sentence,) = Pasting(stored(tmp_path)).lost(entries).splitlines()
    assert sentence.startswith("Person 1, photos: 0badcafe cannot be restored")


def test_another_tab_gets_the_switch_and_the_settings(tmp_path: Path) -> None:
    """By what makes their values, which both tabs have under the same name; what was lost stays where it was said."""
    pasting = Pasting(stored(tmp_path))
    assert pasting.sent == [pasting.enabled, pasting.settings]
