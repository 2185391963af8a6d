"""Likeness in a WebUI: measured on each finished picture, in its infotext, and candidates in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_instantid.encoders.face.analyser import Analyser
from lib_instantid.encoders.face.geometry import crop_and_resize
from lib_instantid.encoders.face.identity import cosine
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.webui.best_of import KEY
from lib_instantid.webui.script import NOTES, Extension
from tests.encoders.face.scenes import GREEN, RED, squares
from tests.webui.processing import P, parsed, process_images
from tests.webui.test_extension import photo

PHOTO = photo((90, 60, 70))
ONE = {"people": [{"photos": [PHOTO]}]}


def painted(seed: int) -> np.ndarray:
    """A picture of each seed, every third without a face."""
    places = [] if seed % 3 == 0 else [(60 + 7 * (seed % 5), 50, 60 + 4 * (seed % 7))]
    return squares(300, 200, places, GREEN if seed % 2 else RED)


def expected(analyser: Analyser, seed: int) -> str:
    """The cosine between the photo's embedding and the most similar face of the picture, by the analyser alone."""
    (own,) = analyser.faces(squares(300, 200, [(90, 60, 70)]))
    found = [cosine(face.embedding, own.embedding) for face in analyser.faces(painted(seed))]
    return f"{max(found):.3f}" if found else "no face"


def value(text: str) -> float:
    return -1.0 if text == "no face" else float(text)


def test_each_picture_says_how_like_the_person_it_is(extension: Extension) -> None:
    p = P(n_iter=2, batch_size=3)
    made = process_images(extension, p, [{**ONE, "report_similarity": True}], painted)
    assert made.index_of_first_image == 1  # the grid, which is nobody's
    assert KEY not in parsed(made.infotexts[0])
    found = [parsed(text)[KEY] for text in made.infotexts[1:]]
    assert found == [expected(extension.store.analyser, seed) for seed in range(10, 16)]
    assert "no face" in found
    assert len(set(found)) > 3
    assert p.extra_generation_params[KEY] == found


def test_without_a_wish_nothing_is_measured(extension: Extension) -> None:
    p = P()
    assert KEY not in parsed(process_images(extension, p, [ONE], painted).infotexts[0])
    assert KEY not in p.extra_generation_params


@pytest.mark.parametrize("only_best", [False, True])
def test_candidates_come_in_the_order_of_their_likeness(extension: Extension, only_best: bool) -> None:
    p = P(n_iter=1, batch_size=2)
    made = process_images(extension, p, [{**ONE, "best_of": 4, "only_best": only_best}], painted)
    everything = sorted(range(10, 18), key=lambda seed: -value(expected(extension.store.analyser, seed)))
    best = everything[:2] if only_best else everything
    assert made.all_seeds == best
    assert [np.asarray(image).tolist() for image in made.images] == [painted(seed).tolist() for seed in best]
    assert [int(parsed(text)["Seed"]) for text in made.infotexts] == best
    assert p.extra_generation_params[KEY] == [parsed(text)[KEY] for text in made.infotexts]
    assert (made.seed, made.info, made.index_of_first_image) == (best[0], made.infotexts[0], 0)
    assert len(made.all_prompts) == len(made.all_subseeds) == len(best)


def test_a_generation_gets_back_what_it_asked_for(extension: Extension) -> None:
    """The WebUI's own scripts generate with the same `p` again."""
    p = P(n_iter=2)
    for _ in range(2):
        assert len(process_images(extension, p, [{**ONE, "best_of": 3}], painted).images) == 6
        assert (p.n_iter, p.do_not_save_grid) == (2, False)


def test_a_generation_that_died_gets_it_back_at_its_next_start(extension: Extension) -> None:
    p, request = P(n_iter=2), [{**ONE, "best_of": 3}]
    with pytest.raises(ZeroDivisionError):
        process_images(extension, p, request, lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    assert len(process_images(extension, p, request, painted).images) == 6
    assert p.n_iter == 2


def test_a_list_of_prompts_has_one_candidate_each_and_says_so(extension: Extension) -> None:
    p = P()
    p.prompt = ["a cat", "a dog"]
    assert len(process_images(extension, p, [{**ONE, "best_of": 3}], painted).images) == 1
    assert "best_of" in p.extra_generation_params[NOTES]


def test_the_picture_that_the_upscale_button_enlarges_is_one(extension: Extension) -> None:
    p = P()
    p.firstpass_image = Image.new("RGB", (8, 8))  # type: ignore[attr-defined]
    assert len(process_images(extension, p, [{**ONE, "best_of": 3}], painted).images) == 1


def test_pictures_that_another_script_replaced_stay_in_their_order(
    extension: Extension, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = P()
    real = extension.finish

    def replaced(p: P, processed: Any) -> None:
        processed.images[1] = Image.new("RGB", (8, 8))
        real(p, processed)

    monkeypatch.setattr(extension, "finish", replaced)
    made = process_images(extension, p, [{**ONE, "best_of": 3}], painted)
    assert made.all_seeds == [10, 11, 12]
    assert "not ordered" in p.extra_generation_params[NOTES]


def test_two_people_are_compared_each(extension: Extension) -> None:
    two = {"people": [{"photos": [PHOTO]}, {"photos": [photo((90, 60, 40))]}], "report_similarity": True}
    first, second = parsed(process_images(extension, P(seed=11), [two], painted).infotexts[0])[KEY].split("; ")
    assert first == expected(extension.store.analyser, 11)
    assert -1 <= float(second) <= 1


def test_a_failure_to_measure_is_said_and_the_picture_stays(extension: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: np.ndarray) -> None:
        raise RuntimeError("the analyser broke")

    def paint(seed: int) -> np.ndarray:
        monkeypatch.setattr(extension.store.analyser, "faces", broken)
        return painted(seed)

    p = P(n_iter=2)
    assert len(process_images(extension, p, [{**ONE, "report_similarity": True}], paint).images) == 3
    assert "likeness cannot be measured" in p.extra_generation_params[NOTES]


def test_the_keypoint_maps_are_added_where_that_is_wished(extension: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(process_images(extension, P(), [ONE], painted).images) == 1
    monkeypatch.setattr(extension, "_maps_wanted", lambda: True)
    p = P()
    picture, found = process_images(extension, p, [ONE], painted).images
    assert found.size == (p.width, p.height)
    (face,) = extension.store.analyser.faces(squares(300, 200, [(90, 60, 70)]))
    placement = crop_and_resize((300, 200), (p.width, p.height), keep=face.box)
    expected = draw_keypoints(placement.points(face.keypoints), p.width, p.height)
    assert np.array_equal(np.asarray(found), expected)
    assert picture.size != found.size
