"""Generations inside generations: X/Y/Z plot, prompt matrix, loopback, an ADetailer-like script."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.live.webui import EFFECT, ROUNDING, Answer, WebUI, difference, encoded, noise_picture, person

CHOICES = ("Sampler", "Checkpoint name", "[InstantID] control mode", "[InstantID] identity", "[InstantID] pose")
"""Axes whose values are chosen from a list."""


def plot(webui: WebUI, axis: str, values: str, second: tuple[str, str] | None = None) -> dict[str, Any]:
    """A request for the X/Y/Z plot, with its single pictures after the grid."""
    info = next(s for s in webui.get("sdapi/v1/script-info") if s["name"] == "x/y/z plot" and not s["is_img2img"])
    labels = info["args"][0]["choices"]
    given = ((axis, values), *((second,) if second else ()))
    axes = [[labels.index(name), text, text.split(",") if name in CHOICES else []] for name, text in given]
    axes += [[labels.index("Nothing"), "", []]] * (3 - len(axes))
    rest = [False, True, False, False, False, False, False, 0, False]
    return {"script_name": "x/y/z plot", "script_args": [*(value for one in axes for value in one), *rest]}


@pytest.mark.parametrize(
    ("axis", "values", "requests"),
    [
        ("Seed", "1,2,3", [{"seed": 1}, {"seed": 2}, {"seed": 3}]),
        ("CFG Scale", "1,5", [{"cfg_scale": 1.0}, {"cfg_scale": 5.0}]),
        ("Steps", "2,4", [{"steps": 2}, {"steps": 4}]),
        ("Sampler", "Euler a,DPM++ 2M", [{"sampler_name": "Euler a"}, {"sampler_name": "DPM++ 2M"}]),
        ("Prompt S/R", "cat,dog", [{}, {"prompt": "a dog"}]),
    ],
)
def test_each_cell_of_a_plot_is_the_single_picture(webui: WebUI, axis: str, values: str, requests: list[dict]) -> None:
    cells = webui.guided(**plot(webui, axis, values)).pictures[1:]
    assert len(cells) == len(requests)
    for cell, request in zip(cells, requests, strict=True):
        assert difference(cell, webui.guided(**request).picture) < ROUNDING


def test_a_plot_of_two_axes_is_right_in_each_cell(webui: WebUI) -> None:
    cells = webui.guided(**plot(webui, "Seed", "1,2", ("CFG Scale", "3,5"))).pictures[1:]
    expected = [webui.guided(seed=seed, cfg_scale=cfg).picture for cfg in (3.0, 5.0) for seed in (1, 2)]
    for cell, picture in zip(cells, expected, strict=True):
        assert difference(cell, picture) < ROUNDING


def test_a_plot_over_checkpoints_acts_in_each(webui: WebUI) -> None:
    names = [
        m["title"]
        for m in webui.get("sdapi/v1/sd-models")
        if m["model_name"] in ("tiny-sdxl", "tiny-sdxl-c2048", "tiny-sdxl-b")
    ]
    cells = webui.guided(**plot(webui, "Checkpoint name", ",".join(names))).pictures[1:]
    for cell, name in zip(cells, names, strict=True):
        alone = webui.guided(override_settings={"sd_model_checkpoint": name}).picture
        assert difference(cell, alone) < ROUNDING


def test_a_plot_without_instantid_after_one_with_it_is_plain(webui: WebUI) -> None:
    request = plot(webui, "Seed", "1,2")
    webui.guided(**request)
    for cell, seed in zip(webui.plain(**request).pictures[1:], (1, 2), strict=True):
        assert np.array_equal(cell, webui.plain(seed=seed).picture)


def test_a_plot_refuses_what_a_picture_refuses(webui: WebUI) -> None:
    """The plot script itself replaces a cell that failed by an empty one, unless all failed."""
    answer = webui.attempt({"people": []}, **plot(webui, "Seed", "1,2"))
    assert answer.status in (422, 500) or all(np.ptp(picture) == 0 for picture in answer.pictures[1:])


def test_loopback_acts_in_every_round(webui: WebUI) -> None:
    start = {"init_images": [encoded(noise_picture())], "denoising_strength": 0.6}
    request = {**start, "script_name": "loopback", "script_args": [2, 0.6, "Linear", "None"]}
    rounds, plain = webui.guided(task="img2img", **request), webui.plain("img2img", **request)
    first = webui.guided(task="img2img", **start).picture
    assert any(difference(picture, first) < ROUNDING for picture in rounds.pictures if picture.shape == first.shape)
    for a, b in zip(rounds.pictures, plain.pictures, strict=True):
        assert difference(a, b) > EFFECT / 10
    assert webui.guided(task="img2img", **request).files == rounds.files


def nested_alone(webui: WebUI, start: np.ndarray, guided: bool) -> np.ndarray:
    """What the probe's inner generation makes of a picture."""
    request = {"init_images": [encoded(start.astype(np.uint8))], "denoising_strength": 0.6}
    return (webui.guided(task="img2img", **request) if guided else webui.plain("img2img", **request)).picture


@pytest.mark.parametrize("inner", ["with", "without"])
def test_a_generation_inside_another_acts_as_it_does_alone(webui: WebUI, guided: Answer, inner: str) -> None:
    found = webui.guided(probe={"nested": inner}).picture
    assert difference(found, nested_alone(webui, guided.picture, inner == "with")) < ROUNDING


@pytest.mark.parametrize("inner", ["with", "without"])
def test_the_next_batch_after_a_generation_inside_is_guided_again(webui: WebUI, inner: str) -> None:
    found = webui.guided(probe={"nested": inner}, n_iter=2).pictures[-2:]
    for i, picture in enumerate(found):
        outer = webui.guided(seed=1 + i).picture
        assert difference(picture, nested_alone(webui, outer, inner == "with")) < ROUNDING


@pytest.mark.forge
@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_multidiffusions_tiles_each_have_their_part(webui: WebUI, guided: Answer, method: str) -> None:
    """Four tiles of 192 pixels; and one tile as large as the picture, which changes nothing."""

    def made(tile: int, settings: dict[str, Any] | None) -> np.ndarray:
        own = {} if settings is None else {"InstantID": [settings]}
        answer = webui.ask("txt2img", {}, {"MultiDiffusion Integrated": [True, method, tile, tile, 64, 2], **own})
        assert answer.status == 200, answer.message
        return answer.picture

    one = {"people": [person()]}
    assert difference(made(256, one), guided.picture) < ROUNDING
    assert difference(made(192, one), made(192, None)) > EFFECT / 10
    assert np.array_equal(made(192, one), made(192, one))
    assert np.array_equal(webui.guided().picture, guided.picture)
