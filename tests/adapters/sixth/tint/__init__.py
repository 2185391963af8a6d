"""Tint: a colour as a further word of the text. Made up, to see what a system needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters import record
from lib_instantid.adapters.common import Common, Entry
from lib_instantid.adapters.family import Family, Size, Sources
from lib_instantid.adapters.fields import Choice, Entries, Number, PictureInput, PictureSource, setting
from lib_instantid.conditioning.parts import Conditioning, ContextPart
from lib_instantid.weights.reading import Weights, read_weights
from lib_instantid.weights.system_files import Recognised, ReleasedFile, SystemFiles

ROLE = "TintNet"
COLOURS = {"red": 0, "green": 1, "blue": 2}


@dataclass(frozen=True, kw_only=True)
class Tint(Entry):
    """One colour."""

    colour: str = setting("red", Choice(options=tuple(COLOURS)), "Colour", "which colour")
    strength: float = setting(0.5, Number(low=0.0, high=2.0), "Strength", "how much of it", place="advanced")
    sample: PictureSource | None = setting(None, PictureInput(), "Sample", "a picture of the colour")


@dataclass(frozen=True, kw_only=True)
class TintSettings(Common):
    """Tint's part of the settings."""

    tints: Sequence[Tint] = setting((), Entries(of=Tint, most=3, title="tint", needs="a colour"), "tints", "1 to 3 tints")
    tint_start: float = setting(0.0, Number(low=0.0, high=1.0), "Tint starts", "fraction of the steps", place="advanced")


class TintRun:
    def __init__(self, settings: TintSettings, sources: Sources) -> None:
        self._settings, self._sources = settings, sources

    def advice(self, size: Size) -> tuple[str, ...]:
        del size
        self._sources.file_name(ROLE, None, ROLE)
        return ()

    def conditioning(self, size: Size) -> Conditioning:
        table: Tensor = self._sources.network(ROLE, None)
        words = [tint.strength * table[COLOURS[tint.colour]][None] for tint in self._settings.tints]
        return Conditioning(
            parts=tuple(ContextPart(tokens=torch.stack([torch.zeros_like(word), word])) for word in words), size=size
        )

    def recorded(self, size: Size) -> Mapping[str, Any]:
        del size
        return record.recorded(self._settings, FAMILY)

    def metadata(self, size: Size) -> Mapping[str, Any]:
        del size
        return {}

    @property
    def embeddings(self) -> tuple[np.ndarray, ...]:
        return ()

    def control_maps(self, size: Size) -> tuple[np.ndarray, ...]:
        del size
        return ()


def _recognise(weights: Weights) -> Recognised | None:
    return Recognised(role=ROLE, description="a TintNet") if "tint.weight" in weights.tensors else None


def _load(path: Path) -> Tensor:
    return read_weights(path).tensors["tint.weight"].float()


FAMILY = Family(
    title="Tint",
    settings=TintSettings,
    wanted="add a tint",
    files=SystemFiles(
        released=(
            ReleasedFile(
                role=ROLE, repository="tint/tint", path="tint.safetensors", megabytes=1, licence="none", sha256="0" * 64
            ),
        ),
        recognise=_recognise,
        load={ROLE: _load},
        wanted="tint.safetensors of tint/tint",
    ),
    begin=TintRun,
    restored=lambda values, _: record.restored(values, FAMILY),
    check=lambda _: None,
)
