"""A person's system in the panel, from the choice to the picture."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.page.browser import ONE, Panel, png
from tests.page.test_generation import generate, values


def test_a_person_by_faceid_and_what_has_no_effect_then(panel: Panel) -> None:
    panel.number("steps", 2)
    panel.switch.check()
    panel.add_photos(png(ONE, "one"))
    panel.unfold("What brings the face in")
    person = panel.root.locator(".instantid-person")
    person.get_by_label("System", exact=True).select_option("FaceID")
    person.get_by_role("slider", name="LoRA of FaceID").fill("0.5")
    hint = panel.root.locator(".instantid-hint", has_text="FaceID, which places no head")
    expect(hint).to_have_count(0)
    person.get_by_label("Head placement").select_option("keypoints")
    expect(hint).to_have_count(1)
    person.get_by_label("Head placement").select_option("photo")
    generate(panel)
    (saved,) = values(panel)["settings"]["people"]  # type: ignore[index]
    assert (saved["system"], saved["lora_strength"]) == ("FaceID", 0.5)
    assert panel.errors == []
