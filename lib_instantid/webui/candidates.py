"""Several candidates for each picture that was asked for, and the likeness of the pictures that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lib_instantid.face.analyser import Analyser
from lib_instantid.face.faces import Floats
from lib_instantid.face.similarity import likeness, similarities, similarity_text
from lib_instantid.guidance.settings import Settings

KEY = "InstantID similarity"
"""The infotext's key."""


class Candidates:
    """Makes a `p` ask for more, until `take_back`. A grid of candidates in the order of their seeds serves nobody, so none is
    made."""

    def __init__(self, p: Any, settings: Settings) -> None:
        self._asked = {"n_iter": p.n_iter, "do_not_save_grid": p.do_not_save_grid}
        self.wanted = p.n_iter * p.batch_size
        p.n_iter *= settings.best_of
        p.do_not_save_grid = True

    def take_back(self, p: Any) -> None:
        for name, value in self._asked.items():
            setattr(p, name, value)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    image: Image.Image
    similarity: tuple[float | None, ...]


class Likeness:
    """How like the people each picture of a generation is. embeddings: (512,) raw, one per person."""

    def __init__(self, embeddings: Sequence[Floats]) -> None:
        self._embeddings = embeddings
        self._measured: list[_Measured] = []
        self._texts: dict[tuple[int, int], str] = {}

    def measure(self, image: Image.Image, seeds: tuple[int, int], analyser: Analyser) -> None:
        """The next picture. seeds: its own and its variation seed."""
        found = similarities(analyser, np.asarray(image.convert("RGB")), self._embeddings)
        self._measured.append(_Measured(image=image, similarity=found))
        self._texts[seeds] = similarity_text(found)

    def infotext(
        self, *, all_seeds: Sequence[int], all_subseeds: Sequence[int], index: int, use_main_prompt: bool, **_: Any
    ) -> str | None:
        """The value of one picture, for the WebUI's `create_infotext`, which counts pictures within a batch or within all of
        them, but always has their seeds. None for a grid, and before a picture is there."""
        return None if use_main_prompt else self._texts.get((all_seeds[index], all_subseeds[index]))

    @property
    def texts(self) -> list[str]:
        """The values in the order of the pictures."""
        return [similarity_text(one.similarity) for one in self._measured]

    def order(self, processed: Any, count: int) -> bool:
        """Bring a WebUI's result into the order of likeness, and leave the first `count` pictures of it.

        returns: False, and nothing is changed, where another script has put other pictures in place of these.
        """
        places = [_place(one.image, processed.images) for one in self._measured]
        if None in places:
            return False
        best = sorted(range(len(places)), key=lambda i: -likeness(self._measured[i].similarity))[:count]
        first, end = processed.index_of_first_image, processed.index_of_first_image + len(places)
        others = [image for i, image in enumerate(processed.images) if i not in places]
        processed.images = [*(self._measured[i].image for i in best), *others]
        processed.infotexts = [*(processed.infotexts[first + i] for i in best), *processed.infotexts[end:]]
        for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
            values = getattr(processed, name)
            setattr(processed, name, [values[i] for i in best])
        processed.index_of_first_image = 0
        processed.info, processed.seed, processed.subseed = (
            values[0] for values in (processed.infotexts, processed.all_seeds, processed.all_subseeds)
        )
        self._measured = [self._measured[i] for i in best]
        return True


def _place(image: Image.Image, images: Sequence[Any]) -> int | None:
    return next((i for i, other in enumerate(images) if other is image), None)
