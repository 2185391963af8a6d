"""A page of its own for people without a WebUI: prompt, the panel, and the pictures. gradio 3.41 or 4.40."""

from __future__ import annotations

import html
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from lib_instantid.errors import InstantIDError
from lib_instantid.hosts.embedded.host import EmbeddedHost
from lib_instantid.hosts.embedded.job import Job, Result, Sampled
from lib_instantid.hosts.embedded.record import record, save_pictures
from lib_instantid.hosts.embedded.schedulers import SCHEDULERS
from lib_instantid.units import LATENT_FACTOR
from lib_instantid.webui.arguments import settings_of
from lib_instantid.webui.panel import JS, Beginning, build_panel
from lib_instantid.webui.panel_service import PanelService, Surroundings
from lib_instantid.webui.pictures import upload_folder
from lib_instantid.webui.words import in_page_words

ROOT = Path(__file__).parents[2]
TAB = "txt2img"


def build_page(host: EmbeddedHost, folder: Path, size: int, steps: int) -> Any:
    """The page as gradio's Blocks. folder: where pictures are saved. size, steps: what the fields show at first."""
    upload_folder().mkdir(parents=True, exist_ok=True)
    service = PanelService(Surroundings(analyser=lambda: host.analyser, identities=lambda: host.identities))
    run = Run(host, folder)
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("monospace",))
    css = (ROOT / "style.css").read_text(encoding="utf-8")
    with gr.Blocks(title="InstantID", css=css, theme=theme, analytics_enabled=False) as page:
        gr.HTML("<h1>InstantID</h1>")
        with gr.Row(elem_id=f"tab_{TAB}"):
            with gr.Column():
                inputs = _job_fields(size, steps)
                with gr.Row():
                    start = gr.Button("Generate", variant="primary", elem_id=f"{TAB}_generate")
                    interrupt = gr.Button("Interrupt", elem_id=f"{TAB}_interrupt")
                panel = build_panel(TAB, lambda name: f"instantid_{name}", service, Beginning())
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


def _job_fields(size: int, steps: int) -> list[Any]:
    """In the order of `JOB`."""

    def slider(name: str, label: str, low: float, high: float, value: float, step: float) -> Any:
        return gr.Slider(low, high, value, step=step, label=label, elem_id=f"{TAB}_{name}")

    prompt = gr.Textbox("portrait of a person, film photo", label="Prompt", lines=2, elem_id=f"{TAB}_prompt")
    negative = gr.Textbox("", label="Negative prompt", elem_id=f"{TAB}_neg_prompt")
    with gr.Row():
        width = slider("width", "Width", 64, 2048, size, LATENT_FACTOR)
        height = slider("height", "Height", 64, 2048, size, LATENT_FACTOR)
    with gr.Row():
        steps_field = slider("steps", "Steps", 1, 150, steps, 1)
        cfg = slider("cfg_scale", "CFG scale", 0, 20, 5, 0.5)
    with gr.Row():
        scheduler = gr.Dropdown(list(SCHEDULERS), value="euler", label="Scheduler", elem_id=f"{TAB}_scheduler")
        seed = gr.Number(0, label="Seed", precision=0, elem_id=f"{TAB}_seed")
        batch = slider("batch_size", "Batch size", 1, 8, 1, 1)
    return [prompt, negative, width, height, steps_field, cfg, scheduler, seed, batch]


JOB = ("prompt", "negative_prompt", "width", "height", "steps", "guidance_scale", "scheduler", "seed", "batch_size")


def _scripts() -> str:
    """The panel's JavaScript as one function, which gradio runs when the page is loaded."""
    files = sorted((ROOT / "javascript").glob("*.js"))
    return "() => {\n" + "\n".join(file.read_text(encoding="utf-8") for file in files) + "\nwindow.instantid.start();\n}"


class Run:
    """Makes pictures, one generation at a time, and tells the page how far it is."""

    def __init__(self, host: EmbeddedHost, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._busy = threading.Lock()
        self._stop = threading.Event()

    def interrupt(self) -> None:
        """What is there after the step under way becomes the pictures."""
        self._stop.set()

    def generate(self, *values: Any) -> Iterator[tuple[Any, ...]]:
        """values: of the job's fields, then the panel's two. Yields what the page's outputs show."""
        try:
            job = Job(settings=settings_of(values[len(JOB) :], []), **dict(zip(JOB, values, strict=False)))
        except InstantIDError as error:
            yield _refused(error)
        else:
            yield from self._watched(job)

    def _watched(self, job: Job) -> Iterator[tuple[Any, ...]]:
        seen: queue.Queue[Sampled | Result | BaseException] = queue.Queue()

        def watch(sampled: Sampled) -> bool:
            seen.put(sampled)
            return not self._stop.is_set()

        def work() -> None:
            try:
                with self._busy:  # here, since the page's side ends when its reader leaves, and this goes on
                    self._stop.clear()
                    seen.put(self._host.generate(job, watch))
            except BaseException as error:  # noqa: BLE001 - it is raised where the page can show it
                seen.put(error)

        threading.Thread(target=work, daemon=True).start()
        yield "Looking at the photos …", None, None, "", None
        while isinstance(found := seen.get(), Sampled):
            yield f"Step {found.step} of {found.steps}", _enlarged(found, job), None, "", None
        if isinstance(found, InstantIDError):
            yield _refused(found)
        elif isinstance(found, BaseException):
            raise found
        else:
            yield self._shown(job, found)

    def _shown(self, job: Job, result: Result) -> tuple[Any, ...]:
        values = record(job, result)
        name = time.strftime("%Y%m%d-%H%M%S") + f"-{job.seed}.png"
        paths = [str(path) for path in save_pictures(self._folder / name, values, result)]
        return (
            "Done",
            None,
            [(picture.image, f"seed {picture.seed}") for picture in result.pictures],
            json.dumps(values, indent=2),
            paths,
        )


def _refused(error: InstantIDError) -> tuple[Any, ...]:
    """Shown where the progress was. It is not raised: gradio writes a traceback for whatever is."""
    sentence = f'<p class="instantid-refusal" role="alert">{html.escape(in_page_words(str(error)))}</p>'
    return sentence, None, None, "", None


def _enlarged(sampled: Sampled, job: Job) -> Any:
    from PIL import Image

    return Image.fromarray(sampled.picture).resize((job.width, job.height))
