"""Chooses the ControlNet of a control: the one that it names, or the first for its map and the loaded checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from lib_instantid.adapters.controlnet.kinds import TASKS, Kind, kind_of
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.controlnet.settings import AUTO, Control
from lib_instantid.adapters.family import Sources
from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.weights.controlnet_kinds import ControlNetKind, controlnet_kind


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A control's network. name: of its file. union: whether it takes several kinds of maps. kind: of the map, None if it is
    not known."""

    name: str
    union: bool
    kind: Kind | None


def choose(control: Control, sources: Sources, field: str) -> Chosen:
    """The ControlNet of a control. field: of the control, which errors name.

    Raises MissingModelFile or SettingsError: there is none, or it is not clear which; or the map of a Union is not told.
    """
    kind = kind_of(control.drawn_by) if control.map == AUTO else kind_of(control.map)
    if control.model:
        name = sources.file_name(CONTROLNET, control.model, f"{field}.model")
    else:
        name = _first_that_fits(control, kind, sources, field)
    found = _kind(sources, name)
    if found.union and kind is None:
        raise SettingsError(
            f"{field}.map: missing; {name} takes several kinds of maps, and {control.drawn_by!r} does not tell which this is."
        )
    if found.union and kind is not None and TASKS[kind] >= found.tasks:
        raise SettingsError(
            f"{field}.model: {name} takes no maps of {kind}; use a Union of more kinds (its promax release), or another model."
        )
    return Chosen(name=name, union=found.union, kind=kind)


def _first_that_fits(control: Control, kind: Kind | None, sources: Sources, field: str) -> str:
    sources.file_name(CONTROLNET, None, f"{field}.model")  # raises where there is none at all
    kinds = {name: _kind(sources, name) for name in sources.names(CONTROLNET)}
    fitting = {name: own for name, own in kinds.items() if _fits(own, sources.context_size)}
    if not fitting:
        raise SettingsError(
            f"{field}.model: no ControlNet is for the loaded checkpoint, whose text has {sources.context_size} numbers "
            f"({', '.join(f'{name} for {own.version}' for name, own in kinds.items())}); add one for it, or choose another "
            "checkpoint."
        )
    if kind is None:
        if len(fitting) == 1:
            return next(iter(fitting))
        raise SettingsError(
            f"{field}.model: missing; {control.drawn_by!r} does not tell what the map shows, and there are "
            f"{', '.join(fitting)}; name one, or set map."
        )
    exact = [name for name, own in fitting.items() if own.condition and own.condition == control.drawn_by]
    alike = [name for name, own in fitting.items() if own.condition and kind_of(own.condition) == kind]
    unions = [name for name, own in fitting.items() if TASKS[kind] < own.tasks]
    found = next(iter((*exact, *alike, *unions)), None)
    if found is None:
        raise MissingModelFile(
            f"{field}.model: no ControlNet for {kind} is here ({', '.join(fitting)}); add one or a ControlNet "
            "Union, or name the one to use."
        )
    return found


def _kind(sources: Sources, name: str) -> ControlNetKind:
    found = controlnet_kind(sources.outline(CONTROLNET, name))
    assert found is not None  # its role says so
    return found


def _fits(kind: ControlNetKind, context: int | None) -> bool:
    return context is None or kind.context is None or kind.context == context
