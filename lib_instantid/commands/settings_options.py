"""Makes options from the kinds of every system's settings, and settings from the given options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lib_instantid.adapters import SEVERAL
from lib_instantid.adapters.fields import (
    PREPROCESSOR,
    Choice,
    EntryList,
    Name,
    Number,
    PictureInput,
    Points,
    Setting,
    Switch,
    lists_in,
    settings_in,
)
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.commands.options import keypoints
from lib_instantid.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The options for the first entry of a list. prefix: begins the options' names; empty for the first list, else the name of
    an entry."""

    entries: EntryList
    prefix: str

    @property
    def options(self) -> dict[str, Setting]:
        """The settings by the names of the parser's values."""
        return {self.prefix + own.name: own for own in self.entries.settings}

    @property
    def pictures(self) -> str | None:
        """The name of the parser's value with the first entry's pictures, if the option for further entries takes these too."""
        lists = [name for name, own in self.options.items() if isinstance(own.kind, PictureInput) and own.kind.most]
        return lists[0] if self.prefix and lists else None

    @property
    def further(self) -> str:
        """The name of the parser's value with further entries, given as JSON."""
        return f"further_{self.entries.name}"


def lists() -> list[Listed]:
    each = enumerate(lists_in(Settings))
    return [Listed(entries=entries, prefix=f"{entries.kind.title}_" if number else "") for number, entries in each]


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add options for the settings of the whole and of the first entry of each list. Further entries are given as JSON."""
    whole = parser.add_argument_group("settings")
    for own in settings_in(Settings):
        _add(whole, own.name, own)
    for listed in lists():
        title = listed.entries.kind.title
        group = parser.add_argument_group(title)
        for name, own in listed.options.items():
            _add(group, name, own)
        first = listed.entries.settings[0].name
        example = f'a further {title}, as JSON: {{"{first}": …}}' + ("; or a picture of the first" if listed.pictures else "")
        example += f"; or short: {listed.entries.kind.spelling}" if listed.entries.kind.spelling else ""
        group.add_argument(_option(title), dest=listed.further, action="append", default=[], metavar="JSON", help=example)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-").replace(" ", "-")


def _add(group: Any, name: str, own: Setting) -> None:
    """Add one option. For a list of pictures or points it is given once for each; a list of pictures has a singular name."""
    kind, text = own.kind, own.help.replace("%", "%%")
    if isinstance(kind, Choice):
        options = None if kind.numbered else kind.options
        group.add_argument(_option(name), choices=options, help=f"{text} ({own.default})")
    elif isinstance(kind, Number):
        limits = f"{text} ({own.default}), {kind.low} to {kind.high}"
        group.add_argument(_option(name), type=int if kind.whole else float, help=limits)
    elif isinstance(kind, Switch) and own.name != "enabled":
        group.add_argument(_option(name), action="store_true", help=text)
    elif isinstance(kind, Name) and kind.of in ("identity", PREPROCESSOR, *SEVERAL):
        group.add_argument(_option(name), help=text)
    elif isinstance(kind, PictureInput | Points):
        singular = name.removesuffix("s") if isinstance(kind, PictureInput) and kind.most is not None else name
        more: dict[str, Any] = {} if kind.most is None else {"action": "append", "default": []}
        read: Any = keypoints if isinstance(kind, Points) else str
        group.add_argument(_option(singular), dest=name, type=read, help=text, **more)


def settings_of(args: argparse.Namespace) -> Any:
    """The settings of the options. Each list holds the entry of the options, then those given as JSON. Raises SettingsError."""
    values: dict[str, Any] = {**given(args, [own.name for own in settings_in(Settings)]), "enabled": True}
    for listed in lists():
        values[listed.entries.name] = _entries(listed, args)
    return settings_from_dict(values)


def _entries(listed: Listed, args: argparse.Namespace) -> list[Any]:
    first = {own.name: vars(args)[name] for name, own in listed.options.items() if vars(args).get(name) is not None}
    further = vars(args)[listed.further]
    if listed.pictures is not None:
        own_name = listed.options[listed.pictures].name
        first[own_name] = [*first.get(own_name, []), *(text for text in further if not _is_json(text))]
        further = [text for text in further if _is_json(text)]
    said = any(first.get(own.name, []) not in (own.default, []) for own in listed.options.values())
    return ([first] if said else []) + [_json(listed, text) for text in further]


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The values of the options of these names, without options that were not given."""
    return {name: vars(args)[name] for name in names if vars(args).get(name) is not None}


def _json(listed: Listed, text: str) -> Any:
    spelled = None if _is_json(text) else listed.entries.kind.of.spelled(text)
    if spelled is not None:
        return spelled
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{listed.entries.kind.title}: not valid JSON ({error}): {text}") from error
