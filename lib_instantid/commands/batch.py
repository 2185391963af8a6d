"""`generate` with a folder of photos or a file of prompts: each photo with each prompt, one picture file after another."""

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

from lib_instantid.errors import NoFaceFound, PictureError, SettingsError
from lib_instantid.face.identity_files import load_identity
from lib_instantid.face.picture import file_bytes
from lib_instantid.guidance.settings import Person, Settings

if TYPE_CHECKING:
    from lib_instantid.hosts.embedded.host import EmbeddedHost
    from lib_instantid.hosts.embedded.job import Job

UNREAD_SUFFIXES = {".heic", ".heif"}
NO_PICTURES = {".pdf", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr"}
"""What Pillow lists beside pictures."""

JobOf = Callable[[argparse.Namespace], "Job"]


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name. Raises SettingsError where there is no folder, or none in it."""
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder; give a folder with pictures.")
    found = sorted(path for path in folder.iterdir() if _is_picture(path))
    if not found:
        raise SettingsError(f"{folder}: no picture in it; expected files such as .jpg, .png or .webp.")
    return found


def _is_picture(path: Path) -> bool:
    """By its ending, as Pillow knows them. HEIC counts too: it cannot be read, and is named with the cure.

    What begins with a dot is hidden, as macOS' `._` files are, which hold no pictures.
    """
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} | UNREAD_SUFFIXES
    return path.suffix.lower() in known - NO_PICTURES and not path.name.startswith(".") and path.is_file()


def prompts_in(path: Path) -> list[str]:
    """One prompt per line. Raises SettingsError where there is no file, or no prompt in it."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"prompts_file: {path} cannot be read ({error}); give a text file, one prompt per line.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SettingsError(f"prompts_file: {path} is empty; write one prompt per line.")
    return prompts


def run_batch(args: argparse.Namespace, job_of: JobOf, open_host: Callable[[], EmbeddedHost]) -> None:
    """Make what is not there yet, and say at the end what became of everything.

    job_of: the job of the options of one picture. Raises PictureError at the end, if a photo could not be used.
    """
    photos: list[Path | None] = [*pictures_in(args.photos_dir)] if args.photos_dir else [None]
    prompts = prompts_in(args.prompts_file) if args.prompts_file else [args.prompt]
    _check(next(_jobs(args, photos[0], prompts, job_of)), args.out, photos_vary=args.photos_dir is not None)
    batch = _Batch(host=open_host(), weights=_weights(args), identities=args.identities, total=len(photos) * len(prompts))
    try:
        for photo in photos:
            batch.make(str(photo or "photos"), _jobs(args, photo, prompts, job_of))
    finally:
        print(f"{batch.made} made, {batch.there} were there, {batch.total - batch.made - batch.there} not made.")
    if batch.problems:
        raise PictureError(f"{len(batch.problems)} of {len(photos)} photos could not be used: " + " ".join(batch.problems))


def _check(first: tuple[Path, Job], out: Path, *, photos_vary: bool) -> None:
    """What is wrong with every picture shows before anything is loaded; a bad photo costs its own pictures alone."""
    from lib_instantid.hosts.embedded.record import check_out, check_sources

    check_sources(first[1], first_photos=not photos_vary)
    check_out(out)


def _jobs(args: argparse.Namespace, photo: Path | None, prompts: list[str], job_of: JobOf) -> Iterator[tuple[Path, Job]]:
    """The file and job of each prompt."""
    own = {} if photo is None else {"photo": [str(photo)]}
    name = "" if photo is None else f"{photo.name}-"
    for number, prompt in enumerate(prompts, 1):
        one = argparse.Namespace(**{**vars(args), **own, "prompt": prompt})
        yield args.out / f"{name}{number:03}.png", job_of(one)


@dataclasses.dataclass(kw_only=True)
class _Batch:
    host: EmbeddedHost
    weights: dict[str, str]
    identities: Path
    total: int
    made: int = 0
    there: int = 0
    done: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def make(self, photo: str, jobs: Iterator[tuple[Path, Job]]) -> None:
        """The pictures of one photo; what is wrong with it will be wrong with every prompt."""
        try:
            for path, job in jobs:
                self._make(path, job)
        except (PictureError, NoFaceFound) as error:
            self.problems.append(f"{photo}: {error}")
            print(f"{photo}: {error}")

    def _make(self, path: Path, job: Job) -> None:
        from lib_instantid.hosts.embedded.record import record, save_pictures

        inputs = {**self.weights, **inputs_of(job, self.identities)}
        if is_made(path, job, inputs):
            self.there += 1
            print(f"{self.made + self.there}/{self.total} {path} was there")
            return
        started = time.perf_counter()
        result = self.host.generate(job)
        save_pictures(path, {**record(job, result), "inputs": inputs}, result)
        self.made += 1
        print(f"{self.made + self.there}/{self.total} {path} {time.perf_counter() - started:.1f} s")


def is_made(path: Path, job: Job, inputs: dict[str, str]) -> bool:
    """Whether the file is the finished picture of this job, not an earlier one of other settings, prompts or inputs."""
    try:
        with Image.open(path) as image:
            values = json.loads(getattr(image, "text", {})["instantid"])
        people = values["settings"]["people"]
        same = [_same(values["job"], job, {"settings", "init_picture"}), _same(values["settings"], job.settings, {"people"})]
        pairs = zip(people, job.settings.people, strict=True)
        return values["inputs"] == inputs and all(same + [_same(found, person, INPUTS) for found, person in pairs])
    except (OSError, ValueError, LookupError, TypeError):
        return False


INPUTS = {"photos", "photo_keypoints", "pose_picture", "region"}
"""What a record has as hashes, or not at all."""


def _same(found: dict[str, Any], wanted: Job | Settings | Person, left_out: set[str]) -> bool:
    values = {field.name: getattr(wanted, field.name) for field in dataclasses.fields(wanted) if field.name not in left_out}
    return {name: found[name] for name in values} == json.loads(json.dumps(values))


def inputs_of(job: Job, identities: Path) -> dict[str, str]:
    """A hash of each file that goes into a picture, and of points by hand. Raises PictureError where one cannot be read."""
    found = {"init_picture": _content(job.init_picture, "init_picture")}
    for number, person in enumerate(job.settings.people, 1):
        field = f"people[{number}]"
        found |= {f"{field}.photos[{i}]": _content(photo, f"{field}.photos[{i}]") for i, photo in enumerate(person.photos, 1)}
        found |= {f"{field}.{name}": _content(getattr(person, name), f"{field}.{name}") for name in ("pose_picture", "region")}
        found[f"{field}.photo_keypoints"] = _hash(json.dumps(person.photo_keypoints).encode())
        if person.identity is not None:
            found[f"{field}.identity"] = _hash(load_identity(person.identity, identities).embedding.tobytes())
    return found


def _content(source: Any, field: str) -> str:
    return "" if source is None else _hash(file_bytes(source, field))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _weights(args: argparse.Namespace) -> dict[str, str]:
    """Size and time of the files that the options of weights and face models name: they are too large to be read twice."""
    options = {name: getattr(args, name) for name in WEIGHTS}
    return {name: str(value) if value is None else _stamp(Path(value)) for name, value in options.items()}


WEIGHTS = ("checkpoint", "checkpoint_config", "adapter", "identitynet", "models_dir", "face_models", "face_backend", "dtype")


def _stamp(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    stats = [(str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return f"{path.name} {_hash(repr(stats).encode())}"
