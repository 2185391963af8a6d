"""The panel's section "Pictures as prompts", from the file to the picture."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.page.browser import NOBODY, ONE, Panel, png
from tests.page.test_generation import generate, values


@pytest.fixture
def section(panel: Panel) -> Locator:
    panel.number("steps", 2)
    panel.switch.check()
    panel.unfold("Pictures as prompts")
    return panel.root.locator(".instantid-section-image_prompts")


def stored(panel: Panel, group: int, count: int) -> None:
    """Wait until a group's pictures are stored, and so are among the settings."""
    panel.page.wait_for_function(
        "([id, group, count]) => JSON.parse(document.querySelector(`#${id} textarea`).value)"
        ".image_prompts?.[group]?.pictures.length === count",
        arg=[panel.data["ids"]["settings"], group, count],
    )


def test_pictures_alone_make_a_picture_and_nobody_is_asked_for(panel: Panel, section: Locator) -> None:
    section.locator("> .instantid-drop input").set_input_files([png(NOBODY, "style")])
    stored(panel, 0, 1)
    section.get_by_label("What the pictures give").select_option("style")
    section.get_by_role("slider", name="Strength", exact=True).fill("0.9")
    expect(panel.page.locator(".instantid-badge")).to_have_text("on, 1 picture as prompts")
    generate(panel)
    settings = values(panel)["settings"]
    (prompt,) = settings["image_prompts"]  # type: ignore[index]
    assert (prompt["layers"], prompt["strength"]) == ("style", 0.9)
    assert len(prompt["pictures"]) == 1
    assert settings["people"] == []  # type: ignore[index]
    assert panel.errors == []


def test_a_person_and_two_groups_go_together(panel: Panel, section: Locator) -> None:
    panel.add_photos(png(ONE, "one"))
    first = section.locator("> .instantid-drop input")
    first.set_input_files([png(NOBODY, "a"), png(ONE, "b")])
    expect(section.locator(".instantid-entry [role=listitem] img")).to_have_count(2)
    first.set_input_files([png(NOBODY, "c")])
    expect(section.locator(".instantid-entry")).to_have_count(2)
    expect(section.locator(".instantid-entry [role=listitem] img")).to_have_count(3)
    stored(panel, 1, 1)
    found = panel.settings()
    assert [len(prompt["pictures"]) for prompt in found["image_prompts"]] == [2, 1]
    assert len(found["people"]) == 1
    section.get_by_role("button", name="Remove picture 1, a.png").click()
    section.get_by_role("button", name="Remove this group").last.click()
    assert [len(prompt["pictures"]) for prompt in panel.settings()["image_prompts"]] == [1]
    generate(panel)
    settings = values(panel)["settings"]
    assert len(settings["people"]) == len(settings["image_prompts"]) == 1  # type: ignore[index]


def test_a_group_that_lost_its_pictures_is_refused_by_name(panel: Panel, section: Locator) -> None:
    section.locator("> .instantid-drop input").set_input_files([png(NOBODY, "style")])
    expect(section.locator(".instantid-entry [role=listitem] img")).to_have_count(1)
    section.get_by_role("button", name="Remove picture 1, style.png").click()
    generate(panel)
    expect(panel.page.locator("#progress").first).to_contain_text("Image prompt 1, pictures: found 0, expected 1 to 8")
