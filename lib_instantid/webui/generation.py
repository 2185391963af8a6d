"""One generation of a WebUI: its settings, its people at each pass's size, and the error that stops it, if there is one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from fastapi import HTTPException
from PIL import Image

from lib_instantid.errors import InstantIDError
from lib_instantid.guidance.guidance import Guidance, make_guidance
from lib_instantid.guidance.people import People, ResolvedPerson
from lib_instantid.guidance.settings import Settings
from lib_instantid.webui.candidates import Candidates, Likeness
from lib_instantid.webui.engine import Engine

UNPROCESSABLE = 422


class InstantID(InstantIDError, HTTPException):  # type: ignore[misc]
    """What stops a generation. Both WebUIs show `type: message` in the page, hence the name, and answer API requests with
    the status and detail that the exception carries. An HTTPException is no fault of the program to them: of others they print
    a traceback."""

    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, UNPROCESSABLE, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Generation:
    """The state of one `p`. `error` is raised where the WebUI cannot swallow it. candidates: where more pictures are made than
    were asked for. likeness: where the pictures are measured. words: makes messages those of the page, or of the API."""

    def __init__(self, identities: Path, words: Callable[[str], str] = str) -> None:
        self.settings = Settings()
        self.words = words
        self.error: InstantID | None = None
        self.candidates: Candidates | None = None
        self.likeness: Likeness | None = None
        self._identities = identities
        self._people: People | None = None
        self._guidance: dict[tuple[int, int], Guidance] = {}

    @property
    def matters(self) -> bool:
        """Whether InstantID is on, or was meant to be on and cannot."""
        return self.settings.enabled or self.error is not None

    def people(self, size: tuple[int, int], engine: Engine) -> tuple[ResolvedPerson, ...]:
        """For an output of this size (width, height). Raises as `People.at`."""
        if self._people is None:
            self._people = People(self.settings, engine.analyser, self._identities)
        return self._people.at(size)

    def guidance(self, size: tuple[int, int], engine: Engine) -> Guidance:
        """For a pass of this size (width, height); made once."""
        if size not in self._guidance:
            placed = [person.placed for person in self.people(size, engine)]
            net = self.settings.identitynet_file
            self._guidance[size] = make_guidance(self.settings, placed, size, engine.adapter, lambda: engine.identitynet(net))
        return self._guidance[size]

    def keypoint_maps(self) -> list[Image.Image]:
        """As IdentityNet saw them, one per person and size of a pass."""
        people = [person for guidance in self._guidance.values() for person in guidance.people]
        return [Image.fromarray(person.keypoint_picture) for person in people]

    def acts_in(self, second_pass: bool) -> bool:
        return self.settings.hires in ("both", "second pass" if second_pass else "first pass")


T = TypeVar("T")


class PerP(Generic[T]):
    """Something of each `p`, for as long as that lives. Other scripts nest and copy theirs; a copy has nothing."""

    def __init__(self) -> None:
        self._by_id: dict[int, T] = {}

    def begin(self, p: Any, own: T) -> None:
        if id(p) not in self._by_id:
            weakref.finalize(p, self._by_id.pop, id(p), None)
        self._by_id[id(p)] = own

    def end(self, p: Any) -> T | None:
        return self._by_id.pop(id(p), None)

    def of(self, p: Any) -> T | None:
        return self._by_id.get(id(p))
