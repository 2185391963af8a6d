"""InstantID's section of the WebUI's settings page."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from modules import script_callbacks, shared

from lib_instantid.webui.engine import Keep

SECTION = ("instantid", "InstantID")
KEEP, FOLDER = "instantid_keep_models", "instantid_models_folder"


def add_options() -> None:
    """To be called while scripts are loaded."""
    script_callbacks.on_ui_settings(_add)


def keep() -> Keep:
    return Keep(shared.opts.data.get(KEEP, Keep.CPU.value))


def models_folder() -> Path | None:
    """The settings' own folder, if a person gave one."""
    given = shared.opts.data.get(FOLDER, "").strip()
    return Path(given) if given else None


def _add() -> None:
    shared.opts.add_option(
        KEEP,
        shared.OptionInfo(
            Keep.CPU.value,
            "Where InstantID's networks wait between generations",
            gr.Radio,
            {"choices": [kept.value for kept in Keep]},
            section=SECTION,
        ).info("not at all: read from disk each time, about 4 GB less memory in between"),
    )
    shared.opts.add_option(FOLDER, shared.OptionInfo("", "A further folder with InstantID's model files", section=SECTION))
