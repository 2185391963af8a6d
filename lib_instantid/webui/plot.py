"""What an X/Y/Z plot changes of InstantID's settings, cell by cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lib_instantid.errors import SettingsError
from lib_instantid.guidance.settings import Person, Settings
from lib_instantid.webui.generation import PerP

WHOLE = 0
"""In place of a person's number: a setting of the whole."""

PHOTO = "photo"
"""An axis of photos gives one, in place of all photos of the person."""

Changes = dict[tuple[int, str], Any]
"""(person from 1 or `WHOLE`, name of the setting) → value."""


class Plot:
    """The changes of each cell, which is a `p` of its own."""

    def __init__(self) -> None:
        self._changes: PerP[Changes] = PerP()

    def change(self, p: Any, person: int, name: str, value: Any) -> None:
        """An axis sets a value for a cell."""
        self._changes.begin(p, {**(self._changes.of(p) or {}), (person, name): value})

    def applied(self, p: Any, settings: Settings) -> Settings:
        """The settings of a cell; of any other generation, those given. Raises SettingsError for what does not fit."""
        changes = self._changes.of(p)
        if not changes:
            return settings
        for number, name in changes:
            check_fits(settings, number, name)
        people = [_changed(person, _of(changes, number)) for number, person in enumerate(settings.people, 1)]
        return dataclasses.replace(settings, people=people, **_of(changes, WHOLE))


def check_fits(settings: Settings, number: int, name: str) -> None:
    """Raise SettingsError unless these settings have what an axis changes. number: of the person, or `WHOLE`."""
    if not settings.enabled:
        raise SettingsError("X/Y/Z plot: an axis is InstantID's, and InstantID is off; turn it on, or choose another axis.")
    if number > len(settings.people):
        raise SettingsError(
            f"X/Y/Z plot: an axis changes {name} of person {number}, and there are {len(settings.people)}; add the person."
        )


def _of(changes: Changes, number: int) -> dict[str, Any]:
    return {name: value for (person, name), value in changes.items() if person == number}


def _changed(person: Person, values: Mapping[str, Any]) -> Person:
    """A person with other values. An identity or photo takes the place of what says who the person is; where the head is
    placed from stays, even if it is a photo."""
    given = dict(values)
    photo, identity = given.pop(PHOTO, None), given.get("identity")
    if photo is not None or identity is not None:
        face = person.face if isinstance(person.face, str | int) else "largest"
        given = {"face": face, "photo_keypoints": (), "photos": () if photo is None else [photo], "identity": None, **given}
    if identity is not None and person.pose == "photo" and "pose" not in given:
        given |= {"pose": "pose picture", "pose_picture": person.photos[0]}
    return dataclasses.replace(person, **given)
