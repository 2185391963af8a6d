"""The kinds of maps: what their preprocessors and ControlNets are called, and their numbers in a Union."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from lib_instantid.weights.controlnet_kinds import words

Kind = Literal["pose", "depth", "soft edges", "lines", "normals", "segmentation", "tile", "inpaint"]

TASKS: dict[Kind, int] = {
    "pose": 0,
    "depth": 1,
    "soft edges": 2,
    "lines": 3,
    "normals": 4,
    "segmentation": 5,
    "tile": 6,
    "inpaint": 7,
}
"""Numbers of the kinds in a Union. The first release has no tile and no inpaint. Source: README of
xinsir/controlnet-union-sdxl-1.0."""

WORDS: dict[Kind, tuple[str, ...]] = {
    "pose": ("openpose", "pose", "dwpose", "dw", "densepose", "animal"),
    "depth": ("depth", "midas", "zoe", "leres", "marigold"),
    "soft edges": ("softedge", "hed", "pidinet", "pidisafe", "teed", "scribble", "sketch"),
    "lines": ("canny", "lineart", "mlsd", "lines"),
    "normals": ("normal", "normals", "normalbae", "bae"),
    "segmentation": ("seg", "segmentation", "oneformer", "ufade20k"),
    "tile": ("tile", "blur"),
    "inpaint": ("inpaint", "repaint"),
}
"""Words for each kind in the names of preprocessors and ControlNets."""


def kind_of(name: str | None) -> Kind | None:
    """The kind of maps that a name tells, of a preprocessor or a ControlNet; None if it tells none."""
    found = set(words(name or ""))
    return next((kind for kind, own in WORDS.items() if name == kind or found & set(own)), None)


def first_of_kind(names: Iterable[str], wanted: str) -> str | None:
    """The name itself, also without the remark in brackets behind it, or the first name of the kind that a word means, such as
    "depth"; None if there is none."""
    names = tuple(names)
    kind = next((kind for kind, own in WORDS.items() if wanted == kind or wanted in own), None)
    means: tuple[Callable[[str], bool], ...] = (
        lambda name: wanted in (name, name.partition(" (")[0]),
        lambda name: wanted in words(name),
        lambda name: kind is not None and kind_of(name) == kind,
    )
    return next((name for fits in means for name in names if fits(name)), None)
