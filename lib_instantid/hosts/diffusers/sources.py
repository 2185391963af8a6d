"""Gives the systems the networks that were loaded when the diffusers host was opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import MissingModelFile, SettingsError


class LoadedSources:
    """See `adapters.family.Sources`. networks: one for each role. identities: the folder of saved identities."""

    def __init__(
        self, *, analyser: Photos, identities: Path, networks: Mapping[str, object], context_size: int | None = None
    ) -> None:
        self.analyser = analyser
        self.identities = identities
        self.context_size = context_size
        self._networks = networks

    def network(self, role: str, name: str | None = None) -> Any:
        self.file_name(role, name, role)
        return self._networks[role]

    def file_name(self, role: str, name: str | None, field: str) -> str:
        if name not in (None, role):
            raise SettingsError(
                f"{field}: found {name!r}, and this host has one {role}, which it was opened with; leave it out."
            )
        if role not in self._networks:
            raise MissingModelFile(f"{role}: this host was opened without one; name its file.")
        return role

    def names(self, role: str) -> tuple[str, ...]:
        return (role,) if role in self._networks else ()
