"""Types of the WebUIs' objects, with the fields that the extension uses: a generation (`p`), its result, its script runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from PIL import Image


class Script(Protocol):
    """A script. args_from, args_to: the range of its arguments among the generation's."""

    args_from: int
    args_to: int

    def title(self) -> str: ...


class ScriptRunner(Protocol):
    alwayson_scripts: Sequence[Script]


class Processing(Protocol):
    """A generation: `StableDiffusionProcessing` of both WebUIs.

    width, height: of the first pass, in pixels. n_iter: number of batches. prompt: a list if a script gives each picture its
    own. extra_generation_params: further values of the infotext; a list holds one per picture, a callable returns them.
    """

    width: int
    height: int
    n_iter: int
    batch_size: int
    batch_index: int
    do_not_save_grid: bool
    prompt: str | list[str]
    seeds: Sequence[int]
    subseeds: Sequence[int]
    extra_generation_params: dict[str, Any]
    scripts: ScriptRunner
    script_args: Sequence[object]
    comment: Callable[[str], None]


class Processed(Protocol):
    """A result: `Processed` of both WebUIs. index_of_first_image: 1 if a grid comes first, else 0."""

    images: list[Image.Image]
    infotexts: list[str]
    index_of_first_image: int
    info: str
    seed: int
    subseed: int
    all_seeds: list[int]
    all_subseeds: list[int]
    all_prompts: list[str]
    all_negative_prompts: list[str]
