"""The panel in a real browser in the real WebUI: the same person's way as in the page of its own, in both tabs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live.webui import WebUI, noise_picture
from tests.page.browser import NOBODY, ONE, TWO, Panel, find_chromium, launch, png

pytestmark = pytest.mark.page
TABS = ("txt2img", "img2img")
OWN_ERRORS = "Cannot read properties of undefined (reading 'props')"
"""A1111's page raises it by itself, without any extension."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    assert chromium, "no Chromium: install the package chromium"
    with sync_playwright() as playwright:
        browser = launch(playwright, chromium)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, webui: WebUI) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    page = context.new_page()
    page.goto(webui.url)
    page.locator("#txt2img_prompt textarea").wait_for(timeout=60_000)
    page.wait_for_timeout(2000)  # the WebUI's own scripts prepare the page
    yield page
    context.close()


def _show_img2img(page: Page) -> None:
    """With a picture to start from."""
    page.locator("#tabs button:visible", has_text="img2img").first.click()
    page.locator("#img2img_image input[type=file]").first.set_input_files(png(noise_picture(), "start"))


@pytest.fixture(params=TABS)
def panel(page: Page, request: pytest.FixtureRequest) -> Iterator[Panel]:
    """The opened panel of a tab, with a small and quick picture to come; at the end the page has raised no error."""
    panel = Panel(page, request.param)
    if request.param == "img2img":
        _show_img2img(page)
    panel.open()
    panel.switch.check()
    for name, value in (("width", 256), ("height", 256), ("steps", 2), ("cfg_scale", 5)):
        panel.number(name, value)
    yield panel
    assert [error for error in panel.errors if OWN_ERRORS not in error] == []


def result(panel: Panel) -> str:
    """Generate, and wait for the infotext below the picture."""
    info = panel.page.locator(f"#html_info_{panel.tab}").first
    panel.page.locator(f"#{panel.tab}_generate").click()
    expect(info).to_contain_text("Steps:", timeout=120_000)
    return info.inner_text()


def test_from_a_photo_to_the_picture(panel: Panel) -> None:
    panel.add_photos(png(TWO, "two"))
    expect(panel.photos.first).to_contain_text("Good photo")
    panel.photos.first.get_by_role("button", name="Face 1 from the left").click()
    expect(panel.handle("nose of person 1")).to_be_visible()
    before = panel.map()
    panel.drag(panel.handle("nose of person 1"), 15, 10)
    panel.slide("Turn", 30)
    assert panel.first()["pose"] == "keypoints"
    turned = panel.map()
    assert (turned != before).any()
    panel.press(["Undo"])
    panel.press(["Redo"])
    assert (panel.map() == turned).all()
    points = panel.keypoints()
    text = result(panel)
    assert "InstantID:" in text
    assert f"{points[2][0]:.4f}"[:5] in text
    expect(panel.page.locator(f"#{panel.tab}_gallery img").first).to_be_visible()


def test_an_identity_is_saved_and_used(panel: Panel) -> None:
    name = f"Live {panel.tab}"
    panel.add_photos(png(ONE, "one"))
    panel.person.get_by_role("textbox", name="Name of the identity").fill(name)
    panel.person.get_by_role("button", name="Save identity").click()
    expect(panel.person.get_by_text(f"Saved as {name};")).to_be_visible()
    panel.person.get_by_label("A saved identity").check()
    panel.person.get_by_label("Saved identity", exact=True).select_option(name)
    panel.settle()
    assert name in result(panel)
    panel.person.get_by_role("button", name="Delete", exact=True).click()
    panel.person.get_by_role("button", name=f"Delete {name} for good?").click()
    expect(panel.person.get_by_label("Saved identity", exact=True)).not_to_contain_text(name)


def test_a_photo_without_a_face_stops_the_generation_with_a_sentence(panel: Panel) -> None:
    panel.add_photos(png(NOBODY, "nobody"), {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(panel.photos.nth(1)).to_contain_text("broken.png")
    panel.page.locator(f"#{panel.tab}_generate").click()
    expect(
        panel.page.locator(f"#html_log_{panel.tab}, #html_info_{panel.tab}")
        .get_by_text("no face found in the picture of 300 x 200")
        .first
    ).to_be_visible(timeout=60_000)
    panel.add_photos(png(ONE, "one"))
    assert "InstantID:" in result(panel)


def test_a_pasted_infotext_fills_the_panel(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    panel.slide("Detail", 0.55)
    panel.press(["Centre"])
    points = panel.keypoints()
    text = result(panel)
    panel.page.reload()
    panel.page.locator("#txt2img_prompt textarea").wait_for()
    panel.page.wait_for_timeout(2000)
    if panel.tab == "img2img":
        _show_img2img(panel.page)
    panel.page.locator(f"#{panel.tab}_prompt textarea").fill(text)
    panel.page.locator(f"#{panel.tab}_tools #paste, #{panel.tab}_tools button").first.click()
    expect(panel.switch).to_be_checked()
    panel.open()
    panel.root.get_by_text("cannot be restored").wait_for()
    assert panel.first()["adapter_strength"] == 0.55
    assert panel.keypoints() == pytest.approx(points, abs=1e-4)
    panel.add_photos(png(ONE, "one"))
    assert "InstantID:" in result(panel)


def test_the_panel_is_not_built_until_it_is_opened(page: Page) -> None:
    assert page.locator(".instantid-panel").count() == 2
    assert page.locator(".instantid-panel *").count() == 0
