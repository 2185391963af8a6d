"""Downloads released model files with huggingface_hub, only on a person's request, checks them and moves them into place."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_instantid.errors import DownloadError
from lib_instantid.weights.system_files import HUB, ReleasedFile

Progress = Callable[[str, int], None]
"""Called when the download of a file begins, with its path on the hub and its approximate size in megabytes. huggingface_hub
shows its own progress bar."""

STAGING = ".instantid-download"
"""Folder of unfinished downloads, below the person's folder. The next run continues them."""

CHUNK = 1 << 20


def download(
    files: Sequence[ReleasedFile], folder: Path, *, endpoint: str = HUB, progress: Progress | None = None
) -> tuple[Path, ...]:
    """Download the files into the folder and return their paths, in the same order.

    A file whose SHA-256 is already right is not downloaded again. A different file of the same name is replaced only when the
    download is complete and has the right SHA-256. endpoint: address of the hub or a mirror of it. Raises DownloadError.
    """
    folder = Path(folder).expanduser()
    paths = tuple(_fetched(file, folder, endpoint, progress) for file in files)
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    return paths


def _fetched(file: ReleasedFile, folder: Path, endpoint: str, progress: Progress | None) -> Path:
    from huggingface_hub import hf_hub_download

    target = file.below(folder)
    if target.is_file() and _sha256(target) == file.sha256:
        return target
    if progress:
        progress(file.path, file.megabytes)
    try:
        came = Path(hf_hub_download(file.repository, file.path, local_dir=folder / STAGING, endpoint=endpoint.rstrip("/")))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise _error(file, target, endpoint, reason) from error
    found = _sha256(came)
    if found != file.sha256:
        came.unlink()
        reason = f"not the published file: its SHA-256 is {found}, expected {file.sha256}; what came was removed"
        raise _error(file, target, endpoint, reason)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        came.replace(target)
    except OSError as error:
        raise _error(file, target, endpoint, f"{target} cannot be written ({error})") from error
    return target


def _error(file: ReleasedFile, target: Path, endpoint: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{file.path}: {reason}. Run the download again, which continues with what is here, or fetch {file.url(endpoint)} "
        f"by hand into {target.parent}. Behind a proxy, set the environment variable HTTPS_PROXY."
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
