"""From the panel to the picture, and what the page is like: errors, reload, names, speed, accessibility, width."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.page.browser import NOBODY, ONE, TWO, Panel, png

FIVE = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]


def generate(panel: Panel) -> None:
    panel.page.locator("#txt2img_generate").click()


def values(panel: Panel) -> dict[str, object]:
    """The result's settings, once they are there."""
    box = panel.page.locator("#values textarea")
    expect(box).to_have_value(re.compile(r"\{"), timeout=120_000)
    found: dict[str, object] = json.loads(box.input_value())
    return found


@pytest.fixture
def ready(panel: Panel) -> Panel:
    """Switched on, with a photo and few steps."""
    panel.number("steps", 2)
    panel.switch.check()
    panel.add_photos(png(ONE, "one"))
    return panel


def test_a_picture_is_made_with_what_the_panel_shows(ready: Panel) -> None:
    ready.press(["Centre"])
    ready.person.get_by_role("button", name="More likeness").click()
    generate(ready)
    found = values(ready)
    person = found["settings"]["people"][0]  # type: ignore[index]
    assert found["settings"]["enabled"]  # type: ignore[index]
    assert person["adapter_strength"] == 1.0
    middle = [sum(point[axis] for point in person["keypoints_px"]) / 5 for axis in (0, 1)]
    assert middle == pytest.approx([128, 128], abs=0.01)
    expect(ready.page.locator("#txt2img_gallery img").first).to_be_visible()
    expect(ready.page.locator("#files a").first).to_be_visible()
    expect(ready.page.locator("#progress").first).to_contain_text("Done")


def test_switched_off_the_person_is_left_out(ready: Panel) -> None:
    ready.switch.uncheck()
    generate(ready)
    assert values(ready)["settings"]["enabled"] is False  # type: ignore[index]


def test_progress_and_preview_are_shown_and_an_interrupt_ends_early(ready: Panel) -> None:
    ready.number("steps", 100)
    generate(ready)
    expect(ready.page.locator("#progress").first).to_contain_text("of 100", timeout=60_000)
    expect(ready.page.locator("#preview img").first).to_be_visible()
    ready.page.locator("#txt2img_interrupt").click()
    values(ready)
    expect(ready.page.locator("#progress").first).to_contain_text("Done")


def test_a_generation_without_a_person_says_what_to_do_and_the_next_one_works(panel: Panel, weights: Path) -> None:
    """And it is no error of the program: the log has no traceback."""
    panel.number("steps", 2)
    panel.switch.check()
    panel.add_photos(png(NOBODY, "nobody"))
    generate(panel)
    expect(panel.page.locator("#progress [role=alert]")).to_contain_text("no face found in the picture of 300 x 200 pixels")
    assert "Traceback" not in (weights.parent / "log").read_text()
    panel.add_photos(png(TWO, "two"))
    generate(panel)
    assert len(values(panel)["settings"]["people"]) == 1  # type: ignore[index]


def test_after_a_reload_the_panel_is_new_and_works(ready: Panel) -> None:
    ready.page.reload()
    ready.page.wait_for_function("() => window.instantid && window.instantid.start")
    ready.open()
    expect(ready.photos).to_have_count(0)
    ready.add_photos(png(TWO, "two"))
    assert len(ready.first()["photos"]) == 1


def test_settings_from_elsewhere_fill_the_panel(ready: Panel) -> None:
    """As gradio puts them there when a picture's infotext is pasted."""
    given = {
        "face_region": "everywhere",
        "people": [
            {
                "identity": "Somebody",
                "adapter_strength": 0.55,
                "pose": "keypoints",
                "keypoints": [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]],
            },
            {"identity": "Other", "identitynet_strength": 0.25, "pose": "none"},
        ],
    }
    ready.page.evaluate("text => window.instantid.restored('txt2img', text)", json.dumps(given))
    ready.settle()
    expect(ready.handle("nose of person 1")).to_be_visible()
    people = ready.settings()["people"]
    assert [person["identity"] for person in people] == ["Somebody", "Other"]
    assert people[0]["adapter_strength"] == 0.55
    assert people[1]["identitynet_strength"] == 0.25
    assert np.array(people[0]["keypoints"]) == pytest.approx(np.array(FIVE), abs=1e-6)
    assert ready.settings()["face_region"] == "everywhere"


def test_a_photo_that_is_added_again_is_read_as_it_was(ready: Panel) -> None:
    given = {"people": [{"face": 1, "adapter_strength": 0.55}, {"photo_keypoints": [FIVE]}]}
    ready.page.evaluate("text => window.instantid.restored('txt2img', text)", json.dumps(given))
    ready.page.evaluate("window.instantid.lost('txt2img', 'people[1].photos: abc cannot be restored; add it again.')")
    expect(ready.root.get_by_text("abc cannot be restored")).to_be_visible()
    ready.add_photos(png(TWO, "two"))
    ready.root.get_by_role("tab", name="Person 2").click()
    ready.add_photos(png(NOBODY, "nobody"))
    first, second = ready.settings()["people"]
    assert first["face"] == [1]
    assert first["adapter_strength"] == 0.55
    assert second["photo_keypoints"] == [FIVE]


def test_there_is_one_global_name(page: Page) -> None:
    page.wait_for_function("() => window.instantid && window.instantid.start")
    before = page.evaluate("() => Object.keys(window)")
    panel = Panel(page)
    panel.open()
    panel.settle()
    after = page.evaluate("() => Object.keys(window)")
    assert set(after) - set(before) == set()
    assert [name for name in after if "instantid" in name.lower()] == ["instantid"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser: Browser, address: str, theme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(f"{address}?__theme={theme}")
    panel = Panel(page)
    page.wait_for_function("() => window.instantid && window.instantid.start")
    panel.open()
    panel.add_photos(png(ONE, "one"), png(TWO, "two"), png(NOBODY, "nobody"))
    panel.root.get_by_role("button", name="Add a person").click()
    panel.add_photos(png(TWO, "two"))
    panel.unfold("Advanced")
    panel.root.get_by_label("InstantID acts on").select_option("mask")
    panel.settle()
    found = Axe().run(page, context=".instantid-panel").response["violations"]
    bad = [
        (each["id"], [node["html"][:160] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    context.close()
    assert bad == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overflows(browser: Browser, address: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(address)
    panel = Panel(page)
    page.wait_for_function("() => window.instantid && window.instantid.start")
    panel.open()
    panel.add_photos(png(ONE, "one"), png(TWO, "two"), png(NOBODY, "a name that is rather long " * 4))
    panel.unfold("Advanced")
    panel.settle()
    over = panel.root.evaluate(
        """root => {
            const edge = root.getBoundingClientRect().right + 1;
            const cut = e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1 && !['INPUT', 'SELECT'].includes(e.tagName);
            const seen = [...root.querySelectorAll('*:not(.instantid-handles *):not(.instantid-frame *)')];
            return seen.filter(e => e.offsetParent && getComputedStyle(e).overflow !== 'hidden')
                .filter(e => e.getBoundingClientRect().right > edge || cut(e)).map(e => e.outerHTML.slice(0, 120));
        }"""
    )
    context.close()
    assert over == []


def test_the_layout_stays_where_it_is_while_a_photo_is_looked_at(panel: Panel) -> None:
    """In the document: the page may have been scrolled to reach the button."""
    place = "editor => { const box = editor.getBoundingClientRect(); return [box.x, box.y + scrollY, box.width, box.height]; }"
    panel.add_photos(png(ONE, "one"))
    before = panel.editor.evaluate(place)
    panel.photos.first.get_by_role("button", name=re.compile("^Remove")).click()
    panel.add_photos(png(ONE, "one"))
    assert panel.editor.evaluate(place) == before


def test_everything_is_reached_by_the_keyboard(panel: Panel) -> None:
    panel.add_photos(png(TWO, "two"))
    panel.unfold("Advanced")
    panel.unfold("What brings the face in")
    panel.unfold("Pictures as prompts")
    panel.unfold("More control")
    expected = panel.root.evaluate(
        """root => [...root.querySelectorAll('button:not(:disabled), input, select, summary')]
            .filter(e => e.checkVisibility() && e.tabIndex >= 0 && e.type !== 'radio').length"""
    )
    panel.root.get_by_role("tab", name="Person 1").focus()
    seen = {0}
    for _ in range(expected + 20):
        index = panel.root.evaluate("root => [...root.querySelectorAll('*')].indexOf(document.activeElement)")
        if index < 0:
            break
        seen.add(index)
        panel.page.keyboard.press("Tab")
    assert len(seen) - 1 >= expected
