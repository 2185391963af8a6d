"""InstantID's section of the WebUI's settings page. Options are read at each use, as a person may change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths, shared

from lib_instantid.encoders.face.analyser import BACKENDS
from lib_instantid.encoders.face.sessions import PROVIDERS
from lib_instantid.webui.model_store import FaceOptions, Keep
from lib_instantid.webui.panel import PanelDefaults
from lib_instantid.webui.table import PRESETS
from lib_instantid.weights.storage import Storage

SECTION = ("instantid", "InstantID")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of the section. component, arguments: gradio's component and its arguments."""

    key: str
    default: Any
    label: str
    component: Any = gr.Textbox
    arguments: tuple[tuple[str, Any], ...] = ()
    info: str = ""

    @property
    def value(self) -> Any:
        return shared.opts.data.get(self.key, self.default)


KEEP = Option(
    key="instantid_keep_models",
    default=Keep.CPU.value,
    label="Where InstantID's networks wait between generations",
    component=gr.Radio,
    arguments=(("choices", [kept.value for kept in Keep]),),
    info="not at all: read from disk each time, about 4 GB less memory in between",
)
FP8 = Option(
    key="instantid_fp8",
    default=Storage().fp8,
    label="Keep IdentityNet's weights in fp8",
    component=gr.Checkbox,
    info="half the memory of fp16, for slightly different pictures",
)
STREAMED = Option(
    key="instantid_streamed",
    default=Storage().streamed,
    label="Bring IdentityNet to the GPU layer by layer",
    component=gr.Checkbox,
    info="takes about 0.2 GB there instead of 2.5, for time",
)
FOLDER = Option(key="instantid_models_folder", default="", label="A further folder with InstantID's model files")
IDENTITIES = Option(
    key="instantid_identities_folder",
    default="",
    label="Folder of saved identities",
    info="empty: models/instantid/identities",
)
BACKEND = Option(
    key="instantid_face_backend",
    default=FaceOptions().backend,
    label="Who analyses faces",
    component=gr.Radio,
    arguments=(("choices", list(BACKENDS)),),
    info="insightface: only if that package is installed; the numbers are the same",
)
PROVIDER = Option(
    key="instantid_face_provider",
    default=FaceOptions().provider,
    label="Where faces are analysed",
    component=gr.Dropdown,
    arguments=(("choices", ["auto", *PROVIDERS]),),
    info="what onnxruntime cannot use here falls back to the CPU",
)
REMEMBERED = Option(
    key="instantid_remembered_photos",
    default=FaceOptions().remembered,
    label="Photos whose faces are remembered",
    component=gr.Slider,
    arguments=(("minimum", 0), ("maximum", 256), ("step", 1)),
    info="about 2 kB each, against a third of a second",
)
PATHS = Option(
    key="instantid_allow_paths",
    default=True,
    label="Let API requests name pictures by path",
    component=gr.Checkbox,
    info="only below the folders of --instantid-allowed-path",
)
MAPS = Option(
    key="instantid_show_maps",
    default=False,
    label="Add the keypoint maps to the results",
    component=gr.Checkbox,
)
PRESET = Option(
    key="instantid_preset",
    default=PanelDefaults().preset,
    label="Preset of a new person",
    component=gr.Dropdown,
    arguments=(("choices", [preset.name for preset in PRESETS]),),
    info="after the page is loaded again",
)
THUMBNAILS = Option(
    key="instantid_thumbnails",
    default=PanelDefaults().thumbnails,
    label="Store a thumbnail of the face with a saved identity",
    component=gr.Checkbox,
    info="unless it is unticked when saving; after the page is loaded again",
)
OPTIONS = (KEEP, FP8, STREAMED, FOLDER, IDENTITIES, BACKEND, PROVIDER, REMEMBERED, PATHS, MAPS, PRESET, THUMBNAILS)


def keep() -> Keep:
    return Keep(KEEP.value)


def storage() -> Storage:
    return Storage(fp8=bool(FP8.value), streamed=bool(STREAMED.value))


def face_options() -> FaceOptions:
    return FaceOptions(backend=BACKEND.value, provider=PROVIDER.value, remembered=int(REMEMBERED.value))


def models_folder() -> Path | None:
    """The folder that the settings page names, or None."""
    given = str(FOLDER.value).strip()
    return Path(given) if given else None


def identities_folder() -> Path:
    given = str(IDENTITIES.value).strip()
    return Path(given) if given else Path(paths.models_path) / "instantid" / "identities"


def allowed_folders() -> Sequence[Path]:
    """The folders below which API requests may name pictures by path."""
    return [Path(folder) for folder in shared.cmd_opts.instantid_allowed_path or ()] if PATHS.value else []


def beginning() -> PanelDefaults:
    return PanelDefaults(preset=PRESET.value, thumbnails=bool(THUMBNAILS.value))


def maps_wanted() -> bool:
    return bool(MAPS.value)


def add_options() -> None:
    """Add the section. Call this when the WebUI makes its settings page."""
    for option in OPTIONS:
        info = shared.OptionInfo(option.default, option.label, option.component, dict(option.arguments), section=SECTION)
        shared.opts.add_option(option.key, info.info(option.info) if option.info else info)
