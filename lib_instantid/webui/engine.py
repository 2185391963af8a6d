"""The networks and the face analyser of a running WebUI: found by content, loaded once, moved where they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.face.analyser import Analyser, open_analyser
from lib_instantid.hosts.model_files import FoundModel, ReleasedFile, Role, find_models, missing
from lib_instantid.nets.adapter import FaceTokenMaker, load_adapter
from lib_instantid.nets.identitynet import IdentityNet, load_identitynet
from lib_instantid.nets.storage import Storage, store
from lib_instantid.webui.remembering import FaceOptions, RememberingAdapter, RememberingAnalyser


@dataclass(frozen=True, kw_only=True)
class Files:
    """identitynets: by their names, the one that is used unless another is named first."""

    adapter: Path
    identitynets: Mapping[str, Path]
    face_models: Path

    def exist(self) -> bool:
        return all(path.exists() for path in (self.adapter, *self.identitynets.values(), self.face_models))


@dataclass(frozen=True, kw_only=True)
class Missing:
    """text: what is missing, where it was looked for, and the cure. files: the released ones that would complete it."""

    text: str
    files: tuple[ReleasedFile, ...]


class Keep(Enum):
    """What becomes of the networks between generations."""

    GPU = "GPU"
    CPU = "CPU memory"
    NOTHING = "not at all"


class Engine:
    """Owns what is loaded. Nothing is read before the first use.

    folders, keep, faces and storage are asked when they matter, since a person may change them while the WebUI runs.
    """

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        keep: Callable[[], Keep],
        faces: Callable[[], FaceOptions] = FaceOptions,
        storage: Callable[[], Storage] = Storage,
    ) -> None:
        self._folders = folders
        self._keep = keep
        self._faces = faces
        self._storage = storage
        self._files: Files | None = None
        self._adapter = RememberingAdapter(lambda: load_adapter(self._found().adapter))
        self._identitynet: IdentityNet | None = None
        self._loaded: tuple[Path, Storage] | None = None
        self._analyser: RememberingAnalyser | None = None
        self._opening = threading.Lock()

    @property
    def adapter(self) -> FaceTokenMaker:
        self._found()
        return self._adapter

    def identitynet(self, name: str | None = None) -> IdentityNet:
        """The one of this name, None for the first. Raises SettingsError where there is none of the name."""
        wanted = self._found().identitynets[self.identitynet_name(name)], self._storage()
        if self._identitynet is None or self._loaded != wanted:
            self._identitynet = None
            net = load_identitynet(wanted[0])
            store(net, wanted[1])
            self._identitynet, self._loaded = net, wanted
        return self._identitynet

    def identitynet_name(self, name: str | None) -> str:
        """Of the one that is used where this name, or None for the first, is wanted. Raises as `identitynet`."""
        names = self.identitynet_names()
        if name is not None and name not in names:
            raise SettingsError(
                f"identitynet_file: found {name!r}, expected {' or '.join(map(repr, names))}, or none for the first."
            )
        return name or names[0]

    def identitynet_names(self) -> tuple[str, ...]:
        """Of all that are there, the one that is used unless another is named first. Raises MissingModelFile."""
        return tuple(self._found().identitynets)

    @property
    def analyser(self) -> Analyser:
        """One for generations, panel and API, who may ask at once."""
        wanted = self._faces()
        with self._opening:
            kept = self._analyser
            if kept is None or kept.options != wanted:
                opened = open_analyser(wanted.backend, self._found().face_models, wanted.provider)
                kept = self._analyser = RememberingAnalyser(opened, wanted)
            return kept

    def missing(self) -> Missing | None:
        """What is missing of the model files; None where every one is there."""
        found = self._look()
        return found if isinstance(found, Missing) else None

    @property
    def rests(self) -> bool:
        """Whether the GPU is to be freed when a pass is over."""
        return self._keep() is not Keep.GPU

    def release(self) -> bool:
        """A generation is over: forget what is loaded, if the person wants that. Returns whether it did."""
        wanted = self._keep() is Keep.NOTHING
        if wanted:
            self.forget()
        return wanted

    def forget(self) -> None:
        """What is needed again will be read again."""
        self._adapter.forget()
        self._identitynet = self._analyser = None

    def _found(self) -> Files:
        found = self._look()
        if isinstance(found, Missing):
            raise MissingModelFile(found.text)
        return found

    def _look(self) -> Files | Missing:
        """Through the folders, unless the files of the last time are still there."""
        if self._files is not None and self._files.exist():
            return self._files
        folders = self._folders()
        found = choose_files(find_models(folders), folders)
        self._files = None if isinstance(found, Missing) else found
        return found


def choose_files(found: Sequence[FoundModel], folders: Sequence[Path]) -> Files | Missing:
    """The first file of each role, and every IdentityNet; one that calls itself InstantID's before one that says nothing.

    Or what is missing and where it was looked for."""
    ordered = sorted(found, key=lambda model: not model.named)
    first: dict[Role | None, Path] = {}
    nets: dict[str, Path] = {}
    for model in ordered:
        first.setdefault(model.role, model.path)
        if model.role is Role.IDENTITYNET:
            nets.setdefault(_name(model.path, folders), model.path)
    absent = [role.value for role in Role if role not in first]
    if not absent:
        return Files(
            adapter=first[Role.ADAPTER],
            identitynets=nets,
            face_models=first[Role.RECOGNISER].parent,
        )
    text = (
        f"InstantID's model files are missing: {', '.join(absent)}. Looked in {', '.join(map(str, folders))}."
        + "".join(f" Not readable: {model.path}, {model.problem}" for model in found if model.problem)
        + " Put ip-adapter.bin and ControlNetModel of InstantX/InstantID, and antelopev2 (non-commercial research only), "
        "into one of these folders; any file name will do."
    )
    return Missing(text=text, files=missing(found))


def _name(path: Path, folders: Sequence[Path]) -> str:
    """As it lies below one of the folders, since all of the hub's have the same file name."""
    above = (folder.expanduser() for folder in folders)
    return next((path.relative_to(folder) for folder in above if path.is_relative_to(folder)), Path(path.name)).as_posix()
