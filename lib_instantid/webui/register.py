"""Joins the extension to the WebUI it finds itself in. Called by `scripts/instantid.py`, at start and at each UI reload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modules import paths, script_callbacks, scripts, shared
from modules.call_queue import queue_lock

from lib_instantid.guidance.settings import Settings
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.webui.api import add_routes
from lib_instantid.webui.engine import Engine
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
from lib_instantid.webui.panel_service import PanelService
from lib_instantid.webui.pasting import Pasting
from lib_instantid.webui.routes import Services
from lib_instantid.webui.script import Extension
from lib_instantid.webui.surroundings import surroundings_of
from lib_instantid.webui.xyz import axes

TITLE = "InstantID"
"""Of the script."""

UNLOAD_BUTTON = "sett_unload_sd_model"
"""The settings page's button that unloads the checkpoint."""


def register() -> tuple[Extension, PanelService, Pasting]:
    """A new extension with its callbacks, and what answers its panels and fills them; what an earlier one left is taken down by
    the WebUI's callback for that."""
    host = _host()
    engine = Engine(lambda: _folders(host), keep, face_options, storage)
    extension = Extension(host, engine, identities_folder, allowed_folders, maps_wanted)
    services = Services(
        analyser=lambda: engine.analyser,
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
    service = PanelService(surroundings_of(host, engine, identities_folder, downloads))
    names = lambda: () if engine.missing() else engine.identitynet_names()  # noqa: E731
    return extension, service, Pasting(identities_folder, names)


def _listen(event: str, callback: Callable[..., None]) -> None:
    """Register a callback as the WebUI's `on_…` functions do, which take a tenth of a second each to find out who calls."""
    callbacks = script_callbacks.callback_map[f"callbacks_{event}"]
    script_callbacks.add_callback(callbacks, callback, category=event, filename=__file__)


def _add_axes(extension: Extension) -> None:
    """The plot's script is loaded before every extension's, and anew at a reload of the page. It is known by its file."""
    for script in scripts.scripts_data:
        if script.script_class.__module__ == "xyz_grid.py":
            option = script.module.AxisOption
            own = axes(option, extension.plot, identities_folder, allowed_folders, lambda p: _given(extension, p))
            script.module.axis_options.extend(own)


def _given(extension: Extension, p: Any) -> Settings:
    """InstantID's settings of a generation that has not begun."""
    own = next(script for script in p.scripts.alwayson_scripts if script.title() == TITLE)
    return extension.settings(p.script_args[own.args_from : own.args_to])


def _host() -> WebuiHost:
    if find_spec("modules_forge") is not None:
        from lib_instantid.hosts.forge import ForgeHost

        return ForgeHost()
    from lib_instantid.hosts.a1111 import A1111Host

    return A1111Host()


def _also_unloading(extension: Extension) -> Callable[..., None]:
    """A callback that gives the unload button a second thing to do; the WebUIs tell nobody that it was pressed."""

    def unload() -> None:
        with queue_lock:
            extension.unload()

    def listen(component: Any, **described: Any) -> None:
        if described.get("elem_id") == UNLOAD_BUTTON:
            component.click(fn=unload, inputs=[], outputs=[])

    return listen


def _folders(host: WebuiHost) -> Sequence[Path]:
    """Also those that do not exist yet: a message about missing files names them."""
    given = [Path(folder) for folder in shared.cmd_opts.instantid_models_path or ()]
    own = models_folder()
    return (*given, *([own] if own else []), *host.model_folders())
