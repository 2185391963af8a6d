"""The accordion of the page. Works in gradio 3.41 (A1111) and 4.40 (Forge).

gradio holds the switch and one text, the JSON of the settings; the controls are built in the browser by `javascript/`, from the
table that stands here as data, when the accordion is first opened.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from lib_instantid.guidance.settings import MAX_PEOPLE, MAX_PHOTOS
from lib_instantid.units import KEYPOINT_COLOURS, KEYPOINT_RADIUS, LIMB_BRIGHTNESS, LIMB_HALF_WIDTH, LIMBS
from lib_instantid.webui.fields import PRESETS, table_for_page
from lib_instantid.webui.panel_service import PanelService

JS = "_js" if gr.__version__.startswith("3.") else "js"
"""gradio's name for the argument with a listener's JavaScript."""

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
    """gradio's components of a panel. enabled and settings are the script's arguments. lost: sentences, a line each, of what
    could not be restored from a picture's infotext."""

    enabled: Any
    settings: Any
    lost: Any


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """How a new person's tab begins. preset: by name. thumbnails: whether saving an identity stores one, unless unticked."""

    preset: str = PRESETS[0].name
    thumbnails: bool = False


def build_panel(tab: str, elem_id: Callable[[str], str], service: PanelService, beginning: Beginning) -> PanelParts:
    """Build it where gradio is building now. To open it switches nothing on, as the WebUI's InputAccordion would.

    tab: "txt2img" or "img2img", whose size and picture the panel follows. elem_id: makes a component's id.
    """
    names = ("enabled", "settings", "request", "answer", "ask")
    data = {
        "tab": tab,
        "ids": {name: elem_id(name) for name in names},
        "table": table_for_page(),
        "presets": [asdict(preset) for preset in PRESETS],
        "beginning": asdict(beginning),
        "drawing": DRAWING,
        "max_people": MAX_PEOPLE,
        "max_photos": MAX_PHOTOS,
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
    text.do_not_save_to_config = True  # the WebUI's mark for what has no default that a person could set
    return text
