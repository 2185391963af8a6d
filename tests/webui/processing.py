"""A stand-in of the WebUIs' `process_images`: the order of its calls to scripts, its infotexts and its result.

Written after modules/processing.py of AUTOMATIC1111's WebUI 1.10 (Forge's is the same here); the live tests hold it true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from lib_instantid.webui.script import Extension

Paint = Callable[[int], np.ndarray]
"""Seed → (H, W, 3) uint8: what sampling makes."""


class P:
    """A generation as scripts see it. Not hashable, as the WebUIs' are not."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, width: int = 128, height: int = 96, n_iter: int = 1, batch_size: int = 1, seed: int = 10) -> None:
        self.width, self.height, self.n_iter, self.batch_size, self.seed = width, height, n_iter, batch_size, seed
        self.prompt: str | list[str] = "a cat"
        self.do_not_save_grid = False
        self.is_hr_pass = False
        self.iteration = self.batch_index = 0
        self.seeds: list[int] = []
        self.subseeds: list[int] = []
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, Any] = {}

    def comment(self, text: str) -> None:
        self.comments.append(text)


def process_images(extension: Extension, p: P, arguments: list[Any], paint: Paint) -> Any:
    """What the WebUI makes of a generation, every picture by `paint`."""
    extension.before_process(p, arguments)
    count = p.n_iter * p.batch_size
    seeds, subseeds = [p.seed + i for i in range(count)], [5 + i for i in range(count)]
    extension.process(p, arguments)
    images, infotexts = [], []
    for iteration in range(p.n_iter):
        p.iteration = iteration
        batch = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
        p.seeds, p.subseeds = seeds[batch], subseeds[batch]
        extension.before_sampling(p, torch.zeros(p.batch_size, 4, p.height // 8, p.width // 8))
        pixels = [paint(seed) for seed in p.seeds]
        extension.stop()
        for i, picture in enumerate(pixels):
            p.batch_index = i
            image = Image.fromarray(picture)
            extension.picture(p, image)
            infotexts.append(create_infotext(p, p.seeds, p.subseeds, i))
            images.append(image)
    first = 0
    if count > 1 and not p.do_not_save_grid:
        images.insert(0, Image.new("RGB", (8, 8)))
        infotexts.insert(0, create_infotext(p, p.seeds, p.subseeds, 0, use_main_prompt=True))
        first = 1
    processed = SimpleNamespace(
        images=images,
        infotexts=infotexts,
        index_of_first_image=first,
        info=infotexts[0],
        seed=seeds[0],
        subseed=subseeds[0],
        all_seeds=seeds,
        all_subseeds=subseeds,
        all_prompts=["a cat"] * count,
        all_negative_prompts=[""] * count,
    )
    extension.finish(p, processed)
    json.dumps(p.extra_generation_params)  # the API's `info` has them
    return processed


def create_infotext(
    p: P, all_seeds: list[int], all_subseeds: list[int], index: int, use_main_prompt: bool = False, iteration: int = 0
) -> str:
    """The text of one picture: values that are lists are by picture, and callables are called with all that is known."""
    known = dict(locals())
    values: dict[str, Any] = {"Steps": 3, "Seed": all_seeds[index], "Size": f"{p.width}x{p.height}"}
    for key, value in p.extra_generation_params.items():
        values[key] = value[index] if isinstance(value, list) else value(**known) if callable(value) else value
    return "a cat\n" + ", ".join(f"{key}: {_quoted(value)}" for key, value in values.items() if value is not None)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in str(value) for mark in ",\n:") else str(value)


VALUE = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""The grammar of the WebUIs' last line: key, colon, and text without commas or a JSON string."""


def parsed(infotext: str) -> dict[str, str]:
    """The values of an infotext, as the WebUIs paste them."""
    pairs = VALUE.findall(infotext.strip().split("\n")[-1])
    return {key: json.loads(text) if text.startswith('"') and text.endswith('"') else text for key, text in pairs}


def stored(identities: Path, *files: str) -> Any:
    """What an infotext is restored with: a folder of saved identities, and names of files of each role."""
    return SimpleNamespace(identities=identities, names=lambda _: files)
