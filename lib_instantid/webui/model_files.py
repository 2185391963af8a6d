"""Finds the model files of each role in a WebUI's folders, and tells which are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_instantid.adapters import FAMILIES, SYSTEM_FILES
from lib_instantid.adapters.family import Family
from lib_instantid.encoders.face.model_files import PACKAGE
from lib_instantid.errors import MissingModelFile
from lib_instantid.weights.finding import DETECTOR, RECOGNISER, RESEARCH_ONLY, FoundModel, find_models, missing
from lib_instantid.weights.system_files import ReleasedFile


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a system lacks. family: the system. text: the missing files, the folders searched, and the cure. files: the released
    files to get."""

    family: Family
    text: str
    files: tuple[ReleasedFile, ...]


class ModelFiles:
    """The model files in the folders. Searches again only if a file found earlier is gone, or none was found."""

    def __init__(self, folders: Callable[[], Sequence[Path]]) -> None:
        self._folders = folders
        self._of: Mapping[str, Mapping[str, Path]] = {}
        self._found: tuple[FoundModel, ...] = ()
        self._looked = False

    def of(self, role: str) -> Mapping[str, Path]:
        """The role's files by name, beginning with the one used by default. Raises MissingModelFile: there is none."""
        if not self._still_there(role):
            self._look()
        if role not in self._of:
            family = next((family for family in FAMILIES if role in family.files.roles), FAMILIES[0])
            raise MissingModelFile(self._missing(family).text)
        return self._of[role]

    def names(self, role: str) -> tuple[str, ...]:
        """As `of`; empty where there is none. The panel asks every few seconds, so the folders are looked through once."""
        if not self._looked:
            self._look()
        return tuple(self._of.get(role, ()))

    def missing(self) -> tuple[Missing, ...]:
        """What each system lacks that has not all the files it needs. Searches again only if no system has."""
        if not any(all(map(self._still_there, _needed(family))) for family in FAMILIES):
            self._look()
        lacking = (family for family in FAMILIES if any(role not in self._of for role in _needed(family)))
        return tuple(map(self._missing, lacking))

    def _still_there(self, role: str) -> bool:
        return role in self._of and all(path.exists() for path in self._of[role].values())

    def _look(self) -> None:
        folders = self._folders()
        self._looked = True
        self._found = find_models(folders, SYSTEM_FILES)
        self._of = by_role(self._found, folders)

    def _missing(self, family: Family) -> Missing:
        absent = [role for role in _needed(family) if role not in self._of]
        folders = ", ".join(map(str, self._folders()))
        faces = f", and {PACKAGE} ({RESEARCH_ONLY})" if family.needs_faces else ""
        return Missing(
            family=family,
            text=f"{family.title}'s model files are missing: {', '.join(absent)}. Looked in {folders}."
            + "".join(f" Not readable: {model.path}, {model.problem}" for model in self._found if model.problem)
            + f" Put {family.files.wanted}{faces}, into one of these folders; any file name will do.",
            files=tuple(file for file in missing(self._found, [family.files]) if file.role in _needed(family)),
        )


def _needed(family: Family) -> tuple[str, ...]:
    return (*family.files.roles, *((DETECTOR, RECOGNISER) if family.needs_faces else ()))


def by_role(found: Sequence[FoundModel], folders: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """The files of each role by name. Files whose name or metadata says that they are the system's come first."""
    of: dict[str, dict[str, Path]] = {}
    for model in sorted(found, key=lambda model: not model.named):
        if model.role is not None:
            of.setdefault(model.role, {}).setdefault(_name(model.path, folders), model.path)
    return of


def _name(path: Path, folders: Sequence[Path]) -> str:
    """The path below one of the folders, as a name. The file name is not enough, as the hub's files all have the same one."""
    above = (folder.expanduser() for folder in folders)
    return next((path.relative_to(folder) for folder in above if path.is_relative_to(folder)), Path(path.name)).as_posix()
