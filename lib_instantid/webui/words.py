"""The page's words for what messages name as the API does: fields, choices, people."""

from __future__ import annotations

import re

from lib_instantid.webui.fields import FIELDS
from lib_instantid.webui.pictures import upload_folder

LABELS = {field.name: field.label for field in FIELDS} | {
    "photos": "photos",
    "identity": "saved identity",
    "face": "chosen face",
    "photo_keypoints": "points in the photo",
    "pose_picture": "pose picture",
    "keypoints": "points placed by hand",
    "region": "mask",
    "identitynet_file": "IdentityNet's file",
}
"""What the page calls the settings; those with controls of their own have no entry in the table."""

CHOICES = {
    option: label
    for field in FIELDS
    if field.kind == "choice"
    for option, label in zip(field.setting.metadata["options"], field.labels, strict=True)
}

CHOOSING = [field.name for field in FIELDS if field.kind == "choice"]

FOUND = {"neither": "neither a photo nor a saved identity is there", "both": "both photos and a saved identity are there"}
NOBODY = re.compile(r"photos, identity: found (both|neither); give either (.*?) or an identity")


def in_page_words(text: str) -> str:
    """A message of the API, as a person before the page understands it."""
    text = re.sub(re.escape(str(upload_folder())) + r"[^\s:;,)]*", "the file", text)
    text = NOBODY.sub(lambda found: f"{FOUND[found[1]]}; choose {found[2]}, or a saved identity", text)
    text = re.sub(r"people\[(\d+)\]\.photos\[(\d+)\]", r"person \1, photo \2", text)
    text = re.sub(r"people\[(\d+)\]\.(\w+):", lambda found: f"person {found[1]}, {_label(found[2])}:", text)
    text = re.sub(r"people\[(\d+)\]\.?(?=:)", r"person \1", text)
    text = re.sub(r"people\[(\d+)\]\.?", r"person \1: ", text)
    text = re.sub(r"\bphotos\[(\d+)\]", r"photo \1", text)
    text = re.sub(r"^\w+(?=:)", lambda found: _label(found[0]), text)
    text = re.sub(rf"\b({'|'.join(CHOOSING)}) (?=\")", lambda found: f"{_label(found[1])} ", text)
    text = re.sub(r'"([a-z ]+)"', lambda found: f"“{CHOICES.get(found[1], found[1])}”", text)
    text = re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: _label(found[0]), text)
    return text[:1].upper() + text[1:]


def _label(name: str) -> str:
    label = LABELS.get(name, name)
    return label if label.startswith(("InstantID", "IdentityNet", "CFG")) else label[:1].lower() + label[1:]
