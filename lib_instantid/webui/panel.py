"""Builds the panel, an accordion. Works in gradio 3.41 (A1111) and 4.40 (Forge).

gradio has components only for the switch and for the JSON of the settings. The code in `javascript/` builds the controls in
the browser when the accordion is first opened, from a table that is part of the page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from lib_instantid.constants import (
    KEYPOINT_COLOURS,
    KEYPOINT_RADIUS,
    LIMB_BRIGHTNESS,
    LIMB_HALF_WIDTH,
    LIMBS,
    MAX_CONTROLS,
    MAX_PEOPLE,
    MAX_PHOTOS,
    MAX_PROMPTS,
)
from lib_instantid.webui.panel_service import PanelService
from lib_instantid.webui.table import PRESETS, presets_for_page, table_for_page

JS = "_js" if gr.__version__.startswith("3.") else "js"
"""The name of gradio's argument for a listener's JavaScript."""

DRAWING = {
    "colours": [f"rgb({red}, {green}, {blue})" for red, green, blue in KEYPOINT_COLOURS],
    "limbs": LIMBS,
    "radius": KEYPOINT_RADIUS,
    "half_width": LIMB_HALF_WIDTH,
    "brightness": LIMB_BRIGHTNESS,
}
"""How the browser draws five points while they are dragged."""


@dataclass(frozen=True, kw_only=True)
class PanelParts:
    """gradio's components of a panel. enabled, settings: the script's arguments. lost: the sentences, one per line, about what
    could not be restored from an infotext."""

    enabled: Any
    settings: Any
    lost: Any


@dataclass(frozen=True, kw_only=True)
class PanelDefaults:
    """The first values in a new person's tab. preset: by name. thumbnails: whether the box to store one is ticked."""

    preset: str = PRESETS[0].name
    thumbnails: bool = False


def build_panel(tab: str, elem_id: Callable[[str], str], service: PanelService, beginning: PanelDefaults) -> PanelParts:
    """Build the panel at gradio's current place. Unlike the WebUI's InputAccordion, opening it does not turn it on.

    tab: "txt2img" or "img2img", whose size and picture the panel uses. elem_id: makes the id of a component.
    """
    names = ("enabled", "settings", "lost", "request", "answer", "ask")
    data = {
        "tab": tab,
        "ids": {name: elem_id(name) for name in names},
        "table": table_for_page(),
        "presets": presets_for_page(),
        "beginning": asdict(beginning),
        "drawing": DRAWING,
        "max_people": MAX_PEOPLE,
        "max_photos": MAX_PHOTOS,
        "max_prompts": MAX_PROMPTS,
        "max_controls": MAX_CONTROLS,
    }
    with gr.Accordion("InstantID", open=False, elem_id=elem_id("enabled")):
        enabled = gr.Checkbox(False, label="Use InstantID", elem_id=f"{elem_id('enabled')}-checkbox")
        gr.HTML(f'<div class="instantid-panel" data-panel="{html.escape(json.dumps(data))}"></div>')
        with gr.Row(elem_classes=["instantid-hidden"]):
            settings, lost = _text(elem_id("settings")), _text(elem_id("lost"))
            request, answer = _text(elem_id("request")), _text(elem_id("answer"))
            ask = gr.Button("ask", elem_id=elem_id("ask"))
    js = f'"{tab}"'
    enabled.change(None, [enabled], None, **{JS: f"(on) => window.instantid.switched({js}, on)"})
    settings.change(None, [settings], None, **{JS: f"(text) => window.instantid.restored({js}, text)"})
    lost.change(None, [lost], None, **{JS: f"(text) => window.instantid.lost({js}, text)"})
    asked = ask.click(
        service.answer,
        [request],
        [answer],
        queue=False,
        show_progress="hidden",
        **{JS: f"() => [window.instantid.request({js})]"},
    )
    asked.then(None, [answer], None, **{JS: f"(text) => window.instantid.answered({js}, text)"})
    return PanelParts(enabled=enabled, settings=settings, lost=lost)


def _text(elem_id: str) -> Any:
    text = gr.Textbox("", label=elem_id, elem_id=elem_id, show_label=False)
    text.do_not_save_to_config = True  # the WebUI then offers no default for it in ui-config.json
    return text
