"""A page for people without a WebUI, with prompt, panel and pictures. Works in gradio 3.41 and 4.40."""

from __future__ import annotations

import html
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lib_instantid.adapters import ROLES
from lib_instantid.adapters.fields import PREPROCESSOR
from lib_instantid.constants import LATENT_FACTOR
from lib_instantid.errors import InstantIDError
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.hosts.diffusers.metadata import metadata_of, save_pictures
from lib_instantid.hosts.diffusers.request import GenerationRequest, Result, Sampled
from lib_instantid.hosts.diffusers.sampling import SCHEDULERS
from lib_instantid.webui.arguments import settings_of, upload_folder
from lib_instantid.webui.map_drawing import MapDrawing
from lib_instantid.webui.panel import JS, PanelDefaults, build_panel
from lib_instantid.webui.panel_service import PanelBackend, PanelService, Status
from lib_instantid.webui.words import in_page_words

Shown = tuple[object, ...]
"""The values of the page's outputs, in their order."""

ROOT = Path(__file__).parents[2]
TAB = "txt2img"


def build_page(host: DiffusersHost, folder: Path, first: Mapping[str, float], note: str) -> gr.Blocks:
    """The page as gradio's Blocks. folder: for the pictures. first: of the numbers of a request, what
    the fields show at first. note: a sentence below the title, or none."""
    upload_folder().mkdir(parents=True, exist_ok=True)
    sources = host.sources
    status = Status(files={**{role: sources.names(role) for role in ROLES}, PREPROCESSOR: tuple(sources.preprocessors.by_name)})
    backend = PanelBackend(
        analyser=lambda: sources.analyser,
        identities=lambda: sources.identities,
        status=lambda: status,
        maps=MapDrawing(lambda: sources),
    )
    service = PanelService(backend)
    run = Run(host, folder)
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("monospace",))
    css = (ROOT / "style.css").read_text(encoding="utf-8")
    with gr.Blocks(title="InstantID", css=css, theme=theme, analytics_enabled=False) as page:
        gr.HTML(f"<h1>InstantID</h1><p>{html.escape(note)}</p>")
        with gr.Row(elem_id=f"tab_{TAB}"):
            with gr.Column():
                inputs = _request_fields(first)
                with gr.Row():
                    start = gr.Button("Generate", variant="primary", elem_id=f"{TAB}_generate")
                    interrupt = gr.Button("Interrupt", elem_id=f"{TAB}_interrupt")
                panel = build_panel(TAB, lambda name: f"instantid_{name}", service, PanelDefaults())
            with gr.Column():
                progress = gr.HTML("", elem_id="progress")
                preview = gr.Image(label="Preview", interactive=False, height=256, elem_id="preview")
                gallery = gr.Gallery(label="Pictures", columns=2, elem_id=f"{TAB}_gallery")
                values = gr.Textbox(label="Settings of these pictures", lines=8, elem_id="values")
                files = gr.File(label="Download", file_count="multiple", elem_id="files")
        outputs = [progress, preview, gallery, values, files]
        start.click(run.generate, [*inputs, panel.enabled, panel.settings], outputs, show_progress="hidden")
        interrupt.click(run.interrupt, [], [], queue=False)
        page.load(None, [], [], **{JS: _scripts()})
    return page


def _request_fields(first: Mapping[str, float]) -> list[Any]:
    """The fields of a request, in the order of `REQUEST_FIELDS`."""

    def slider(name: str, label: str, low: float, high: float, value: float, step: float) -> gr.Slider:
        return gr.Slider(low, high, value, step=step, label=label, elem_id=f"{TAB}_{name}")

    prompt = gr.Textbox("portrait of a person, film photo", label="Prompt", lines=2, elem_id=f"{TAB}_prompt")
    negative = gr.Textbox("", label="Negative prompt", elem_id=f"{TAB}_neg_prompt")
    with gr.Row():
        width = slider("width", "Width", 64, 2048, first["width"], LATENT_FACTOR)
        height = slider("height", "Height", 64, 2048, first["height"], LATENT_FACTOR)
    with gr.Row():
        steps_field = slider("steps", "Steps", 1, 150, first["steps"], 1)
        cfg = slider("cfg_scale", "CFG scale", 0, 20, first["guidance_scale"], 0.5)
    with gr.Row():
        scheduler = gr.Dropdown(list(SCHEDULERS), value="euler", label="Scheduler", elem_id=f"{TAB}_scheduler")
        seed = gr.Number(0, label="Seed", precision=0, elem_id=f"{TAB}_seed")
        batch = slider("batch_size", "Batch size", 1, 8, 1, 1)
    return [prompt, negative, width, height, steps_field, cfg, scheduler, seed, batch]


REQUEST_FIELDS = ("prompt", "negative_prompt", "width", "height", "steps", "guidance_scale", "scheduler", "seed", "batch_size")


def _scripts() -> str:
    """The panel's JavaScript as one function, which gradio runs when the page is loaded."""
    files = sorted((ROOT / "javascript").glob("*.js"))
    return "() => {\n" + "\n".join(file.read_text(encoding="utf-8") for file in files) + "\nwindow.instantid.start();\n}"


class Run:
    """Generates pictures for the page, one generation at a time, and shows the progress."""

    def __init__(self, host: DiffusersHost, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._busy = threading.Lock()
        self._stop = threading.Event()

    def interrupt(self) -> None:
        """Stop sampling after the current step. The unfinished latents become the pictures."""
        self._stop.set()

    def generate(self, *values: Any) -> Iterator[Shown]:
        """Generate pictures. values: of `REQUEST_FIELDS`, then the panel's two arguments. Yields the page's outputs."""
        try:
            request = GenerationRequest(
                settings=settings_of(values[len(REQUEST_FIELDS) :], []), **dict(zip(REQUEST_FIELDS, values, strict=False))
            )
        except InstantIDError as error:
            yield _refused(error)
        else:
            yield from self._watched(request)

    def _watched(self, request: GenerationRequest) -> Iterator[Shown]:
        seen: queue.Queue[Sampled | Result | BaseException] = queue.Queue()

        def watch(sampled: Sampled) -> bool:
            seen.put(sampled)
            return not self._stop.is_set()

        def work() -> None:
            try:
                with self._busy:  # in this thread, which goes on when the page is closed
                    self._stop.clear()
                    seen.put(self._host.generate(request, watch))
            except BaseException as error:  # noqa: BLE001 - raised again in the page's thread
                seen.put(error)

        threading.Thread(target=work, daemon=True).start()
        yield "Looking at the photos …", None, None, "", None
        while isinstance(found := seen.get(), Sampled):
            yield f"Step {found.step} of {found.steps}", _enlarged(found, request), None, "", None
        if isinstance(found, InstantIDError):
            yield _refused(found)
        elif isinstance(found, BaseException):
            raise found
        else:
            yield self._shown(request, found)

    def _shown(self, request: GenerationRequest, result: Result) -> Shown:
        values = metadata_of(request, result)
        name = time.strftime("%Y%m%d-%H%M%S") + f"-{request.seed}.png"
        paths = [str(path) for path in save_pictures(self._folder / name, values, result)]
        return (
            "Done",
            None,
            [(picture.image, f"seed {picture.seed}") for picture in result.pictures],
            json.dumps(values, indent=2),
            paths,
        )


def _refused(error: InstantIDError) -> Shown:
    """Outputs that show an error instead of the progress. Raising it would make gradio print a traceback."""
    sentence = f'<p class="instantid-refusal" role="alert">{html.escape(in_page_words(str(error)))}</p>'
    return sentence, None, None, "", None


def _enlarged(sampled: Sampled, request: GenerationRequest) -> Image.Image:
    return Image.fromarray(sampled.picture).resize((request.width, request.height))
