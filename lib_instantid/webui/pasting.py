"""How the WebUIs fill a panel: from a picture's infotext, and from the other tab's panel by "Send to img2img"."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.webui.infotext import KEY, settings_from_infotext
from lib_instantid.webui.words import in_page_words

if TYPE_CHECKING:
    from lib_instantid.webui.panel import PanelParts

Entries = dict[str, Any]
"""What an infotext says, by its keys."""


class Pasting:
    """One for both tabs: the WebUIs send from one tab to another what both have under the same name, and a component's name is
    what makes its value of the infotext (`connect_paste_params_buttons`). Methods of one object are equal, closures are not."""

    def __init__(self, identities: Callable[[], Path], identitynets: Callable[[], Sequence[str]]) -> None:
        self._identities = identities
        self._identitynets = identitynets

    def fields(self, panel: PanelParts) -> list[tuple[Any, Callable[[Entries], Any]]]:
        """Each component with what makes its value of the infotext's entries."""
        return [(panel.enabled, self.enabled), (panel.settings, self.settings), (panel.lost, self.lost)]

    @property
    def sent(self) -> list[Callable[[Entries], Any]]:
        """The names of what a picture takes along to another tab."""
        return [self.enabled, self.settings]

    def enabled(self, entries: Entries) -> bool:
        return KEY in entries

    def settings(self, entries: Entries) -> str | None:
        found, _ = self._restored(entries)
        return json.dumps(found) if found else None

    def lost(self, entries: Entries) -> str:
        return "\n".join(map(in_page_words, self._restored(entries)[1]))

    def _restored(self, entries: Entries) -> tuple[dict[str, Any], tuple[str, ...]]:
        return settings_from_infotext(entries[KEY], self._identities(), self._identitynets) if KEY in entries else ({}, ())
