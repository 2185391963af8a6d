"""The panel's backend in a running WebUI, with the download of missing model files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import nn

from lib_instantid.adapters import FAMILIES, ROLES
from lib_instantid.adapters.family import Family
from lib_instantid.adapters.fields import PREPROCESSOR, lists_in
from lib_instantid.adapters.settings import Settings
from lib_instantid.errors import InstantIDError
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.webui.map_drawing import MapDrawing
from lib_instantid.webui.model_files import Missing
from lib_instantid.webui.model_store import ModelStore
from lib_instantid.webui.panel_service import Download, PanelBackend, Status
from lib_instantid.weights.download import download
from lib_instantid.weights.system_files import ReleasedFile

LOG = logging.getLogger(__name__)


class ModelDownload:
    """Downloads released files in the background. The WebUI has one for all tabs, so only one download runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._progress = ""

    def text(self, files: Sequence[ReleasedFile]) -> str:
        """The files to download, with size and licence, in words."""
        listed = "; ".join(f"{file.path}, {file.size}, {file.licence}" for file in files)
        return f"To be fetched into {self._folder}: {listed}."

    @property
    def progress(self) -> str:
        """A sentence while a download runs and after it failed; otherwise empty."""
        return self._progress

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, files: Sequence[ReleasedFile]) -> None:
        """Start the download, unless one runs. If two tabs call this at once, only one starts."""
        with self._starting:
            if not self.running:
                self._progress = "Connecting …"
                self._thread = threading.Thread(target=self._run, args=(files,), daemon=True)
                self._thread.start()

    def _run(self, files: Sequence[ReleasedFile]) -> None:
        try:
            download(files, self._folder, progress=self._report)
        except InstantIDError as error:
            self._progress = str(error)
        except Exception as error:  # nothing else would show it
            LOG.exception("the download failed")
            self._progress = f"The download failed, {type(error).__name__}: {error}. Start it again; the log says more."
        else:
            self._progress = ""

    def _report(self, name: str, megabytes: int) -> None:
        self._progress = f"Fetching {name}, about {megabytes} MB; the WebUI's console shows how far it is."


def _refusal(family: Family, unet: nn.Module | None) -> str | None:
    """Why a system cannot act in this UNet; None if it can, or none is loaded."""
    try:
        if unet is not None:
            family.check(unet)
    except InstantIDError as error:
        return str(error)
    return None


def _problems(missing: Sequence[Missing], unet: nn.Module | None) -> tuple[dict[str, str], tuple[Missing, ...]]:
    """For each list of entries that no system can act for now, why; and what is missing for that alone.

    Of several systems with one list the first counts that can act in this UNet.
    """
    problems, wanted = {}, []
    lacking = {one.family.title: one for one in missing}
    for entries in lists_in(Settings):
        refused = {family.title: _refusal(family, unet) for family in FAMILIES if family.entries == entries}
        able = [title for title, refusal in refused.items() if refusal is None] or list(refused)
        if all(title in lacking for title in able):
            wanted.append(lacking[able[0]])
            problems[entries.name] = lacking[able[0]].text
        elif refusal := refused[able[0]]:
            problems[entries.name] = refusal
    return problems, tuple(wanted)


def panel_backend_of(
    host: WebuiHost, store: ModelStore, folder: Path, turn: Callable[[], AbstractContextManager[object]] = nullcontext
) -> PanelBackend:
    """Make the panel's backend. folder: for downloaded model files. turn: see `MapDrawing`."""
    fetching = ModelDownload(folder)
    last: tuple[Missing, ...] = ()

    def status() -> Status:
        nonlocal last
        # During a download the page asks every second, and searching all folders may take longer than that.
        last = last if fetching.running else store.missing()
        problems, lacking = _problems(last, host.loaded_unet())
        wanted = tuple(file for missing in lacking for file in missing.files if file.sha256 is not None)
        download = Download(
            text=fetching.text(wanted),
            start=lambda: fetching.start(wanted),
            progress=fetching.progress,
            running=fetching.running,
        )
        files = {kind: store.stored(kind) for kind in (*ROLES, PREPROCESSOR)}
        return Status(problems=problems, download=download if wanted else None, files=files, context=store.context_size)

    return PanelBackend(
        analyser=lambda: store.analyser,
        identities=lambda: store.identities,
        status=status,
        maps=MapDrawing(lambda: store, turn),
    )
