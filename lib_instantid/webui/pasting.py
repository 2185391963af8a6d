"""Lets the WebUIs fill a panel from a picture's infotext, or from the other tab's panel by "Send to img2img"."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib_instantid.adapters.family import Sources
from lib_instantid.webui.infotext import KEY, settings_from_infotext
from lib_instantid.webui.words import in_page_words

if TYPE_CHECKING:
    from lib_instantid.webui.panel import PanelParts

Entries = dict[str, Any]
"""The values of an infotext by their keys."""


class Pasting:
    """The functions that fill the panels of both tabs.

    The WebUIs send a component's value to the other tab if the same function makes both components' values of an infotext
    (`connect_paste_params_buttons`). So both tabs use methods of one object, which compare equal; closures would not.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def fields(self, panel: PanelParts) -> list[tuple[Any, Callable[[Entries], Any]]]:
        """Each component with the function that makes its value of an infotext's entries."""
        return [(panel.enabled, self.enabled), (panel.settings, self.settings), (panel.lost, self.lost)]

    @property
    def sent(self) -> list[Callable[[Entries], Any]]:
        """The functions whose components are sent to another tab with a picture."""
        return [self.enabled, self.settings]

    def enabled(self, entries: Entries) -> bool:
        return KEY in entries

    def settings(self, entries: Entries) -> str | None:
        found, _ = self._restored(entries)
        return json.dumps(found) if found else None

    def lost(self, entries: Entries) -> str:
        return "\n".join(map(in_page_words, self._restored(entries)[1]))

    def _restored(self, entries: Entries) -> tuple[dict[str, Any], tuple[str, ...]]:
        return settings_from_infotext(entries[KEY], self._sources) if KEY in entries else ({}, ())
