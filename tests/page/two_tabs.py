"""Two tabs with a panel each, wired as the WebUIs wire theirs: python -m tests.page.two_tabs PORT FACE_MODELS.

`send` after modules/infotext_utils.py of AUTOMATIC1111's WebUI 1.10 and of Forge, `connect_paste_params_buttons`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gradio as gr

from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.webui.arguments import upload_folder
from lib_instantid.webui.page import ROOT, _scripts
from lib_instantid.webui.panel import JS, PanelDefaults, build_panel
from lib_instantid.webui.panel_service import PanelBackend, PanelService, Status
from lib_instantid.webui.pasting import Pasting
from tests.webui.processing import stored

STATUS = Status(
    files={
        "IdentityNet": ("ControlNetModel/a.safetensors", "b.safetensors"),
        "ControlNet": ("canny.safetensors", "depth.safetensors"),
    }
)
Fields = list[tuple[Any, Any]]


def send(button: Any, source: Fields, target: Fields, names: list[Any]) -> None:
    button.click(
        lambda *values: values,
        [field for field, name in source if name in names],
        [field for field, name in target if name in names],
    )


def build(models: Path) -> Any:
    upload_folder().mkdir(parents=True, exist_ok=True)
    analyser = Photos(open_analyser("builtin", models, "cpu"))
    service = PanelService(PanelBackend(analyser=lambda: analyser, identities=lambda: models, status=lambda: STATUS))
    pasting = Pasting(stored(models))
    fields: dict[str, Fields] = {}
    css = (ROOT / "style.css").read_text(encoding="utf-8")
    with gr.Blocks(css=css, analytics_enabled=False) as page:
        button = gr.Button("Send to img2img", elem_id="img2img_tab")
        for tab in ("txt2img", "img2img"):
            with gr.Column(elem_id=f"tab_{tab}"):
                gr.Number(512, label="Width", elem_id=f"{tab}_width")
                gr.Number(640, label="Height", elem_id=f"{tab}_height")
                panel = build_panel(tab, lambda name, tab=tab: f"{tab}_instantid_{name}", service, PanelDefaults())
                fields[tab] = [(gr.Textbox("", label="Prompt"), "Prompt"), *pasting.fields(panel)]
        send(button, fields["txt2img"], fields["img2img"], ["Prompt", *pasting.sent])
        page.load(None, [], [], **{JS: _scripts()})
    return page


if __name__ == "__main__":
    build(Path(sys.argv[2])).queue().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
