"""Reads settings from a script's arguments, and pictures from a page or a request.

The page sends its switch and, as text, the same JSON object that the API takes. A picture is an uploaded file, a Pillow image,
base64, a data URL, or an allowed path.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.fields import EntryList, PictureInput, PictureSource, lists_in
from lib_instantid.adapters.record import BY_HASH
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.encoders.face.picture import refuse_address
from lib_instantid.errors import PictureError, SettingsError

BASE64_MARK = ";base64,"


def is_from_page(arguments: Sequence[object]) -> bool:
    """Whether a script's arguments come from the page, not from an API request."""
    return bool(arguments) and isinstance(arguments[0], bool)


def settings_of(arguments: Sequence[object], allowed: Sequence[Path]) -> Common:
    """The settings of a script's arguments: from the API one object, from the page its switch and the object as JSON.

    allowed: folders whose pictures may be given by path; uploads of the page are always allowed. Raises SettingsError or
    PictureError, which names the field.
    """
    first, text = [*arguments, False, ""][:2] if arguments else (False, "")
    if isinstance(first, Mapping):
        return settings_from_dict(_with_pictures({"enabled": True, **first}, allowed))
    if not isinstance(first, bool):
        raise SettingsError(f"args[0]: found {type(first).__name__}, expected an object with InstantID's settings.")
    if not first:
        return Settings()
    values = _from_text(text)
    return settings_from_dict(_with_pictures({**values, "enabled": True}, [*allowed, upload_folder()]))


def _from_text(text: Any) -> dict[str, object]:
    try:
        values = json.loads(text or "{}")
    except (TypeError, ValueError) as error:
        raise SettingsError(f"settings: found {text!r:.80}, expected the JSON of InstantID's settings ({error}).") from error
    if not isinstance(values, dict):
        raise SettingsError(f"settings: found {text!r:.80}, expected a JSON object.")
    return values


def _with_pictures(values: Mapping[str, object], allowed: Sequence[Path]) -> dict[str, object]:
    read = dict(values)
    for entries in lists_in(Settings):
        name = entries.name
        given = values.get(name, ())
        if isinstance(given, Sequence) and not isinstance(given, str):  # others are refused by name later
            read[name] = [_entry(entry, entries, f"{name}[{i}]", allowed) for i, entry in enumerate(given, 1)]
    return read


def _entry(entry: object, entries: EntryList, field: str, allowed: Sequence[Path]) -> object:
    if not isinstance(entry, Mapping):
        return entry
    read = dict(entry)
    for own in entries.settings:
        if not isinstance(own.kind, PictureInput):
            continue
        given, named = read.get(own.name), f"{field}.{own.name}"
        if own.kind.most is None:
            if given is not None:
                read[own.name] = picture_of(given, named, allowed)
        elif own.name in read:
            if isinstance(given, str | bytes) or not isinstance(given, Sequence):
                raise SettingsError(f"{named}: found {type(given).__name__}, expected a list of pictures.")
            read[own.name] = [picture_of(one, f"{named}[{i}]", allowed) for i, one in enumerate(given, 1)]
    return read


def upload_folder() -> Path:
    """The folder of the page's uploads. Source: gradio 3.41 and 4.40, `routes.App.create_app`."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def picture_of(value: object, field: str, allowed: Sequence[Path]) -> PictureSource:
    """The picture of a value: base64, a data URL or a path as text, or the value of a gradio component.

    allowed: folders of permitted paths. Raises PictureError, which names the field: another text, or another path.
    """
    if not isinstance(value, str):
        return _of_component(value, field)
    if value.startswith(BY_HASH):
        raise PictureError(f"{field}: the picture {value:.40} of an infotext is not in this page; add it again.")
    if value.startswith("data:"):
        _, mark, content = value.partition(BASE64_MARK)
        if not mark:
            raise PictureError(f"{field}: found a data URL without base64; expected data:image/png;base64,….")
        return _decoded(content, field)
    refuse_address(value, field)
    if "." in value or "\\" in value:  # base64 has neither
        return _allowed_path(value, field, allowed)
    return _decoded(value, field)


def _of_component(value: Any, field: str) -> PictureSource:
    """The picture of a gradio component: the temporary file of an upload, or an image as array or Pillow image."""
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
    """The path, if it lies below an allowed folder. Raises PictureError otherwise.

    The path is compared as text before the file system is asked, because that could contact another machine on Windows
    (`\\\\server\\share`). Afterwards links are resolved, and the path must still lie below the folder.
    """
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
