"""The interface between a system and the rest of the project, and what a host provides for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lib_instantid.adapters.common import Common
from lib_instantid.adapters.fields import EntryList, lists_in
from lib_instantid.weights.system_files import SystemFiles

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from lib_instantid.conditioning.parts import Conditioning
    from lib_instantid.encoders.face.faces import Picture
    from lib_instantid.encoders.face.head_points import Head
    from lib_instantid.encoders.face.photos import Look, Photos
    from lib_instantid.weights.reading import Weights

Size = tuple[int, int]
"""Width and height of the output in pixels."""


@dataclass(frozen=True, kw_only=True)
class Preprocessors:
    """A host's functions that draw a map of a picture. by_name: each takes (H, W, 3) uint8 RGB and the shorter side in pixels
    at which to look at it, and returns (H', W', 3) uint8 RGB. cure: where to get more, a sentence."""

    by_name: Mapping[str, Callable[[Picture, int], Picture]] = field(default_factory=dict)
    cure: str = ""


class Sources(Protocol):
    """The models and folders that a host provides for a generation."""

    @property
    def analyser(self) -> Photos:
        """The face analyser, which remembers photos. The first access may open its model files."""
        ...

    @property
    def identities(self) -> Path:
        """The folder of saved identities."""
        ...

    def network(self, role: str, name: str | None) -> Any:
        """The network of a role. The host reads its file on the first call and keeps the network.

        name: of one of several files, None for the first. Raises MissingModelFile: no file. BadModelFile: damaged.
        SettingsError: no file of that name.
        """
        ...

    def file_name(self, role: str, name: str | None, field: str) -> str:
        """The name of the file that `network` would read. field: the setting that errors name. Errors: see `network`."""
        ...

    @property
    def context_size(self) -> int | None:
        """Numbers of a token of the text in the loaded checkpoint's UNet; None if it is not known."""
        ...

    def outline(self, role: str, name: str) -> Weights:
        """The names and shapes of the tensors in one of the role's files. Errors: see `network`."""
        ...

    @property
    def preprocessors(self) -> Preprocessors:
        """The host's own preprocessors."""
        ...

    def names(self, role: str) -> tuple[str, ...]:
        """The names of the role's files, beginning with the one used by default; empty if there is no file."""
        ...


class Run(Protocol):
    """One generation of a system. It computes once what its passes share."""

    def advice(self, size: Size) -> tuple[str, ...]:
        """Check all inputs for an output of this size. returns: sentences to show with the result.

        Raises an InstantIDError that names the field of a wrong input.
        """
        ...

    def conditioning(self, size: Size) -> Conditioning:
        """The conditioning for a pass of this size."""
        ...

    def recorded(self, size: Size) -> Mapping[str, object]:
        """The system's settings for the infotext, for a first pass of this size (`record`)."""
        ...

    def metadata(self, size: Size) -> Mapping[str, object]:
        """Further values for JSON in a picture's metadata. They hold nothing biometric."""
        ...

    @property
    def embeddings(self) -> Sequence[np.ndarray]:
        """Embeddings of the people in the result: (512,) float32, raw, one per person; none where pictures are nobody."""
        return ()

    def control_maps(self, size: Size) -> Sequence[np.ndarray]:
        """The hints of the system's ControlNets in a pass of this size: (H, W, 3) uint8 RGB each."""
        del size
        return ()


Restored = tuple[dict[str, Any], tuple[str, ...]]
"""Settings as the API takes them, and a sentence for each setting that could not be restored."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Values of an entry that one button sets."""

    name: str
    values: Mapping[str, float]


def _any_known_unet(unet: nn.Module) -> None:
    from lib_instantid.conditioning.unets import layout_of  # torch: seconds to import

    layout_of(unet)


def _any_entry(entry: object, context: int | None) -> bool:
    del entry, context
    return True


@dataclass(frozen=True, kw_only=True)
class Family:
    """A system: one folder of `adapters`.

    title: its name for people. settings: the class of its settings, a frozen dataclass of `fields`, with one list of entries
    (such as people). wanted: the cure when that list is empty, in words ("add a person with a photo").
    begin: makes a run of settings. restored: makes settings of the values in an infotext.
    check: raises UnsupportedModel for a UNet in which the system cannot act, whatever its networks; by default for one of no
    layout that is known. place_heads: the heads of
    all entries in an output of a given size, for the panel's editor; None for a system without heads. needs_faces: whether the
    face models are among its files.
    serves: whether the system acts for an entry, where several systems share a list; the checkpoint may decide it
    (`Sources.context_size`). gone: removed settings of earlier versions, and the sentence shown for each.
    """

    title: str
    settings: Any
    wanted: str
    files: SystemFiles
    begin: Callable[[Any, Sources], Run]
    restored: Callable[[dict[str, Any], Sources], Restored]
    check: Callable[[nn.Module], None] = _any_known_unet
    needs_faces: bool = True
    place_heads: Callable[[Any, Size, Look], tuple[Head | None, ...]] | None = None
    serves: Callable[[Any, int | None], bool] = _any_entry
    presets: tuple[Preset, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> EntryList:
        """The setting that lists the system's entries."""
        return lists_in(self.settings)[0]

    def acts(self, settings: Common, context: int | None) -> bool:
        """Whether these settings have an entry that the system acts for. context: see `Sources.context_size`."""
        return any(self.serves(entry, context) for entry in getattr(settings, self.entries.name))
