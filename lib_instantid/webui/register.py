"""Registers the extension with the running WebUI. `scripts/instantid.py` calls it at the start and at each UI reload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modules import paths, script_callbacks, scripts, shared
from modules.call_queue import queue_lock

from lib_instantid.adapters.common import Common
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.webui.api import add_routes
from lib_instantid.webui.model_store import ModelStore
from lib_instantid.webui.options import (
    add_options,
    allowed_folders,
    face_options,
    identities_folder,
    keep,
    maps_wanted,
    models_folder,
    storage,
)
from lib_instantid.webui.panel_backend import panel_backend_of
from lib_instantid.webui.panel_service import PanelService
from lib_instantid.webui.pasting import Pasting
from lib_instantid.webui.processing import Processing
from lib_instantid.webui.routes import Services
from lib_instantid.webui.script import Extension
from lib_instantid.webui.xyz import Offered, axes

TITLE = "InstantID"
"""Title of the script."""

UNLOAD_BUTTON = "sett_unload_sd_model"
"""The settings page's button that unloads the checkpoint."""


def register() -> tuple[Extension, PanelService, Pasting]:
    """Make a new extension with its callbacks, the service that answers its panels, and the functions that fill them. The
    WebUI's own callback for unloading scripts removes an earlier extension."""
    host = _host()
    store = ModelStore(
        lambda: _folders(host), keep, identities_folder, face_options, storage, host.loaded_unet, host.preprocessors
    )
    extension = Extension(host, store, allowed_folders, maps_wanted)
    services = Services(
        analyser=lambda: store.analyser,
        folders=lambda: _folders(host),
        identities=identities_folder,
        allowed=allowed_folders,
    )
    for event, callback in host.callbacks().items():
        _listen(event, callback)
    _listen("script_unloaded", extension.stop)
    _listen("model_loaded", lambda _: extension.model_changed(generating=bool(shared.state.job)))
    _listen("app_started", lambda _, app: add_routes(app, services))
    _listen("after_component", _also_unloading(extension))
    _listen("ui_settings", add_options)
    _add_axes(extension)
    downloads = Path(paths.models_path) / "instantid"
    service = PanelService(panel_backend_of(host, store, downloads, lambda: queue_lock))
    return extension, service, Pasting(store)


def _listen(event: str, callback: Callable[..., None]) -> None:
    """Register a callback as the WebUI's `on_…` functions do, but without their search for the caller, which takes 0.1 s."""
    callbacks = script_callbacks.callback_map[f"callbacks_{event}"]
    script_callbacks.add_callback(callbacks, callback, category=event, filename=__file__)


def _add_axes(extension: Extension) -> None:
    """Add InstantID's axes to the X/Y/Z plot. The plot's script, known by its file's name, is loaded before extensions."""
    for script in scripts.scripts_data:
        if script.script_class.__module__ == "xyz_grid.py":
            option = script.module.AxisOption
            offered = Offered(names=extension.store.stored, allowed=allowed_folders)
            own = axes(option, extension.plot, offered, lambda p: _given(extension, p))
            script.module.axis_options.extend(own)


def _given(extension: Extension, p: Processing) -> Common:
    """The settings of a generation that has not begun yet."""
    own = next(script for script in p.scripts.alwayson_scripts if script.title() == TITLE)
    return extension.settings(p.script_args[own.args_from : own.args_to])


def _host() -> WebuiHost:
    if find_spec("modules_forge") is not None:
        from lib_instantid.hosts.forge import ForgeHost

        return ForgeHost()
    from lib_instantid.hosts.a1111 import A1111Host

    return A1111Host()


def _also_unloading(extension: Extension) -> Callable[..., None]:
    """Make a callback that also calls `unload` when the unload button is pressed, for which the WebUIs have no event."""

    def unload() -> None:
        with queue_lock:
            extension.unload()

    def listen(component: Any, **described: object) -> None:
        if described.get("elem_id") == UNLOAD_BUTTON:
            component.click(fn=unload, inputs=[], outputs=[])

    return listen


def _folders(host: WebuiHost) -> Sequence[Path]:
    """The folders of model files, including missing ones, which the message about missing files names."""
    given = [Path(folder) for folder in shared.cmd_opts.instantid_models_path or ()]
    own = models_folder()
    return (*given, *([own] if own else []), *host.model_folders())
