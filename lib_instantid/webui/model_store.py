"""Holds the networks and the face analyser of a running WebUI: finds their files and loads each once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn

from lib_instantid.adapters import LOADERS
from lib_instantid.adapters.family import Preprocessors
from lib_instantid.adapters.fields import PREPROCESSOR
from lib_instantid.conditioning.sites import context_size
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.identity_files import list_identities
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import SettingsError
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.webui.model_files import Missing, ModelFiles
from lib_instantid.weights.finding import RECOGNISER
from lib_instantid.weights.reading import Weights, read_outline
from lib_instantid.weights.storage import Storage, store


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """How faces are analysed. backend, provider: see `open_analyser`. remembered: see `Photos`."""

    backend: str = "builtin"
    provider: str = "cpu"
    remembered: int = 32


class Keep(Enum):
    """Where the networks are kept between generations."""

    GPU = "GPU"
    CPU = "CPU memory"
    NOTHING = "not at all"


class ModelStore:
    """Owns the loaded networks and the analyser. Nothing is loaded before its first use.

    folders, keep, identities, faces and storage are called at each use, as their settings may change while the WebUI runs.
    """

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        keep: Callable[[], Keep],
        identities: Callable[[], Path],
        faces: Callable[[], FaceOptions] = FaceOptions,
        storage: Callable[[], Storage] = Storage,
        unet: Callable[[], nn.Module | None] = lambda: None,
        preprocessors: Callable[[], Preprocessors] = Preprocessors,
    ) -> None:
        self._keep = keep
        self._identities = identities
        self._faces = faces
        self._storage = storage
        self._unet = unet
        self._preprocessors = preprocessors
        self._files = ModelFiles(folders)
        self._loaded: dict[tuple[str, Path, Storage], Any] = {}
        self._outlines: dict[Path, Weights] = {}
        self._used: set[tuple[str, Path, Storage]] = set()
        self._analyser: tuple[FaceOptions, Photos] | None = None
        self._opening = threading.Lock()

    @property
    def identities(self) -> Path:
        return self._identities()

    def network(self, role: str, name: str | None = None) -> Any:
        """See `family.Sources`. A role's networks that this generation has not used leave before another of its files is
        read, as their memory may be needed."""
        wanted = role, self._files.of(role)[self.file_name(role, name, role)], self._storage()
        self._used.add(wanted)
        if wanted not in self._loaded:
            for other in [own for own in self._loaded if own[0] == role and own not in self._used]:
                del self._loaded[other]
            network = LOADERS[role](wanted[1])
            if isinstance(network, ControlNet):
                store(network, wanted[2])
            self._loaded[wanted] = network
        return self._loaded[wanted]

    @property
    def context_size(self) -> int | None:
        """See `family.Sources`."""
        unet = self._unet()
        return None if unet is None else context_size(unet)

    def outline(self, role: str, name: str) -> Weights:
        """See `family.Sources`."""
        path = self._files.of(role)[self.file_name(role, name, role)]
        if path not in self._outlines:
            self._outlines[path] = read_outline(path)
        return self._outlines[path]

    @property
    def preprocessors(self) -> Preprocessors:
        """See `family.Sources`."""
        return self._preprocessors()

    def file_name(self, role: str, name: str | None, field: str) -> str:
        """See `family.Sources`."""
        there = self._files.of(role)
        if name is not None and name not in there:
            raise SettingsError(f"{field}: found {name!r}, expected {' or '.join(map(repr, there))}, or none for the first.")
        return name or next(iter(there))

    def names(self, role: str) -> tuple[str, ...]:
        """See `family.Sources`."""
        return self._files.names(role)

    def stored(self, kind: str) -> tuple[str, ...]:
        """The stored values of a `Name` setting. kind: "identity" for saved identities, `PREPROCESSOR` for the host's, or a
        role for its files."""
        if kind == PREPROCESSOR:
            return tuple(self.preprocessors.by_name)
        return tuple(list_identities(self.identities)) if kind == "identity" else self.names(kind)

    @property
    def analyser(self) -> Photos:
        """The analyser that generations, panel and API share. They may use it at the same time."""
        wanted = self._faces()
        with self._opening:
            if self._analyser is None or self._analyser[0] != wanted:
                opened = open_analyser(wanted.backend, self._face_models(), wanted.provider)
                self._analyser = wanted, Photos(opened, wanted.remembered)
            return self._analyser[1]

    def missing(self) -> tuple[Missing, ...]:
        """See `ModelFiles.missing`."""
        return self._files.missing()

    @property
    def rests(self) -> bool:
        """Whether networks leave the GPU after each pass."""
        return self._keep() is not Keep.GPU

    def release(self) -> bool:
        """Call after a generation: forgets everything loaded if the settings say so. Returns whether it did."""
        self._used.clear()
        wanted = self._keep() is Keep.NOTHING
        if wanted:
            self.forget()
        return wanted

    def forget(self) -> None:
        """Drop everything loaded. The next use loads it again."""
        self._loaded.clear()
        self._used.clear()
        self._analyser = None

    def _face_models(self) -> Path:
        """The folder of detector and recogniser."""
        return next(iter(self._files.of(RECOGNISER).values())).parent
