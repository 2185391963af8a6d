"""Draws the maps of ControlNets for the panel, in the background, before anything is generated."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.family import Size, Sources
from lib_instantid.adapters.runs import begin_runs
from lib_instantid.encoders.face.faces import Picture

Maps = Sequence[Picture]
Key = tuple[str, Size]


class MapDrawing:
    """Draws one request's maps at a time in a thread of its own, and keeps those of the last requests.

    sources: of the host. turn: held while maps are drawn, so that a preprocessor and a generation take turns on the GPU.
    """

    KEPT = 8

    def __init__(
        self, sources: Callable[[], Sources], turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._sources = sources
        self._turn = turn
        self._done: OrderedDict[Key, Maps | Exception] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()

    def of(self, key: str, settings: Common, size: Size) -> Maps | None:
        """The maps of settings; None while they, or others, are being drawn: ask again later.

        key: what identifies the settings. Raises what drawing them raised, once.
        """
        with self._changing:
            place = key, size
            found = self._done.get(place)
            if isinstance(found, Exception):
                del self._done[place]
                raise found
            if found is None and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._draw, args=(place, settings), daemon=True)
                self._thread.start()
            return found

    def _draw(self, place: Key, settings: Common) -> None:
        found: Maps | Exception
        try:
            with self._turn():
                found = [one for run in begin_runs(settings, self._sources()) for one in run.control_maps(place[1])]
        except Exception as error:  # noqa: BLE001 - raised again where the maps are asked for
            found = error
        with self._changing:
            self._done[place] = found
            while len(self._done) > self.KEPT:
                self._done.popitem(last=False)
