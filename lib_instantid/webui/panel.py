"""The accordion of the page, built from the table of fields. Works in gradio 3.41 (A1111) and 4.40 (Forge)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_instantid.webui.fields import FIELDS, Field


def build_panel(elem_id: Callable[[str], str]) -> list[Any]:
    """The components in the order of the table; their values are the script's arguments. elem_id: makes a component's id."""
    switch, *others = FIELDS
    with InputAccordion(False, label=switch.label, elem_id=elem_id(switch.name)) as enabled:
        basic = [_component(field, elem_id(field.name)) for field in others if not field.advanced]
        with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
            advanced = [_component(field, elem_id(field.name)) for field in others if field.advanced]
    return [enabled, *basic, *advanced]


def _component(field: Field, elem_id: str) -> Any:
    limits, default = field.setting.metadata, field.setting.default
    if field.kind == "slider":
        return gr.Slider(
            limits["low"], limits["high"], default, step=0.05, label=field.label, info=limits["help"], elem_id=elem_id
        )
    if field.kind == "choice":
        choices = list(field.choices or limits["options"])
        return gr.Dropdown(choices, value=default, label=field.label, info=limits["help"], elem_id=elem_id)
    if field.kind == "files":
        return gr.File(file_count="multiple", file_types=["image"], label=field.label, elem_id=elem_id)
    return gr.Image(label=field.label, type="pil", elem_id=elem_id, height=200)
