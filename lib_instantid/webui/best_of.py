"""Makes several candidates for each requested picture, measures their similarity, and orders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lib_instantid.adapters.common import Common
from lib_instantid.encoders.face.faces import Floats
from lib_instantid.encoders.face.similarity import FindsFaces, likeness, similarities, similarity_text
from lib_instantid.webui.processing import Processed, Processing

KEY = "InstantID similarity"
"""Key of the similarities in the infotext."""


class BestOf:
    """Makes a `p` generate more pictures, until `take_back`. It also turns off the grid, which would show the candidates
    unordered."""

    def __init__(self, p: Processing, settings: Common) -> None:
        self._asked = {"n_iter": p.n_iter, "do_not_save_grid": p.do_not_save_grid}
        self.wanted = p.n_iter * p.batch_size
        p.n_iter *= settings.best_of
        p.do_not_save_grid = True

    def take_back(self, p: Processing) -> None:
        for name, value in self._asked.items():
            setattr(p, name, value)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    image: Image.Image
    similarity: tuple[float | None, ...]


class Likeness:
    """The similarity of each picture of a generation to the people. embeddings: (512,) raw, one per person."""

    def __init__(self, embeddings: Sequence[Floats]) -> None:
        self._embeddings = embeddings
        self._measured: list[_Measured] = []
        self._texts: dict[tuple[int, int], str] = {}

    def measure(self, image: Image.Image, seeds: tuple[int, int], analyser: FindsFaces) -> None:
        """The next picture. seeds: its own and its variation seed."""
        found = similarities(analyser, np.asarray(image.convert("RGB")), self._embeddings)
        self._measured.append(_Measured(image=image, similarity=found))
        self._texts[seeds] = similarity_text(found)

    def infotext(
        self, *, all_seeds: Sequence[int], all_subseeds: Sequence[int], index: int, use_main_prompt: bool, **_: object
    ) -> str | None:
        """The text of one picture, for the WebUI's `create_infotext`. None for a grid and for a picture not yet measured.

        The picture is found by its seeds, because `index` counts either within a batch or within all pictures.
        """
        return None if use_main_prompt else self._texts.get((all_seeds[index], all_subseeds[index]))

    @property
    def texts(self) -> list[str]:
        """The texts of all pictures, in the order of the pictures."""
        return [similarity_text(one.similarity) for one in self._measured]

    def order(self, processed: Processed, count: int) -> bool:
        """Order a WebUI's result by similarity and keep the first `count` pictures.

        returns: False, without changing anything, if another script has replaced the pictures.
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
            processed.infotexts[0],
            processed.all_seeds[0],
            processed.all_subseeds[0],
        )
        self._measured = [self._measured[i] for i in best]
        return True


def _place(image: Image.Image, images: Sequence[Image.Image]) -> int | None:
    return next((i for i, other in enumerate(images) if other is image), None)
