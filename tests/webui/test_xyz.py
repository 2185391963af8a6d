"""Axes of the X/Y/Z plot: one for each number and choice, and each changes its cell alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.adapters.fields import Choice, Name, Number, settings_in
from lib_instantid.adapters.ip_adapter.settings import ImagePrompt
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.settings import Settings
from lib_instantid.constants import MAX_CONTROLS, MAX_PEOPLE, MAX_PROMPTS
from lib_instantid.encoders.face.identity import Identity
from lib_instantid.encoders.face.identity_files import list_identities, save_identity
from lib_instantid.errors import InstantIDError
from lib_instantid.webui.infotext import KEY
from lib_instantid.webui.run_state import StopGeneration
from lib_instantid.webui.script import Extension
from lib_instantid.webui.xyz import Offered, Plot, axes
from tests.encoders.face.scenes import somebody
from tests.webui.processing import P, parsed, process_images
from tests.webui.test_best_of import ONE, painted

BASE = Settings(
    enabled=True, people=[Person(photos=["a.png"], region="m.png"), Person(photos=["b.png"], pose="none", region="m.png")]
)
VARIED = [
    (kind, own)
    for kind in (Settings, Person)
    for own in settings_in(kind)
    if isinstance(own.kind, Number | Choice) and own.name not in ("pose", "face")
]


def option(label: str, kind: type, apply: Callable[..., None], **more: Any) -> SimpleNamespace:
    """The WebUIs' `AxisOption`."""
    return SimpleNamespace(label=label, type=kind, apply=apply, **{"choices": None, "confirm": None, **more})


def offered(identities: Path, *allowed: Path) -> Offered:
    """Identities of a folder, and two files of each role."""
    names = {"identity": lambda: list_identities(identities)}
    return Offered(names=lambda kind: names.get(kind, lambda: ("a", "b"))(), allowed=lambda: allowed)


@pytest.fixture
def plot() -> Plot:
    return Plot()


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "c.png").write_bytes(b"x")
    return tmp_path / "allowed"


@pytest.fixture
def made(plot: Plot, tmp_path: Path, allowed: Path) -> dict[str, Any]:
    return {axis.label: axis for axis in axes(option, plot, offered(tmp_path, allowed), lambda _: BASE)}


def test_there_is_an_axis_for_each_number_and_choice_and_none_twice(plot: Plot, tmp_path: Path) -> None:
    def counted(kind: type) -> int:
        return sum(isinstance(own.kind, Number | Choice | Name) for own in settings_in(kind))

    labels = [axis.label for axis in axes(option, plot, offered(tmp_path), lambda _: BASE)]
    assert (
        len(labels)
        == len(set(labels))
        == counted(Settings)
        + MAX_PEOPLE * (counted(Person) + 1)  # and pictures
        + MAX_PROMPTS * (counted(ImagePrompt) + 1)
        + MAX_CONTROLS * counted(Control)
    )
    assert all(label.startswith("[InstantID] ") for label in labels)


@pytest.mark.parametrize(("kind", "field"), VARIED, ids=lambda value: getattr(value, "name", ""))
def test_each_axis_changes_its_own_setting(made: dict[str, Any], plot: Plot, kind: type, field: Any) -> None:
    axis, cell = made[f"[InstantID] {field.name.replace('_', ' ')}"], P()
    value = axis.choices()[-1] if axis.choices else axis.type(field.kind.low + 0.3 * (field.kind.high - field.kind.low))
    axis.apply(cell, value, [value])
    found = plot.applied(cell, BASE)
    after, before = (found, BASE) if kind is Settings else (found.people[0], BASE.people[0])
    names = {f.name for f in dataclasses.fields(kind)} - {"people"}
    assert {name for name in names if getattr(after, name) != getattr(before, name)} == {field.name}
    assert getattr(after, field.name) == value


def test_the_other_peoples_axes_change_the_other_people(made: dict[str, Any], plot: Plot) -> None:
    cell = P()
    made["[InstantID] person 2: adapter strength"].apply(cell, 0.3, [0.3])
    assert [person.adapter_strength for person in plot.applied(cell, BASE).people] == [0.8, 0.3]


def test_axes_of_a_cell_act_together_and_on_no_other_cell(made: dict[str, Any], plot: Plot) -> None:
    outer = P()
    first, second = copy.copy(outer), copy.copy(outer)
    for name, value in (("adapter start", 0.7), ("adapter end", 0.9), ("person 2: face", "left")):
        made[f"[InstantID] {name}"].apply(first, value, [value])
    base = dataclasses.replace(BASE, adapter_end=0.5)
    found = plot.applied(first, base)
    assert (found.adapter_start, found.adapter_end, found.people[1].face) == (0.7, 0.9, "left")
    assert plot.applied(second, base) is base
    assert plot.applied(outer, base) is base


def test_a_cell_that_is_gone_leaves_nothing(made: dict[str, Any], plot: Plot) -> None:
    for _ in range(10):
        made["[InstantID] cfg rescale"].apply(P(), 0.5, [0.5])
    assert len(plot._changes._by_id) <= 1


def test_an_identity_takes_the_photos_place_and_the_head_stays(made: dict[str, Any], plot: Plot, tmp_path: Path) -> None:
    save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    axis, cell = made["[InstantID] identity"], P()
    assert axis.choices() == ["Ada"]
    axis.apply(cell, "Ada", ["Ada"])
    one, _ = plot.applied(cell, BASE).people
    assert (one.identity, tuple(one.photos), one.pose, one.pose_picture) == ("Ada", (), "pose picture", "a.png")
    made["[InstantID] person 2: identity"].apply(cell, "Ada", ["Ada"])
    assert plot.applied(cell, BASE).people[1].pose == "none"


def test_a_photo_takes_the_persons_place(made: dict[str, Any], plot: Plot, allowed: Path) -> None:
    axis, cell = made["[InstantID] photo"], P()
    path = str(allowed / "c.png")
    axis.confirm(cell, [path])
    axis.apply(cell, path, [path])
    assert list(plot.applied(cell, BASE).people[0].photos) == [allowed / "c.png"]
    several = dataclasses.replace(BASE, people=[Person(photos=["a.png", "b.png"], face=["left", 2], region="m.png")])
    assert plot.applied(cell, several).people[0].face == "largest"
    named = dataclasses.replace(BASE, people=[Person(identity="Ada", pose="none")])
    assert plot.applied(cell, named).people[0].identity is None
    assert axis.format_value(cell, axis, path) == "[InstantID] photo: c.png"


def test_what_cannot_be_is_refused_before_the_first_cell(made: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StopGeneration, match="adapter_strength") as caught:
        made["[InstantID] adapter strength"].confirm(P(), [0.5, 1.6])
    assert caught.value.status_code == 422  # the WebUI's API answers with it
    (tmp_path / "outside.png").write_bytes(b"x")
    with pytest.raises(StopGeneration, match="allowed folder"):
        made["[InstantID] photo"].confirm(P(), [str(tmp_path / "outside.png")])


@pytest.mark.parametrize(
    ("base", "label", "words"),
    [
        (Settings(), "cfg rescale", "InstantID is off"),
        (Settings(), "identity", "InstantID is off"),
        (BASE, "person 3: face", "person 3"),
        (BASE, "person 3: adapter strength", "person 3"),
        (BASE, "person 4: photo", "person 4"),
    ],
)
def test_an_axis_of_what_is_not_there_is_refused_before_the_first_cell(
    plot: Plot, tmp_path: Path, base: Settings, label: str, words: str
) -> None:
    """A cell's error would be a blank cell."""
    made = {axis.label: axis for axis in axes(option, plot, offered(tmp_path), lambda _: base)}
    with pytest.raises(StopGeneration, match=words):
        made[f"[InstantID] {label}"].confirm(P(), [])


@pytest.mark.parametrize(
    ("base", "axis", "words"),
    [
        (Settings(), "cfg rescale", "InstantID is off"),
        (BASE, "person 3: face", "person 3"),
        (dataclasses.replace(BASE, adapter_end=0.2), "adapter start", "adapter_start"),
    ],
)
def test_a_change_that_does_not_fit_is_an_error(
    made: dict[str, Any], plot: Plot, base: Settings, axis: str, words: str
) -> None:
    cell = P()
    value = "left" if axis.endswith("face") else 0.5
    made[f"[InstantID] {axis}"].apply(cell, value, [value])
    with pytest.raises(InstantIDError, match=words):
        plot.applied(cell, base)


def test_a_cell_is_the_picture_of_its_settings(extension: Extension, tmp_path: Path) -> None:
    """The generation reads them where it reads its own, so the infotext of a cell is that of the single picture."""
    own = {axis.label: axis for axis in axes(option, extension.plot, offered(tmp_path), lambda _: BASE)}
    outer = P()
    found = []
    for value in (0.2, 0.6):
        cell = copy.copy(outer)
        own["[InstantID] adapter strength"].apply(cell, value, [0.2, 0.6])
        found.append(parsed(process_images(extension, cell, [ONE], painted).infotexts[0])[KEY])
    alone = [{"people": [{**ONE["people"][0], "adapter_strength": value}]} for value in (0.2, 0.6)]
    assert found == [parsed(process_images(extension, P(), [one], painted).infotexts[0])[KEY] for one in alone]
    assert found[0] != found[1]
