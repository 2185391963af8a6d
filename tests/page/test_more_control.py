"""The panel's section "More control", from the file to the map and the picture."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.page.browser import NOBODY, ONE, TWO, Panel, png
from tests.page.test_generation import generate, values


@pytest.fixture
def section(panel: Panel) -> Locator:
    panel.number("steps", 2)
    panel.switch.check()
    panel.unfold("More control")
    return panel.root.locator(".instantid-section-controls")


def add(section: Locator, name: str = "street") -> Locator:
    before = section.locator(".instantid-entry").count()
    section.locator("> .instantid-drop input").first.set_input_files([png(ONE, name)])
    expect(section.locator(".instantid-entry")).to_have_count(before + 1)
    return section.locator(".instantid-entry").last


def shown(box: Locator) -> np.ndarray:
    """The map in a control's box, (H, W, 3) uint8 RGB."""
    picture = box.locator(".instantid-control-map")
    expect(picture).to_be_visible()
    url = picture.get_attribute("src") or ""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def test_the_map_is_shown_before_generating_and_follows_the_settings(panel: Panel, section: Locator) -> None:
    panel.number("width", 256)
    panel.number("height", 256)
    box = add(section)
    assert shown(box).shape == (256, 256, 3)
    box.get_by_label("Preprocessor").select_option("canny")
    expect(box.locator(".instantid-control-map")).to_be_hidden()
    whole = cv2.resize(ONE, (256, 256), interpolation=cv2.INTER_AREA)
    edges = shown(box)
    assert np.array_equal(edges[..., 0], cv2.Canny(whole, 100, 200))
    panel.number("height", 128)
    expect(box.locator(".instantid-control-map")).to_be_hidden()
    assert shown(box).shape == (128, 256, 3)
    box.get_by_label("Preprocessor").select_option("keypoints")
    expect(box.locator(".instantid-control-map")).to_be_hidden()
    assert shown(box).max() == 255
    assert panel.errors == []


def test_a_control_alone_makes_a_picture_and_nobody_is_asked_for(panel: Panel, section: Locator) -> None:
    box = add(section)
    box.get_by_label("Preprocessor").select_option("canny")
    box.get_by_role("slider", name="Strength", exact=True).fill("0.4")
    expect(panel.page.locator(".instantid-badge")).to_have_text("on, 1 control")
    generate(panel)
    settings = values(panel)["settings"]
    (control,) = settings["controls"]  # type: ignore[index]
    assert (control["preprocessor"], control["strength"]) == ("canny", 0.4)
    assert control["model"] == "controlnet-canny/diffusion_pytorch_model.safetensors"
    assert settings["people"] == []  # type: ignore[index]
    assert panel.errors == []


def test_a_person_and_two_controls_go_together_and_one_is_removed(panel: Panel, section: Locator) -> None:
    panel.add_photos(png(ONE, "one"))
    for name in ("a", "b"):
        add(section, name).get_by_label("Preprocessor").select_option("canny")
    panel.page.wait_for_function(
        "id => JSON.parse(document.querySelector(`#${id} textarea`).value).controls?.[1]?.picture",
        arg=panel.data["ids"]["settings"],
    )
    assert len(panel.settings()["controls"]) == 2
    section.get_by_role("button", name="Remove this control").first.click()
    assert len(panel.settings()["controls"]) == 1
    generate(panel)
    settings = values(panel)["settings"]
    assert len(settings["people"]) == len(settings["controls"]) == 1  # type: ignore[index]


def test_what_a_preprocessor_lacks_is_said_at_the_control(panel: Panel, section: Locator) -> None:
    add(section)
    box = add(section, "second")
    box.locator(".instantid-drop input").first.set_input_files([png(NOBODY, "nobody")])
    box.get_by_label("Preprocessor").select_option("keypoints")
    expect(box.get_by_role("status")).to_contain_text("Control 2, picture: no face")
    assert panel.errors == []


def test_one_picture_places_heads_and_bodies_of_everybody(panel: Panel, section: Locator) -> None:
    panel.number("width", 400)
    panel.number("height", 304)
    panel.add_photos(png(ONE, "one"))
    panel.root.get_by_role("button", name="Add a person").click()
    panel.add_photos(png(ONE, "two"))
    section.locator("> .instantid-drop input").last.set_input_files([png(TWO, "pair")])
    box = section.locator(".instantid-entry")
    expect(box).to_have_count(1)
    expect(box.get_by_role("status")).to_contain_text("pip install controlnet_aux")  # this host has no preprocessor of poses
    box.get_by_label("Preprocessor").select_option("as it is")
    assert shown(box).shape == (304, 400, 3)
    found = panel.settings()
    assert [person["pose"] for person in found["people"]] == ["pose picture"] * 2
    assert len({person["pose_picture"] for person in found["people"]} | {found["controls"][0]["picture"]}) == 1
    assert (found["face_region"], found["controls"][0]["map"]) == ("face", "pose")
    drawn = panel.map()
    left, right = drawn[:, :180].max(), drawn[:, 220:].max()
    assert left > 0
    assert right > 0
    assert section.locator("> [role=status]").inner_text() == ""
    panel.number("height", 200)
    section.locator("> .instantid-drop input").last.set_input_files([png(TWO, "pair")])
    expect(section.locator("> [role=status]")).to_contain_text("The picture has 400 × 300 pixels and is cropped")
    expect(box).to_have_count(1)
    assert panel.errors == []
