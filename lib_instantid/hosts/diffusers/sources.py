"""Gives the systems the networks of the diffusers host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.hosts.diffusers.preprocessors import preprocessors
from lib_instantid.weights.reading import Weights, read_outline

Files = Mapping[str, Mapping[str, Path]]
"""The files of each role, by name."""


def _never(role: str, path: Path) -> Any:
    raise AssertionError(f"{role}: {path} is not to be loaded")


class LoadedSources:
    """See `adapters.family.Sources`.

    networks: those that were loaded when the host was opened, one for each role. files: of roles of which a generation may use
    several. load: reads such a file and moves its network to the device, when the network is first used. identities: the folder
    of saved identities. context: see `family.Sources.context_size`.
    """

    def __init__(
        self,
        *,
        analyser: Photos,
        identities: Path,
        networks: Mapping[str, object],
        files: Files | None = None,
        load: Callable[[str, Path], Any] = _never,
        context: int | None = None,
    ) -> None:
        self.analyser = analyser
        self.identities = identities
        self.context_size = context
        self._networks = networks
        self._files = files or {}
        self._load = load
        self._loaded: dict[Path, Any] = {}

    def network(self, role: str, name: str | None = None) -> Any:
        found = self.file_name(role, name, role)
        if role not in self._files:
            return self._networks[role]
        path = self._files[role][found]
        if path not in self._loaded:
            self._loaded[path] = self._load(role, path)
        return self._loaded[path]

    def outline(self, role: str, name: str) -> Weights:
        return read_outline(self._files[role][name])

    def file_name(self, role: str, name: str | None, field: str) -> str:
        there = self.names(role)
        if not there:
            raise MissingModelFile(f"{role}: this host was opened without one; name its file.")
        if role in self._files and name is not None and name not in there:
            raise SettingsError(f"{field}: found {name!r}, expected {' or '.join(map(repr, there))}, or none.")
        if role not in self._files and name not in (None, role):
            raise SettingsError(
                f"{field}: found {name!r}, and this host has one {role}, which it was opened with; leave it out."
            )
        return name or there[0]

    def names(self, role: str) -> tuple[str, ...]:
        if role in self._files:
            return tuple(self._files[role])
        return (role,) if role in self._networks else ()

    @property
    def preprocessors(self) -> Preprocessors:
        """See `family.Sources`."""
        return preprocessors()
