"""The released model files: which of them lie below some folders, what else lies there, what is missing and where to get it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib_instantid.errors import BadModelFile, MissingModelFile
from lib_instantid.face.model_files import DETECTOR_FILE, PACKAGE, RECOGNISER_FILE
from lib_instantid.nets.kinds import Kind, recognise, says_instantid
from lib_instantid.nets.weights import WEIGHT_SUFFIXES, read_outline

HUB = "https://huggingface.co"
INSTANTID = "InstantX/InstantID"
NET = "ControlNetModel"
APACHE = "Apache-2.0"
RESEARCH_ONLY = "non-commercial research only"
MEGABYTE = 1_000_000

ONNX_START = b"\x08"
"""An ONNX file starts with its version number's field."""


class Role(Enum):
    """What InstantID uses a file as."""

    ADAPTER = "adapter"
    IDENTITYNET = "IdentityNet"
    DETECTOR = "face detector"
    RECOGNISER = "face recogniser"


FACE_FILES = {DETECTOR_FILE: Role.DETECTOR, RECOGNISER_FILE: Role.RECOGNISER}
KIND_ROLES = {Kind.ADAPTER: Role.ADAPTER, Kind.IDENTITYNET: Role.IDENTITYNET, Kind.OTHER: None}


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A published file.

    repository, path: on the hub. subfolder: below the person's folder, where `path` is kept; empty for the folder itself.
    megabytes: about, 0 for less than one. licence: in words. sha256: hexadecimal, of the published file.
    """

    role: Role
    repository: str
    path: str
    subfolder: str = ""
    megabytes: int
    licence: str
    sha256: str

    @property
    def size(self) -> str:
        """The size in words."""
        return f"about {self.megabytes} MB" if self.megabytes else "under 1 MB"

    def url(self, endpoint: str = HUB) -> str:
        """Where a browser fetches it. endpoint: address of the hub or of a mirror of it."""
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/main/{quote(self.path)}"

    def below(self, folder: Path) -> Path:
        """Where it belongs below the person's folder."""
        return folder / self.subfolder / self.path


RELEASED = (
    ReleasedFile(
        role=Role.ADAPTER,
        repository=INSTANTID,
        path="ip-adapter.bin",
        megabytes=1690,
        licence=APACHE,
        sha256="02b3618e36d803784166660520098089a81388e61a93ef8002aa79a5b1c546e1",
    ),
    ReleasedFile(
        role=Role.IDENTITYNET,
        repository=INSTANTID,
        path=f"{NET}/config.json",
        megabytes=0,
        licence=APACHE,
        sha256="2480c42f363d712faae8d0e17cb850a5d1e4cafc232fbd022b1d43eee45234eb",
    ),
    ReleasedFile(
        role=Role.IDENTITYNET,
        repository=INSTANTID,
        path=f"{NET}/diffusion_pytorch_model.safetensors",
        megabytes=2500,
        licence=APACHE,
        sha256="c8127be9f174101ebdafee9964d856b49b634435cf6daa396d3f593cf0bbbb05",
    ),
    *(
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
    ),
)
"""What InstantID needs. The face models' archive holds three more, which it does not."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A weight file that lies there.

    role: what InstantID can use it as, None for nothing. description: what it is in words ("a plain IP-Adapter").
    size: bytes. problem: why it cannot be read, and the cure; None for one that can.
    named: whether it calls itself InstantID's.
    """

    path: Path
    role: Role | None
    description: str
    size: int
    problem: str | None = None
    named: bool = False


def find_models(folders: Sequence[Path]) -> tuple[FoundModel, ...]:
    """Every weight file at any depth below the folders, told by content whatever its name, and antelopev2's by name.

    Reads names and shapes of tensors only. Links are followed, and what is reached twice is listed once. A file that
    cannot be read is listed with its problem; a folder that does not exist has no files. Raises nothing.
    """
    return tuple(_look_into(path) for path in _weight_files(folders))


def find_role(folder: Path, role: Role) -> Path:
    """The file of a role below a folder: where the released one belongs, or else wherever `find_models` finds one.

    Raises MissingModelFile with where to get it.
    """
    released = [file for file in RELEASED if file.role is role]
    place = released[-1].below(folder)
    if place.is_file():
        return place
    found = next((model.path for model in find_models([folder]) if model.role is role), None)
    if found is None:
        raise MissingModelFile(
            f"{place}: no such file, and no other {role.value} below {folder}. Put one there, or fetch it with "
            f"`python -m lib_instantid models --download`: {released[-1].url()}"
        )
    return found


def missing(found: Sequence[FoundModel]) -> tuple[ReleasedFile, ...]:
    """The released files whose role no found file has, in the order of `RELEASED`."""
    roles = {model.role for model in found}
    return tuple(file for file in RELEASED if file.role not in roles)


def report_lines(found: Sequence[FoundModel]) -> tuple[str, ...]:
    """What was found where, what is missing and where to get it, as lines of plain text."""
    used = [f"  {model.role.value}: {model.path} ({_size(model)})" for model in found if model.role]
    other = [f"  {model.path}: {model.description}" for model in found if not model.role and not model.problem]
    unreadable = [f"  {model.path}: {model.problem}" for model in found if model.problem]
    absent = [f"  {file.role.value}: {file.url()} ({file.size}, {file.licence})" for file in missing(found)]
    sections = (
        ("Found for InstantID:", used or ["  nothing"]),
        ("Other weight files, which InstantID does not use:", other),
        ("Weight files that cannot be read:", unreadable),
        ("Missing; `python -m lib_instantid models --download` fetches:", absent),
    )
    lines = [line for title, entries in sections if entries for line in (title, *entries)]
    return (*lines, f"The face models ({PACKAGE}) are for {RESEARCH_ONLY}.")


def report_dict(found: Sequence[FoundModel]) -> dict[str, Any]:
    """The same report as JSON-able values: the fields of the found models and missing files; roles by their values."""
    return {
        "found": [
            {**asdict(model), "path": str(model.path), "role": model.role.value if model.role else None} for model in found
        ],
        "missing": [{**asdict(file), "role": file.role.value, "url": file.url()} for file in missing(found)],
    }


def _size(model: FoundModel) -> str:
    return f"{model.size / MEGABYTE:.0f} MB" if model.size >= MEGABYTE else f"{model.size} bytes"


def _weight_files(folders: Sequence[Path]) -> Iterator[Path]:
    """realpath rather than resolve: a link to itself is no error to it."""
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
                if (path.suffix.lower() in WEIGHT_SUFFIXES or path.name in FACE_FILES) and real not in seen:
                    seen.add(real)
                    yield path


def _look_into(path: Path) -> FoundModel:
    size, named = 0, False
    try:
        if not path.is_file():
            raise BadModelFile("not a file, or a link to a file that is not there. Remove it.")
        size = path.stat().st_size
        if path.name in FACE_FILES:
            role, description = _face_model(path)
        else:
            weights = read_outline(path)
            (kind, description), named = recognise(weights), says_instantid(weights)
            role = KIND_ROLES[kind]
    except (BadModelFile, MissingModelFile, OSError) as error:
        problem = str(error).removeprefix(f"{path}: ")
    else:
        return FoundModel(path=path, role=role, description=description, size=size, named=named)
    return FoundModel(path=path, role=None, description="not readable", size=size, problem=problem)


def _face_model(path: Path) -> tuple[Role | None, str]:
    """Detector and recogniser are used only together: each needs the other beside it."""
    if _start(path) != ONNX_START:
        raise BadModelFile("this is no ONNX model, but perhaps a web page or a Git LFS pointer. Fetch it again.")
    role = FACE_FILES[path.name]
    absent = [name for name in FACE_FILES if not path.with_name(name).is_file()]
    if absent:
        return None, f"{PACKAGE}'s {role.value}, of no use without {absent[0]} beside it"
    return role, f"{PACKAGE}'s {role.value}, for {RESEARCH_ONLY}"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)
