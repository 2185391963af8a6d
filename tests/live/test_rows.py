"""Who is conditional in which UNet call: joined, separate, shrunk and several-prompt calls make the same picture."""

from __future__ import annotations

import pytest

from tests.live.webui import EFFECT, ROUNDING, Answer, WebUI, difference

EVERYWHERE = {"face_region": "everywhere"}
SEPARATE, JOINED = {"batch_cond_uncond": False}, {"batch_cond_uncond": True}
LONG = "blurry, deformed, ugly, low quality, watermark, text, cartoon, " * 8
PROMPTS = {
    "short": {},
    "both long": {"prompt": "a cat, " * 60, "negative_prompt": LONG},
    "AND": {"prompt": "a cat AND a dog :0.7"},
    "AND of three": {"prompt": "a cat AND a dog :0.7 AND a bird :0.3", "negative_prompt": "ugly"},
    "CFG 1": {"cfg_scale": 1.0},
    "batch of two": {"batch_size": 2, "negative_prompt": "ugly"},
    "batch of two, AND": {"batch_size": 2, "prompt": "a cat AND a dog :0.7"},
}
UNEQUAL = {
    "long negative": {"negative_prompt": LONG},
    "long prompt": {"prompt": "a cat, " * 60},
    "AND, long negative": {"prompt": "a cat AND a dog :0.7", "negative_prompt": LONG},
    "AND of unequal lengths": {"prompt": "a cat AND " + "a dog, " * 60 + " :0.7"},
}


def guided(webui: WebUI, override: dict, request: dict, **settings: object) -> Answer:
    return webui.guided({**EVERYWHERE, **settings}, override_settings=override, **request)


@pytest.mark.a1111
@pytest.mark.parametrize("mode", ["balanced", "identity"])
@pytest.mark.parametrize("name", PROMPTS)
def test_separate_calls_make_the_picture_of_joined_ones(webui: WebUI, name: str, mode: str) -> None:
    joined = guided(webui, JOINED, PROMPTS[name], control_mode=mode)
    separate = guided(webui, SEPARATE, PROMPTS[name], control_mode=mode)
    for a, b in zip(joined.pictures, separate.pictures, strict=True):
        assert difference(a, b) < ROUNDING


@pytest.mark.forge
@pytest.mark.parametrize("mode", ["balanced", "identity"])
@pytest.mark.parametrize("name", [*PROMPTS, *UNEQUAL])
def test_calls_separated_for_want_of_memory_make_the_picture_of_joined_ones(webui: WebUI, name: str, mode: str) -> None:
    request = {**PROMPTS, **UNEQUAL}[name]
    settings = {**EVERYWHERE, "control_mode": mode}
    joined, separate = webui.guided(settings, **request), webui.guided(settings, probe={"short_of_memory": True}, **request)
    plain = difference(webui.plain(**request).picture, webui.plain(probe={"short_of_memory": True}, **request).picture)
    for a, b in zip(joined.pictures, separate.pictures, strict=True):
        assert difference(a, b) < 2 * plain + ROUNDING


@pytest.mark.a1111
@pytest.mark.parametrize("name", UNEQUAL)
def test_a_long_negative_prompt_separates_no_more_than_without_instantid(webui: WebUI, name: str) -> None:
    """A1111 pads to one call or makes two; the text encoder's padding alone changes the picture a little."""
    apart, padded = {"pad_cond_uncond": False}, {"pad_cond_uncond": True}
    plain = [webui.plain(override_settings=o, **UNEQUAL[name]).picture for o in (apart, padded)]
    found = [guided(webui, o, UNEQUAL[name]).picture for o in (apart, padded)]
    assert difference(*found) < 1.25 * difference(*plain) + ROUNDING
    assert difference(found[0], plain[0]) > EFFECT


@pytest.mark.parametrize("name", [*PROMPTS, *UNEQUAL])
def test_instantid_acts_and_repeats_with_every_kind_of_prompt(webui: WebUI, name: str) -> None:
    request = {**PROMPTS, **UNEQUAL}[name]
    found = webui.guided(EVERYWHERE, **request)
    assert difference(found.picture, webui.plain(**request).picture) > EFFECT
    assert webui.guided(EVERYWHERE, **request).files == found.files


SKIPPED = {
    "negative prompt skipped at low sigma": ({"s_min_uncond": 15.0}, {}),
    "negative prompt skipped in early steps": ({}, {"skip_early_cond": 0.5}),
    "both": ({"s_min_uncond": 15.0}, {"skip_early_cond": 0.3, "s_min_uncond_all": True}),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_a_skipped_negative_prompt_leaves_the_other_rows_theirs(webui: WebUI, name: str) -> None:
    """Calls shrink in the middle of sampling: single pictures still equal a batch's, and separate calls joined ones."""
    request, override = SKIPPED[name]
    request = {"steps": 6, "negative_prompt": "ugly", **request}
    joined = guided(webui, {**override, **({} if webui.forge else JOINED)}, {**request, "batch_size": 2})
    assert difference(joined.picture, webui.guided(EVERYWHERE, steps=6, negative_prompt="ugly").picture) > 0.01
    for i in (0, 1):
        alone = guided(webui, {**override, **({} if webui.forge else SEPARATE)}, {**request, "seed": 1 + i})
        assert difference(joined.pictures[-2:][i], alone.picture) < ROUNDING
