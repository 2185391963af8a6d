"""The page's positional values and the API's object are read by the same code into the same settings."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.adapters.fields import Choice, Name, Number, Switch, settings_in
from lib_instantid.adapters.ip_adapter.settings import ImagePrompt
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.errors import InstantIDError, PictureError, SettingsError
from lib_instantid.webui.arguments import picture_of, settings_of
from lib_instantid.webui.table import table_for_page

PICTURE = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG")
    return buffer.getvalue()


BASE64 = base64.b64encode(png()).decode()


def page(**values: Any) -> list[Any]:
    """What the page sends: its switch and the text of the settings."""
    return [True, json.dumps(values)]


def test_a_row_of_the_table_is_a_setting_with_its_kind() -> None:
    rows = table_for_page()
    assert len({(row["owner"], row["name"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["help"]
        assert row["label"]
        assert ("low" in row) == (row["kind"] == "number")
        assert ("options" in row) == (row["kind"] == "choice")
        assert ("of" in row) == (row["kind"] == "name")
        assert isinstance(row["default"], bool) == (row["kind"] == "switch")
    json.dumps(rows)


def test_every_number_choice_and_switch_of_the_settings_is_in_the_table() -> None:
    plain = {
        own.name
        for owner in (Settings, Person, ImagePrompt, Control)
        for own in settings_in(owner)
        if isinstance(own.kind, Number | Choice | Switch) or (isinstance(own.kind, Name) and own.place != "own")
    }
    assert {row["name"] for row in table_for_page()} == plain - {"enabled", "face"}


@pytest.mark.parametrize("arguments", [[], [False], [False, "nonsense"], [False, ""]])
def test_switched_off_the_page_asks_for_nothing(arguments: list[Any]) -> None:
    assert settings_of(arguments, []) == Settings()


def test_page_and_api_give_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "a.png").write_bytes(png())
    from_page = settings_of(
        page(people=[{"photos": [str(tmp_path / "a.png")], "adapter_strength": 0.6}], control_mode="prompt"), []
    )
    from_api = settings_of([{"people": [{"photos": [BASE64], "adapter_strength": 0.6}], "control_mode": "prompt"}], [])
    assert from_page.people[0].photos == [tmp_path / "a.png"]
    same = lambda s: dataclasses.replace(s, people=[dataclasses.replace(s.people[0], photos=["x"])])  # noqa: E731
    assert same(from_page) == same(from_api)


def test_the_page_names_only_uploads_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(PictureError, match="not below an allowed folder"):
        settings_of(page(people=[{"photos": [str(tmp_path / "a.png")]}]), [])


@pytest.mark.parametrize("text", ["{", "[]", "3", None])
def test_a_text_of_the_page_that_is_no_object_is_refused(text: Any) -> None:
    with pytest.raises(SettingsError):
        settings_of([True, text], [])


def test_an_api_request_that_names_instantid_means_it() -> None:
    assert settings_of([{"people": [{"photos": [BASE64]}]}], []).enabled
    assert not settings_of([{"enabled": False, "people": [{"photos": [BASE64]}]}], []).enabled


@pytest.mark.parametrize("text", [BASE64, "data:image/png;base64," + BASE64])
def test_pictures_come_as_base64_or_data_url(text: str) -> None:
    person: Person = settings_of([{"people": [{"photos": [text], "pose_picture": text, "region": text}]}], []).people[0]
    for picture in (person.photos[0], person.pose_picture, person.region):
        assert picture is not None
        assert np.array_equal(read_picture(picture), PICTURE)


def test_a_path_is_read_only_below_an_allowed_folder(tmp_path: Path) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(png())
    (allowed / "link.png").symlink_to(outside / "a.png")

    def photo(path: Path | str) -> Any:
        return settings_of([{"people": [{"photos": [str(path)]}]}], [allowed]).people[0].photos[0]

    assert np.array_equal(read_picture(photo(allowed / "a.png")), PICTURE)
    for path in (outside / "a.png", allowed / ".." / "outside" / "a.png", allowed / "link.png", "/etc/passwd.png"):
        with pytest.raises(PictureError, match=r"people\[1\]\.photos\[1\].*not below an allowed folder"):
            photo(path)


BAD = {
    "unknown field": ({"wieght": 1}, "wieght"),
    "people as text": ({"people": "me"}, "people"),
    "person as text": ({"people": ["me"]}, r"people\[1\]"),
    "photos as text": ({"people": [{"photos": BASE64}]}, r"people\[1\]\.photos"),
    "not base64": ({"people": [{"photos": ["§§§"]}]}, r"people\[1\]\.photos\[1\]"),
    "a letter that base64 has not": ({"people": [{"photos": [f"{BASE64[:9]}$" + BASE64[9:]]}]}, r"photos\[1\].*is no base64"),
    "data url without base64": ({"people": [{"photos": ["data:image/png,abc"]}]}, r"people\[1\]\.photos\[1\]"),
    "null photo": ({"people": [{"photos": [None]}]}, r"people\[1\]\.photos\[1\]"),
    "number as photo": ({"people": [{"photos": [3]}]}, r"people\[1\]\.photos\[1\]"),
    "strength": ({"people": [{"photos": [BASE64], "adapter_strength": 5}]}, r"people\[1\]\.adapter_strength"),
    "pose picture": ({"people": [{"photos": [BASE64], "pose_picture": "§"}]}, r"people\[1\]\.pose_picture"),
    "nobody": ({}, "people"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_wrong_request_names_the_field(wrong: str) -> None:
    request, field = BAD[wrong]
    with pytest.raises(InstantIDError, match=field):
        settings_of([request], [])


@pytest.mark.parametrize("people", [[], [{"photos": []}]])
def test_the_page_without_a_photo_says_so(people: list[Any]) -> None:
    with pytest.raises(SettingsError, match="photo"):
        settings_of(page(people=people), [])


@pytest.mark.parametrize("argument", ["text", 3, ["list"]])
def test_an_argument_that_is_no_object_is_refused(argument: Any) -> None:
    with pytest.raises(SettingsError):
        settings_of([argument], [])


OUTSIDE = ("//server/share/a.png", "\\\\server\\share\\a.png", "/etc/a.png", "{0}/../a.png", "{0}x/a.png", "~/a.png")


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_is_refused_without_being_looked_at(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, looking at one of the first two makes the machine sign in to a server that the request names."""
    (tmp_path / "allowed").mkdir()
    named = path.format(tmp_path / "allowed")
    looked_at: list[str] = []
    for ask in ("stat", "lstat", "readlink"):
        real = getattr(os, ask)
        monkeypatch.setattr(
            os, ask, lambda at, *rest, real=real, **more: (looked_at.append(str(at)), real(at, *rest, **more))[1]
        )
    with pytest.raises(PictureError, match="not below an allowed folder"):
        picture_of(named, "photo", [tmp_path / "allowed"])
    assert not [at for at in looked_at if at.endswith("a.png") or "server" in at]


@pytest.mark.parametrize(
    "name", ["~nobody-here/a.png", "{0}/a\0.png", "{0}/" + "a" * 300 + ".png", "{0}/\ud800.png", "{0}/loop.png"]
)
def test_a_path_that_no_file_can_have_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(PictureError, match="photo"):
        read_picture(picture_of(name.format(tmp_path), "photo", [tmp_path]), "photo")


def test_a_link_out_of_an_allowed_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "allowed" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(PictureError, match="not below an allowed folder"):
        picture_of(str(tmp_path / "allowed" / "a.png"), "photo", [tmp_path / "allowed"])


def test_an_allowed_folder_may_be_named_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(png())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for folder, path in (("link", "link/a.png"), ("link", "real/a.png")):
        assert picture_of(str(tmp_path / path), "photo", [tmp_path / folder]) == tmp_path / "real" / "a.png"
