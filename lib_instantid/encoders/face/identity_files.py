"""Saves, reads, lists, renames and deletes identities: one small .safetensors file each, in one folder."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lib_instantid.encoders.face.faces import Floats
from lib_instantid.encoders.face.identity import Identity, check_embedding
from lib_instantid.errors import IdentityFileError, SettingsError

FORMAT = "sd-webui-instantid identity"
VERSION = "1"
SUFFIX = ".safetensors"
TENSOR = "embedding"

LONGEST_NAME = 64
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
"""Characters that Windows does not allow in a file's name. They include the path separators of every system."""
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, with and without an ending."""


def check_name(name: str) -> str:
    """Return the name of an identity unchanged if it can be a file's name on every system.

    raises SettingsError: the name is empty or longer than 64 characters, has a path separator or another forbidden
    character, begins or ends with a dot or a space, or is one that Windows keeps for devices.
    """
    fault = _fault(name)
    if fault:
        raise SettingsError(
            f"identity: the name {name!r:.100} {fault}; use 1 to {LONGEST_NAME} letters, digits, "
            "spaces, hyphens or underscores."
        )
    return name


def _fault(name: str) -> str | None:
    if not isinstance(name, str) or not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"is {len(name)} characters long"
    if FORBIDDEN.search(name) or not name.isprintable():
        return "has a character that a file's name cannot have"
    if name[0] == "." or name[-1] == "." or name != name.strip():
        return "begins or ends with a dot or a space"
    return "is a device's name on Windows" if RESERVED.fullmatch(name) else None


def save_identity(identity: Identity, folder: Path, thumbnail: bytes | None = None) -> Path:
    """Write an identity under its name, replacing an older one of that name. Other programs never see a half-written file.

    folder: created if missing. thumbnail: a PNG file to store with it. It shows a face: give it only if the person asked.
    returns: the path of the file. raises SettingsError: see `check_name`. IdentityFileError: the folder cannot be written to.
    """
    path = _path(identity.name, folder)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "name": identity.name,
        "model": identity.model,
        "photos": str(identity.photos),
    }
    content = save({TENSOR: np.ascontiguousarray(identity.embedding, dtype=np.float32)}, metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, content)
        if thumbnail is None:
            _thumbnail(identity.name, folder).unlink(missing_ok=True)
        else:
            _write_whole(_thumbnail(identity.name, folder), thumbnail)
    except OSError as error:
        raise IdentityFileError(f"{path} cannot be written ({error}); check the folder and its permissions.") from error
    return path


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_identity(name: str, folder: Path) -> Identity:
    """Read a saved identity.

    raises SettingsError: see `check_name`. IdentityFileError: there is no identity of that name, or its file is damaged, of
    another kind or version, or holds an embedding that is not raw.
    """
    path = _existing(name, folder)
    metadata, embedding = _read(path)
    check_embedding(embedding, str(path))
    photos = metadata.get("photos", "")
    return Identity(
        embedding=embedding,
        name=name,
        photos=int(photos) if photos.isdecimal() and len(photos) < 3 else 1,
        model=metadata.get("model", ""),
    )


def _read(path: Path) -> tuple[dict[str, str], Floats]:
    """Metadata and embedding of a file. raises IdentityFileError: damaged, or not of `FORMAT` and `VERSION`."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            fault = _fault_of_file(metadata, {key: file.get_slice(key).get_dtype() for key in file.keys()})  # noqa: SIM118
            if fault:
                raise IdentityFileError(f"{path} {fault}, or make it again from photos.")
            return metadata, file.get_tensor(TENSOR)
    except (SafetensorError, OSError, ValueError) as error:
        raise IdentityFileError(f"{path} is damaged or no .safetensors file ({error}); make it again from photos.") from error


def _fault_of_file(metadata: dict[str, str], kinds: dict[str, str]) -> str | None:
    """Why a file is not a saved identity, and the cure; None if it is one. kinds: the stored type of every tensor."""
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        return f"is not a saved identity: expected the format {FORMAT!r}, found {found!r}; give another name"
    if metadata.get("version") != VERSION:
        found = metadata.get("version")
        return f"has version {found!r} of the identity format, and this program reads {VERSION!r}; update InstantID"
    if kinds != {TENSOR: "F32"}:
        return f"is not a saved identity: expected one tensor {TENSOR!r} of F32, found {kinds}; give another name"
    return None


def list_identities(folder: Path) -> list[str]:
    """Names of the saved identities, sorted; an empty list if the folder is missing."""
    if not Path(folder).is_dir():
        return []
    names = (path.name.removesuffix(SUFFIX) for path in Path(folder).iterdir() if path.is_file() and path.suffix == SUFFIX)
    return sorted(name for name in names if _fault(name) is None)


def delete_identity(name: str, folder: Path) -> None:
    """Remove a saved identity and its thumbnail.

    raises SettingsError: see `check_name`. IdentityFileError: there is no such identity, or its file cannot be removed.
    """
    path = _existing(name, folder)
    try:
        path.unlink()
        _thumbnail(name, folder).unlink(missing_ok=True)
    except OSError as error:
        raise IdentityFileError(f"{path} cannot be removed ({error}); check the folder and its permissions.") from error


def rename_identity(name: str, new_name: str, folder: Path) -> None:
    """Rename a saved identity and its thumbnail.

    raises SettingsError: see `check_name`, or the new name is taken. IdentityFileError: there is no such identity, or the
    folder cannot be written to.
    """
    identity = load_identity(name, folder)
    if new_name in list_identities(folder):
        raise SettingsError(f"identity: {new_name!r} is taken; delete that one first, or choose another name.")
    thumbnail = load_thumbnail(name, folder)
    save_identity(replace(identity, name=new_name), folder, thumbnail=thumbnail)
    delete_identity(name, folder)


def load_thumbnail(name: str, folder: Path) -> bytes | None:
    """The content of the PNG file stored with an identity, or None. raises SettingsError: see `check_name`."""
    path = _thumbnail(name, folder)
    return path.read_bytes() if path.is_file() else None


def _thumbnail(name: str, folder: Path) -> Path:
    return Path(folder) / f"{check_name(name)}.png"


def _path(name: str, folder: Path) -> Path:
    return Path(folder) / f"{check_name(name)}{SUFFIX}"


def _existing(name: str, folder: Path) -> Path:
    path = _path(name, folder)
    if not path.is_file():
        known = ", ".join(list_identities(folder)) or "none"
        raise IdentityFileError(f"There is no identity {name!r}; saved identities: {known}.")
    return path
