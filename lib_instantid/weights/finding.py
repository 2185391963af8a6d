"""Finds weight files below folders, and tells which released files are missing and where to get them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib_instantid.encoders.face.model_files import DETECTOR_FILE, PACKAGE, RECOGNISER_FILE
from lib_instantid.errors import BadModelFile, MissingModelFile
from lib_instantid.weights.kinds import recognise
from lib_instantid.weights.reading import DIFFUSERS_STEM, WEIGHT_SUFFIXES, read_outline
from lib_instantid.weights.system_files import Recognised, ReleasedFile, SystemFiles

RESEARCH_ONLY = "non-commercial research only"
MEGABYTE = 1_000_000

ONNX_START = b"\x08"
"""First byte of an ONNX file: the tag of its version number."""


DETECTOR = "face detector"
RECOGNISER = "face recogniser"
FACE_FILES = {DETECTOR_FILE: DETECTOR, RECOGNISER_FILE: RECOGNISER}
FACE_MODELS = tuple(
    ReleasedFile(
        role=FACE_FILES[name],
        repository="DIAMONIK7777/antelopev2",
        path=name,
        subfolder=PACKAGE,
        megabytes=megabytes,
        licence=RESEARCH_ONLY,
        sha256=sha256,
    )
    for name, megabytes, sha256 in (
        (DETECTOR_FILE, 17, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
        (RECOGNISER_FILE, 261, "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"),
    )
)
"""The face models that every system with faces needs. The published archive holds three more files, which are not needed."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A weight file that was found.

    role: what a system can use it as; None if no system can use it. description: what it is, in words ("a plain IP-Adapter").
    size: bytes. problem: why it cannot be read, and the cure; None if it can be read.
    named: whether its name or metadata says that it is for that system.
    """

    path: Path
    role: str | None
    description: str
    size: int
    problem: str | None = None
    named: bool = False


def find_models(folders: Sequence[Path], systems: Sequence[SystemFiles]) -> tuple[FoundModel, ...]:
    """Every weight file at any depth below the folders. Its content tells what it is, except for antelopev2's files, whose
    names tell.

    systems: those whose files are recognised.

    Reads only names and shapes of tensors. Follows links, and lists a file once even if several links lead to it. A file that
    cannot be read is listed with its problem; a missing folder counts as empty. Raises nothing.
    """
    models = {name: role for system in systems for name, role in system.onnx.items()}
    return tuple(_look_into(path, systems, models) for path in _weight_files(folders, FACE_FILES.keys() | models.keys()))


def find_role(folder: Path, role: str, systems: Sequence[SystemFiles]) -> Path:
    """The file of a role below a folder: at the place of the released file, or else the first that `find_models` finds.

    Raises MissingModelFile, which names where to get it.
    """
    released = [file for file in _released(systems) if file.role == role]
    place = released[-1].below(folder)
    if place.is_file():
        return place
    found = next((model.path for model in find_models([folder], systems) if model.role == role), None)
    if found is None:
        raise MissingModelFile(
            f"{place}: no such file, and no other {role} below {folder}. Put one there, or fetch it with "
            f"`python -m lib_instantid models --download`: {released[-1].url()}"
        )
    return found


def named_files(folder: Path, role: str, systems: Sequence[SystemFiles], given: Sequence[Path] = ()) -> dict[str, Path]:
    """The given files and those of a role below a folder, by names: the path below the folder, or a given file's own name.

    Raises MissingModelFile: there is none, see `find_role`.
    """
    own = {(path.parent if path.name.startswith(DIFFUSERS_STEM) else path).name: path for path in given}
    below = [model.path for model in find_models([folder], systems) if model.role == role]
    named = {path.relative_to(folder.expanduser()).as_posix(): path for path in below}
    return {**own, **named} or {"": find_role(folder, role, systems)}


def missing(found: Sequence[FoundModel], systems: Sequence[SystemFiles]) -> tuple[ReleasedFile, ...]:
    """The released files, of the systems and the face models, whose role no found file has."""
    roles = {model.role for model in found}
    return tuple(file for file in _released(systems) if file.role not in roles)


def _released(systems: Sequence[SystemFiles]) -> tuple[ReleasedFile, ...]:
    return (*(file for system in systems for file in system.released), *FACE_MODELS)


def report_lines(found: Sequence[FoundModel], systems: Sequence[SystemFiles]) -> tuple[str, ...]:
    """Lines of plain text about the files that were found, those that are missing, and where to get them."""
    used = [f"  {model.role}: {model.path} ({_size(model)})" for model in found if model.role]
    other = [f"  {model.path}: {model.description}" for model in found if not model.role and not model.problem]
    unreadable = [f"  {model.path}: {model.problem}" for model in found if model.problem]
    absent = missing(found, systems)
    fetched, by_hand = ([_where(file) for file in absent if bool(file.sha256) is known] for known in (True, False))
    sections = (
        ("Found for InstantID:", used or ["  nothing"]),
        ("Other weight files, which InstantID does not use:", other),
        ("Weight files that cannot be read:", unreadable),
        ("Missing; `python -m lib_instantid models --download` fetches:", fetched),
        ("Optional, to be fetched by hand:", by_hand),
    )
    lines = [line for title, entries in sections if entries for line in (title, *entries)]
    return (*lines, f"The face models ({PACKAGE}) are for {RESEARCH_ONLY}.")


def _where(file: ReleasedFile) -> str:
    return f"  {file.role}: {file.url()} ({file.size}, {file.licence})"


def report_dict(found: Sequence[FoundModel], systems: Sequence[SystemFiles]) -> dict[str, Any]:
    """The report as values for JSON: the fields of the found models and of the missing files."""
    return {
        "found": [{**asdict(model), "path": str(model.path)} for model in found],
        "missing": [{**asdict(file), "url": file.url()} for file in missing(found, systems)],
    }


def _size(model: FoundModel) -> str:
    return f"{model.size / MEGABYTE:.0f} MB" if model.size >= MEGABYTE else f"{model.size} bytes"


def _weight_files(folders: Sequence[Path], models: Collection[str]) -> Iterator[Path]:
    """Every file with the name of a weight file, once. models: names of ONNX models.

    Uses realpath, because resolve fails for a link to itself.
    """
    seen: set[str] = set()
    for folder in folders:
        for place, below, names in os.walk(Path(folder).expanduser(), followlinks=True):
            real_place = os.path.realpath(place)
            if real_place in seen:
                below.clear()
                continue
            seen.add(real_place)
            below.sort()
            for path in (Path(place, name) for name in sorted(names)):
                real = os.path.realpath(path)
                if (path.suffix.lower() in WEIGHT_SUFFIXES or path.name in models) and real not in seen:
                    seen.add(real)
                    yield path


def _look_into(path: Path, systems: Sequence[SystemFiles], models: Mapping[str, str]) -> FoundModel:
    size = 0
    try:
        if not path.is_file():
            raise BadModelFile("not a file, or a link to a file that is not there. Remove it.")
        size = path.stat().st_size
        if path.name in FACE_FILES:
            found = _face_model(path)
        elif path.name in models:
            found = _onnx_model(path, models[path.name])
        else:
            found = recognise(read_outline(path), systems)
    except (BadModelFile, MissingModelFile, OSError) as error:
        problem = str(error).removeprefix(f"{path}: ")
    else:
        return FoundModel(path=path, role=found.role, description=found.description, size=size, named=found.named)
    return FoundModel(path=path, role=None, description="not readable", size=size, problem=problem)


def _face_model(path: Path) -> Recognised:
    """Recognise a face model. Detector and recogniser are only used together, so each needs the other in its folder."""
    found = _onnx_model(path, FACE_FILES[path.name])
    absent = [name for name in FACE_FILES if not path.with_name(name).is_file()]
    if absent:
        return Recognised(role=None, description=f"{PACKAGE}'s {found.role}, of no use without {absent[0]} beside it")
    return Recognised(role=found.role, description=f"{PACKAGE}'s {found.description}")


def _onnx_model(path: Path, role: str) -> Recognised:
    if _start(path) != ONNX_START:
        raise BadModelFile("this is no ONNX model, but perhaps a web page or a Git LFS pointer. Fetch it again.")
    return Recognised(role=role, description=f"{role}, for {RESEARCH_ONLY}")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)
