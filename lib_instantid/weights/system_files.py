"""Describes a system's weight files: how to recognise and load them, and where they were published."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from lib_instantid.weights.reading import Weights

HUB = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A published file.

    role: what the file is used as, in words. repository, path: its place on the hub. subfolder: the folder for `path` below
    the person's folder; empty for the latter itself. megabytes: approximate size, 0 for less than one. licence: in words.
    sha256: hexadecimal; None if it is not known here, and then a person has to fetch the file.
    """

    role: str
    repository: str
    path: str
    subfolder: str = ""
    megabytes: int
    licence: str
    sha256: str | None

    @property
    def size(self) -> str:
        """The size in words."""
        return f"about {self.megabytes} MB" if self.megabytes else "under 1 MB"

    def url(self, endpoint: str = HUB) -> str:
        """The address for a browser. endpoint: address of the hub or a mirror of it."""
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/main/{quote(self.path)}"

    def below(self, folder: Path) -> Path:
        """The path at which the file belongs below the person's folder."""
        return folder / self.subfolder / self.path


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What a file is. role: what a system can use it as; None if none can. description: in words ("a LoRA"). named: whether
    its name or metadata says that it is for that system."""

    role: str | None
    description: str
    named: bool = False


@dataclass(frozen=True, kw_only=True)
class SystemFiles:
    """The weight files of a system.

    released: the published files of each role. recognise: says what a file is; None if the system does not know it. load: for
    each role, a function that makes the network (or another object) of the file's path. several: whether one generation may use
    several files of a role. wanted: the files to get, for the message that they are missing. onnx: the roles of ONNX models, by
    the names of their files, which alone tell what they are. unneeded: for a role, whether a file of the first role can do
    without it.
    """

    released: tuple[ReleasedFile, ...]
    recognise: Callable[[Weights], Recognised | None]
    load: dict[str, Callable[[Path], Any]]
    wanted: str
    onnx: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    unneeded: Mapping[str, Callable[[Path], bool]] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the released files, each once."""
        return tuple(dict.fromkeys(file.role for file in self.released))

    def needs(self, role: str, first: Collection[Path]) -> bool:
        """Whether a role's file is needed with these files of the first role."""
        without = self.unneeded.get(role)
        return without is None or not all(map(without, first))
