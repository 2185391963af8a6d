"""Pictures as they come from a page or a request: uploaded files, Pillow pictures, base64, data URLs, or allowed paths."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import PictureError
from lib_instantid.face.picture import refuse_address
from lib_instantid.guidance.settings import Picture

BASE64_MARK = ";base64,"
BY_HASH = "#"
"""Begins a photo of an infotext, which only its hash says; a page that still has the photo puts it in its place."""


def upload_folder() -> Path:
    """Where gradio puts what the page uploads (`routes.App.create_app` of 3.41 and 4.40)."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def picture_of(value: Any, field: str, allowed: Sequence[Path]) -> Picture:
    """value: base64, a data URL or a path as text, or what a gradio component gives. allowed: folders of permitted paths.

    Raises PictureError naming the field, for text that is none of these and for paths outside the allowed folders.
    """
    if not isinstance(value, str):
        return _of_component(value, field)
    if value.startswith(BY_HASH):
        raise PictureError(f"{field}: the photo {value:.40} of the picture's infotext is not in this page; add it again.")
    if value.startswith("data:"):
        _, mark, content = value.partition(BASE64_MARK)
        if not mark:
            raise PictureError(f"{field}: found a data URL without base64; expected data:image/png;base64,….")
        return _decoded(content, field)
    refuse_address(value, field)
    if "." in value or "\\" in value:  # base64 has neither
        return _allowed_path(value, field, allowed)
    return _decoded(value, field)


def _of_component(value: Any, field: str) -> Picture:
    """gradio's uploads name their temporary file; its images are arrays or Pillow pictures."""
    from PIL import Image

    if isinstance(value, bytes | Path | Image.Image):
        return value
    if hasattr(value, "__array__"):
        return Image.fromarray(value)
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return Path(name)
    raise PictureError(f"{field}: found {type(value).__name__}, expected a picture as base64, data URL or path.")


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(
            f"{field}: {text[:40]!r}… is no base64, data URL or path with a suffix. Send the picture's file as base64."
        ) from error


def _allowed_path(text: str, field: str, allowed: Sequence[Path]) -> Path:
    """Compared as text first: to look at a path is to follow it, on Windows as far as another machine (`\\\\server\\share`).
    Only what seems to be below an allowed folder is looked at, and must be below it also when links are followed."""
    path = Path(os.path.abspath(text))  # noqa: PTH100 - pathlib has no way to remove ".." without following links
    folders = [folder.expanduser() for folder in allowed]
    try:
        below = any(path.is_relative_to(named) for folder in folders for named in (folder.absolute(), folder.resolve()))
        if "\0" not in text and below:
            path = path.resolve()
            if any(path.is_relative_to(folder.resolve()) for folder in folders):
                return path
    except (OSError, ValueError, RuntimeError) as error:  # a link to itself, a name that no file can have
        raise PictureError(
            f"{field}: the path {text!r:.200} cannot be followed ({error}). Send the picture as base64."
        ) from error
    raise PictureError(
        f"{field}: the path {text!r:.200} is not below an allowed folder. Send the picture as base64, or allow its folder "
        "with --instantid-allowed-path."
    )
