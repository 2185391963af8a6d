"""What a running WebUI provides for the panel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_instantid.errors import InstantIDError
from lib_instantid.guidance.attachment import check_sdxl
from lib_instantid.hosts.download import download
from lib_instantid.hosts.model_files import ReleasedFile
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.webui.engine import Engine, Missing
from lib_instantid.webui.panel_service import Download, Status, Surroundings

LOG = logging.getLogger(__name__)


class ModelDownload:
    """Fetches released files in the background, one at a time for the whole WebUI."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._progress = ""

    def text(self, files: Sequence[ReleasedFile]) -> str:
        """What would be fetched, with size and licence."""
        listed = "; ".join(f"{file.path}, {file.size}, {file.licence}" for file in files)
        return f"To be fetched into {self._folder}: {listed}."

    @property
    def progress(self) -> str:
        """A sentence while it runs or after it failed; empty before and afterwards."""
        return self._progress

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, files: Sequence[ReleasedFile]) -> None:
        """Begin, unless it runs; of two tabs that ask at once, one does."""
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
        except Exception as error:  # no one else would hear of it
            LOG.exception("the download failed")
            self._progress = f"The download failed, {type(error).__name__}: {error}. Start it again; the log says more."
        else:
            self._progress = ""

    def _report(self, name: str, megabytes: int) -> None:
        self._progress = f"Fetching {name}, about {megabytes} MB; the WebUI's console shows how far it is."


def surroundings_of(host: WebuiHost, engine: Engine, identities: Callable[[], Path], folder: Path) -> Surroundings:
    """folder: where missing model files are put."""
    fetching = ModelDownload(folder)
    last: list[Missing] = []

    def status() -> Status:
        # While files are on their way the page asks each second, and a look through all folders may take longer than that.
        missing = last[0] if last and fetching.running else engine.missing()
        last[:] = [missing] if missing is not None else []
        if missing is not None:
            files = missing.files
            download = Download(
                text=fetching.text(files),
                start=lambda: fetching.start(files),
                progress=fetching.progress,
                running=fetching.running,
            )
            return Status(problem=missing.text, download=download)
        nets = engine.identitynet_names()
        unet = host.loaded_unet()
        try:
            if unet is not None:
                check_sdxl(unet)
        except InstantIDError as error:
            return Status(problem=str(error), identitynets=nets)
        return Status(identitynets=nets)

    return Surroundings(analyser=lambda: engine.analyser, identities=identities, status=status)
