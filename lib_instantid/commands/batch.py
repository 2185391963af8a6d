"""`generate` with a folder of photos or a file of prompts: makes a picture file of each photo with each prompt."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lib_instantid.adapters import ROLES
from lib_instantid.adapters.fields import Name, settings_in
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.picture import file_bytes
from lib_instantid.errors import NoFaceFound, PictureError, SettingsError

if TYPE_CHECKING:
    from lib_instantid.adapters.common import Common
    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.request import GenerationRequest

UNREAD_SUFFIXES = {".heic", ".heif"}
NO_PICTURES = {".pdf", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr"}
"""Endings in Pillow's list that are not those of pictures."""

RequestOf = Callable[[argparse.Namespace], "GenerationRequest"]


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted by name. Raises SettingsError: no such folder, or no picture in it."""
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder; give a folder with pictures.")
    found = sorted(path for path in folder.iterdir() if _is_picture(path))
    if not found:
        raise SettingsError(f"{folder}: no picture in it; expected files such as .jpg, .png or .webp.")
    return found


def _is_picture(path: Path) -> bool:
    """Whether a file's ending is that of a picture, by Pillow's list. HEIC counts too, so that an error names the cure.

    Names that begin with a dot do not count: macOS' `._` files hold no pictures.
    """
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} | UNREAD_SUFFIXES
    return path.suffix.lower() in known - NO_PICTURES and not path.name.startswith(".") and path.is_file()


def prompts_in(path: Path) -> list[str]:
    """The prompts of a file with one prompt per line. Raises SettingsError: it cannot be read, or has no prompt."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"prompts_file: {path} cannot be read ({error}); give a text file, one prompt per line.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SettingsError(f"prompts_file: {path} is empty; write one prompt per line.")
    return prompts


def run_batch(args: argparse.Namespace, request_of: RequestOf, open_host: Callable[[Common], DiffusersHost]) -> None:
    """Make the pictures that do not exist yet, and print at the end how many were made.

    request_of: makes a request of the options for one picture. open_host: opens the host for the first one's settings.
    Raises PictureError at the end if photos could not be used.
    """
    photos: list[Path | None] = [*pictures_in(args.photos_dir)] if args.photos_dir else [None]
    prompts = prompts_in(args.prompts_file) if args.prompts_file else [args.prompt]
    first = next(_requests(args, photos[0], prompts, request_of))
    _check(first, args.out, photos_vary=args.photos_dir is not None)
    batch = _Batch(
        host=open_host(first[1].settings), weights=_weights(args), identities=args.identities, total=len(photos) * len(prompts)
    )
    try:
        for photo in photos:
            batch.make(str(photo or "photos"), _requests(args, photo, prompts, request_of))
    finally:
        print(f"{batch.made} made, {batch.there} were there, {batch.total - batch.made - batch.there} not made.")
    if batch.problems:
        raise PictureError(f"{len(batch.problems)} of {len(photos)} photos could not be used: " + " ".join(batch.problems))


def _check(first: tuple[Path, GenerationRequest], out: Path, *, photos_vary: bool) -> None:
    """Find errors that concern every picture before models are loaded. A bad photo only affects its own pictures."""
    from lib_instantid.hosts.diffusers.metadata import check_out, check_sources

    check_sources(first[1], first_photos=not photos_vary)
    check_out(out)


def _requests(
    args: argparse.Namespace, photo: Path | None, prompts: list[str], request_of: RequestOf
) -> Iterator[tuple[Path, GenerationRequest]]:
    """The file and the request for each prompt."""
    own = {} if photo is None else {"photos": [str(photo)]}
    name = "" if photo is None else f"{photo.name}-"
    for number, prompt in enumerate(prompts, 1):
        one = argparse.Namespace(**{**vars(args), **own, "prompt": prompt})
        yield args.out / f"{name}{number:03}.png", request_of(one)


@dataclasses.dataclass(kw_only=True)
class _Batch:
    host: DiffusersHost
    weights: dict[str, str]
    identities: Path
    total: int
    made: int = 0
    there: int = 0
    done: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def make(self, photo: str, requests: Iterator[tuple[Path, GenerationRequest]]) -> None:
        """Make the pictures of one photo. An error of the photo ends them, as it would recur with every prompt."""
        try:
            for path, request in requests:
                self._make(path, request)
        except (PictureError, NoFaceFound) as error:
            self.problems.append(f"{photo}: {error}")
            print(f"{photo}: {error}")

    def _make(self, path: Path, request: GenerationRequest) -> None:
        from lib_instantid.hosts.diffusers.metadata import metadata_of, save_pictures

        inputs = {**self.weights, **inputs_of(request, self.identities)}
        if is_made(path, request, inputs):
            self.there += 1
            print(f"{self.made + self.there}/{self.total} {path} was there")
            return
        started = time.perf_counter()
        result = self.host.generate(request)
        save_pictures(path, {**metadata_of(request, result), "inputs": inputs}, result)
        self.made += 1
        print(f"{self.made + self.there}/{self.total} {path} {time.perf_counter() - started:.1f} s")


def is_made(path: Path, request: GenerationRequest, inputs: dict[str, str]) -> bool:
    """Whether the file is the finished picture of this request, and not one of other settings, prompts or inputs."""
    from lib_instantid.hosts.diffusers.metadata import plain_request

    try:
        with Image.open(path) as image:
            values = json.loads(getattr(image, "text", {})["instantid"])
        return bool(values["inputs"] == inputs and _has(values, json.loads(json.dumps(plain_request(request)))))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _has(found: Any, wanted: Any) -> bool:
    """Whether `found` contains all of `wanted`. Picture metadata contain more than the settings."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and _has(found[name], own) for name, own in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(_has, found, wanted))
    return bool(found == wanted)


def inputs_of(request: GenerationRequest, identities: Path) -> dict[str, str]:
    """A hash of each input file of a picture, and of points placed by hand. Raises PictureError: a file cannot be read."""
    from lib_instantid.hosts.diffusers.metadata import LISTS, in_pictures, pictures_of

    found = {"init_picture": _content(request.init_picture, "init_picture")}
    found |= {field: _content(source, field) for field, source, _ in pictures_of(request.settings)}
    for name in LISTS:
        for number, entry in enumerate(getattr(request.settings, name), 1):
            for own in settings_in(type(entry)):
                field, value = f"{name}[{number}].{own.name}", getattr(entry, own.name)
                if in_pictures(own):
                    found[field] = _hash(json.dumps(value).encode())
                elif own.kind == IDENTITY and value is not None:
                    found[field] = _hash(load_identity(value, identities).embedding.tobytes())
    return found


IDENTITY = Name(of="identity")


def _content(source: Any, field: str) -> str:
    return "" if source is None else _hash(file_bytes(source, field))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _weights(args: argparse.Namespace) -> dict[str, str]:
    """For the files of weights and face models, a hash of sizes and times, as they are too large to hash their content."""
    options = {name: vars(args)[name] for name in WEIGHTS}
    return {name: " ".join(_stamp(Path(path)) for path in _each(value)) for name, value in options.items()}


def _each(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


WEIGHTS = ("checkpoint", "checkpoint_config", *ROLES, "models_dir", "face_models", "face_backend", "dtype")


def _stamp(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    stats = [(str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return f"{path.name} {_hash(repr(stats).encode())}"
