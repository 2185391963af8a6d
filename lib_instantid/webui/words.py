"""Puts messages, which name fields, choices and entries as the API does, into the page's words."""

from __future__ import annotations

import re

from lib_instantid.adapters.fields import Choice, lists_in, settings_in
from lib_instantid.adapters.settings import Settings
from lib_instantid.webui.arguments import upload_folder

TITLES = {entries.name: entries.kind.title for entries in lists_in(Settings)}
ALL = (*settings_in(Settings), *(setting for entries in lists_in(Settings) for setting in entries.settings))
LABELS = {setting.name: setting.label for setting in ALL}
"""The page's names of the settings."""

CHOICES = {
    option: label
    for setting in ALL
    if isinstance(setting.kind, Choice)
    for option, label in zip(setting.kind.options, setting.kind.labels or setting.kind.options, strict=True)
}

CHOOSING = [setting.name for setting in ALL if isinstance(setting.kind, Choice)]
LIST = "|".join(TITLES)

FOUND = {"neither": "neither a photo nor a saved identity is there", "both": "both photos and a saved identity are there"}
NOBODY = re.compile(r"photos, identity: found (both|neither); give either (.*?) or an identity")


def in_page_words(text: str) -> str:
    """A message of the API in the words of the page."""
    text = re.sub(re.escape(str(upload_folder())) + r"[^\s:;,)]*", "the file", text)
    text = NOBODY.sub(lambda found: f"{FOUND[found[1]]}; choose {found[2]}, or a saved identity", text)
    text = re.sub(
        rf"({LIST})\[(\d+)\]\.photos\[(\d+)\]", lambda found: f"{TITLES[found[1]]} {found[2]}, photo {found[3]}", text
    )
    text = re.sub(rf"({LIST})\[(\d+)\]\.(\w+):", lambda found: f"{TITLES[found[1]]} {found[2]}, {_label(found[3])}:", text)
    text = re.sub(rf"({LIST})\[(\d+)\]\.?(?=:)", lambda found: f"{TITLES[found[1]]} {found[2]}", text)
    text = re.sub(rf"({LIST})\[(\d+)\]\.?", lambda found: f"{TITLES[found[1]]} {found[2]}: ", text)
    text = re.sub(r"\bphotos\[(\d+)\]", r"photo \1", text)
    text = re.sub(r"^\w+(?=:)", lambda found: _label(found[0]), text)
    text = re.sub(rf"\b({'|'.join(CHOOSING)}) (?=\")", lambda found: f"{_label(found[1])} ", text)
    text = re.sub(r'"([a-z ]+)"', lambda found: f"“{CHOICES.get(found[1], found[1])}”", text)
    text = re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: _label(found[0]), text)
    return text[:1].upper() + text[1:]


def _label(name: str) -> str:
    label = LABELS.get(name, name)
    kept = re.match(r"[A-Z]\w*[A-Z]", label)  # a name with inner capitals, such as IdentityNet or CFG
    return label if kept else label[:1].lower() + label[1:]
