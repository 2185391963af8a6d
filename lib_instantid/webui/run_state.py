"""The state of one generation of a WebUI: its settings, its conditioning for each pass, and the error that stops it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from fastapi import HTTPException
from PIL import Image

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Run, Sources
from lib_instantid.adapters.runs import begin_runs, joined
from lib_instantid.adapters.settings import Settings
from lib_instantid.conditioning.parts import Conditioning
from lib_instantid.errors import InstantIDError
from lib_instantid.webui.best_of import BestOf, Likeness

UNPROCESSABLE = 422


class StopGeneration(InstantIDError, HTTPException):  # type: ignore[misc]
    """The error that stops a generation. Both WebUIs show `type: message` in the page, hence its name.

    It is an HTTPException so that API requests are answered with its status and detail, and no traceback is printed.
    """

    def __init__(self, message: str) -> None:
        HTTPException.__init__(self, UNPROCESSABLE, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


StopGeneration.__name__ = "InstantID"


@dataclass
class Caught:
    """error: what went wrong, None where nothing did."""

    error: StopGeneration | None = None


@contextmanager
def caught(words: Callable[[str], str]) -> Iterator[Caught]:
    """Turn what goes wrong into the error that stops the generation. Whatever it is: the WebUI would swallow it here, and make
    the picture without the person. words: makes messages those of the page, or of the API."""
    found = Caught()
    try:
        yield found
    except InstantIDError as error:
        found.error = StopGeneration(words(str(error)))
    except Exception as error:  # noqa: BLE001 - see above
        found.error = StopGeneration(f"internal error, {type(error).__name__}: {error}. Please report it with the log.")
        found.error.__cause__ = error


class RunState:
    """The state of one `p`. error: raised during sampling, where the WebUI does not ignore it. candidates: None unless more
    pictures are made than requested. likeness: None unless similarity is measured. words: puts messages into the words of the
    page or of the API."""

    def __init__(self, sources: Sources, words: Callable[[str], str] = str) -> None:
        self.settings: Common = Settings()
        self.words = words
        self.error: StopGeneration | None = None
        self.candidates: BestOf | None = None
        self.likeness: Likeness | None = None
        self._sources = sources
        self._sizes: dict[tuple[int, int], Conditioning] = {}

    @property
    def matters(self) -> bool:
        """Whether InstantID is on, or an error kept it from being on."""
        return bool(self.settings.enabled) or self.error is not None

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the systems in the settings. Use it only after `settings` is set."""
        return begin_runs(self.settings, self._sources)

    def conditioning(self, size: tuple[int, int]) -> Conditioning:
        """The conditioning of all systems for a pass of this size, (width, height) in pixels; made once."""
        if size not in self._sizes:
            self._sizes[size] = joined(self.settings, self.runs, size)
        return self._sizes[size]

    def control_maps(self) -> list[Image.Image]:
        """The hints of the ControlNets as pictures, for each size of a pass."""
        return [Image.fromarray(one) for size in self._sizes for run in self.runs for one in run.control_maps(size)]

    def acts_in(self, second_pass: bool) -> bool:
        return self.settings.hires in ("both", "second pass" if second_pass else "first pass")


T = TypeVar("T")


class PerProcessing(Generic[T]):
    """Holds one object for each `p` while that `p` lives. A copy of a `p`, which other scripts make, has no object."""

    def __init__(self) -> None:
        self._by_id: dict[int, T] = {}

    def begin(self, p: object, own: T) -> None:
        if id(p) not in self._by_id:
            weakref.finalize(p, self._by_id.pop, id(p), None)
        self._by_id[id(p)] = own

    def end(self, p: object) -> T | None:
        return self._by_id.pop(id(p), None)

    def of(self, p: object) -> T | None:
        return self._by_id.get(id(p))
