"""Pictures of the panel's states, to look at: python -m tests.page.screenshots ADDRESS FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright
from skimage.data import astronaut

from tests.page.browser import NOBODY, TWO, Panel, find_chromium, launch, png

ASTRONAUT_POINTS = ((203.0, 101.0), (246.0, 103.5), (225.0, 126.0), (205.0, 141.0), (243.0, 141.5))
"""(5, 2) XY in pixels: eyes, nose and mouth corners in scikit-image's `astronaut`."""

ASTRONAUT_SIZE = 512
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "narrow": (400, "light")}


def states(browser: Browser, address: str, folder: Path, view: str) -> None:
    """One way through the panel, with a picture of each state."""
    width, theme = VIEWS[view]
    page = browser.new_context(viewport={"width": width, "height": 1000}).new_page()
    page.goto(f"{address}?__theme={theme}")
    panel = Panel(page)
    page.wait_for_function("() => window.instantid && window.instantid.start")
    page.wait_for_timeout(1000)

    def shot(name: str, whole: bool = False) -> None:
        part = page if whole else page.locator(f"#{panel.data['ids']['enabled']}").first
        part.screenshot(path=folder / f"{view}-{name}.png", **({"full_page": True} if whole else {}))

    shot("1-closed", whole=True)
    panel.open()
    shot("2-empty")
    panel.add_photos(png(astronaut(), "astronaut"))
    shot("3-no-face")
    panel.photos.first.get_by_role("button", name="Place the five points yourself").click()
    for point, (x, y) in zip(panel.photos.first.locator(".instantid-point").all(), ASTRONAUT_POINTS, strict=True):
        box, frame = point.bounding_box(), panel.photos.first.locator(".instantid-frame").bounding_box()
        assert box
        assert frame
        goal = frame["x"] + x / ASTRONAUT_SIZE * frame["width"], frame["y"] + y / ASTRONAUT_SIZE * frame["height"]
        panel.drag(point, goal[0] - box["x"] - box["width"] / 2, goal[1] - box["y"] - box["height"] / 2)
    shot("4-points-by-hand")
    panel.photos.first.get_by_role("button", name="Use these points").click()
    expect(panel.photos.first.locator(".instantid-dot")).to_have_count(5)
    panel.settle()
    shot("5-one-person")
    panel.add_photos(png(TWO, "two"), png(NOBODY, "nobody"), {"name": "broken.png", "mimeType": "image/png", "buffer": b"x"})
    panel.root.get_by_role("button", name="Add a person").click()
    panel.add_photos(png(TWO, "two"))
    panel.slide("Turn", 35)
    panel.number("cfg_scale", 9)
    panel.unfold("Advanced")
    shot("6-two-people-advanced")
    panel.root.get_by_label("InstantID acts on").select_option("mask")
    panel.drag(panel.person.locator("canvas.instantid-mask"), 40, 30)
    shot("7-region")
    panel.root.get_by_role("tab", name="Person 1").click()
    shot("8-errors")
    panel.person.get_by_label("A saved identity").check()
    shot("9-identity")


def main(address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright, str(find_chromium()))
        for view in VIEWS:
            states(browser, address, folder, view)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
