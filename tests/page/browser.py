"""A real browser, and what a person does with the panel in it: in the page of its own and in the WebUIs."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright

from tests.encoders.face.scenes import RED, as_png, squares

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")
WAIT = 60_000

ONE = squares(300, 300, [(90, 80, 120)], RED)
TWO = squares(400, 300, [(30, 90, 120), (240, 60, 130)], RED)
NOBODY = squares(300, 200, [])


def find_chromium() -> str | None:
    """A Chromium of this machine, or Playwright's own; None where there is neither."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def launch(playwright: Playwright, executable: str) -> Browser:
    return playwright.chromium.launch(executable_path=executable, args=list(QUIET))


def png(picture: np.ndarray, name: str) -> dict[str, Any]:
    """A file for the browser. picture: (H, W, 3) uint8 RGB."""
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": as_png(picture)}


class Panel:
    """The panel of one tab, in a person's hands."""

    def __init__(self, page: Page, tab: str = "txt2img") -> None:
        self.page = page
        self.tab = tab
        self.errors: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.root = page.locator(f"#tab_{tab} .instantid-panel")
        self.person = self.root.locator(".instantid-person:not([hidden])")
        self.editor = self.root.locator(".instantid-editor")

    @property
    def data(self) -> dict[str, Any]:
        """What Python gave the panel."""
        found: dict[str, Any] = json.loads(self.root.get_attribute("data-panel") or "")
        return found

    def open(self) -> None:
        """Unfold the accordion, which builds the panel."""
        self.page.locator(f"#{self.data['ids']['enabled']} > .label-wrap").click()
        self.root.get_by_role("tab", name="Person 1").wait_for()

    def unfold(self, title: str) -> None:
        """Open one of the panel's folded parts."""
        self.root.locator("summary").filter(has_text=re.compile(f"^{title}$")).click()

    @property
    def switch(self) -> Locator:
        return self.page.locator(f"#{self.data['ids']['enabled']}-checkbox input")

    def add_photos(self, *files: dict[str, Any]) -> None:
        """Choose files, and wait until each has been looked at."""
        before = self.photos.count()
        self.person.locator(".instantid-drop input").first.set_input_files(list(files))
        expect(self.photos).to_have_count(before + len(files))
        expect(self.person.get_by_text("Looking for faces")).to_have_count(0)
        self.settle()

    @property
    def photos(self) -> Locator:
        return self.person.locator(".instantid-photo")

    def settle(self) -> None:
        """Wait until the editor shows what Python says."""
        expect(self.editor).to_have_attribute("aria-busy", "false")

    def settings(self) -> dict[str, Any]:
        """What a generation would get now."""
        found: dict[str, Any] = json.loads(self.page.input_value(f"#{self.data['ids']['settings']} textarea"))
        return found

    def first(self) -> dict[str, Any]:
        person: dict[str, Any] = self.settings()["people"][0]
        return person

    def map(self) -> np.ndarray:
        """The editor's canvas, (H, W, 3) uint8 RGB."""
        self.settle()
        url = self.editor.locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))

    def drag(self, handle: Locator, dx: float, dy: float) -> None:
        """Pull a handle by so many CSS pixels, in a few moves."""
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up()
        self.settle()

    def handle(self, name: str) -> Locator:
        """By how its label begins."""
        return self.editor.get_by_role("button", name=re.compile("^" + re.escape(name)))

    def keypoints(self) -> np.ndarray:
        """(5, 2) of the first person, as fractions."""
        return np.array(self.first()["keypoints"])

    def slide(self, label: str, value: float) -> None:
        """Move a slider as a person does who ends at this value."""
        slider = self.root.get_by_role("slider", name=label, exact=True)
        slider.evaluate(
            "(range, value) => { range.value = value; range.dispatchEvent(new Event('input', {bubbles: true})); }", value
        )
        slider.dispatch_event("change")
        self.settle()

    def number(self, name: str, value: int) -> None:
        """Type a number into one of the WebUI's own fields."""
        field = self.page.locator(f"#{self.tab}_{name} input[type=number]").first
        field.fill(str(value))
        field.press("Tab")
        self.settle()

    def press(self, names: Sequence[str]) -> None:
        for name in names:
            self.editor.get_by_role("button", name=name, exact=True).click()
        self.settle()
