"""Both tabs' panels beside each other: what a picture takes along from one to the other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from lib_instantid.encoders.face.faces import short_hash
from tests.page.browser import ONE, TWO, Panel, png


@pytest.fixture
def tabs(browser: Browser, two_tabs: str) -> Iterator[tuple[Panel, Panel]]:
    """txt2img's panel, opened, and img2img's, which nobody has looked into."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(two_tabs)
    page.wait_for_function("() => window.instantid && window.instantid.start")
    panels = Panel(page, "txt2img"), Panel(page, "img2img")
    panels[0].open()
    yield panels
    assert panels[0].errors == []
    context.close()


def test_a_picture_sent_to_another_tab_takes_its_person_along(tabs: tuple[Panel, Panel]) -> None:
    source, target = tabs
    source.add_photos(png(ONE, "one"), png(TWO, "two"))
    source.photos.nth(1).get_by_role("button", name="Face 1 from the left").click()
    source.slide("Detail", 0.55)
    source.switch.check()
    source.page.locator("#img2img_tab").click()
    expect(target.switch).to_be_checked()
    assert target.settings() == source.settings()  # also while nobody has opened the panel
    target.open()
    expect(target.photos).to_have_count(2)
    expect(target.photos.nth(1).get_by_role("button", name="Face 1 from the left")).to_have_attribute("aria-pressed", "true")
    target.settle()
    assert target.settings() == source.settings()


def test_each_tab_goes_its_own_way_afterwards(tabs: tuple[Panel, Panel]) -> None:
    source, target = tabs
    target.open()
    source.add_photos(png(ONE, "one"))
    source.page.locator("#img2img_tab").click()
    expect(target.photos).to_have_count(1)
    target.photos.first.get_by_role("button", name="Remove photo 1").click()
    expect(target.photos).to_have_count(0)
    expect(source.photos).to_have_count(1)
    assert source.photos.first.locator("img").evaluate("async image => (await fetch(image.src)).ok")


def test_a_panel_that_is_opened_before_gradio_tells_of_what_was_sent_has_it(tabs: tuple[Panel, Panel]) -> None:
    _, target = tabs
    boxes = {"settings": json.dumps({"people": [], "cfg_rescale": 0.5}), "lost": "Person 1, photos: abc cannot be restored."}
    for name, text in boxes.items():  # as it stands there before gradio calls for the change
        box = target.page.locator(f"#{target.data['ids'][name]} textarea")
        box.evaluate("(box, text) => { box.value = text; }", text)
    target.open()
    target.settle()
    assert target.settings()["cfg_rescale"] == 0.5
    expect(target.root.get_by_text("abc cannot be restored")).to_be_visible()


def test_pictures_that_are_still_in_the_page_come_back_by_an_infotexts_hashes(tabs: tuple[Panel, Panel]) -> None:
    """Pictures as prompts and those of controls; what the page does not have is said, and left out."""
    source, target = tabs
    for title, owner, file in (
        ("Pictures as prompts", "image_prompts", png(ONE, "one")),
        ("More control", "controls", png(TWO, "two")),
    ):
        source.unfold(title)
        source.root.locator(f".instantid-section-{owner} > .instantid-drop input").first.set_input_files([file])
    source.page.wait_for_function(
        "id => { const {image_prompts: prompts, controls} = JSON.parse(document.querySelector(`#${id} textarea`).value); "
        "return prompts?.[0].pictures.length && controls?.[0].picture; }",
        arg=source.data["ids"]["settings"],
    )
    source.add_photos(png(ONE, "person"))  # what is asked of Python is answered in turn: their hashes are known then
    one, two = short_hash(ONE), short_hash(TWO)
    prompts = [{"pictures": [f"#{one}", "#0badcafe"], "strength": 0.5}]
    given = {"image_prompts": prompts, "controls": [{"picture": f"#{two}", "strength": 0.25}]}
    lost = [f"Picture prompt 1, pictures: {name} cannot be restored." for name in (one, "0badcafe")]
    target.open()
    source.page.evaluate("text => window.instantid.restored('img2img', text)", json.dumps(given))
    source.page.evaluate("text => window.instantid.lost('img2img', text)", "\n".join(lost))
    target.settle()
    (prompt,), (control,) = target.settings()["image_prompts"], target.settings()["controls"]
    (other,), (another,) = source.settings()["image_prompts"], source.settings()["controls"]
    assert (prompt["pictures"], prompt["strength"]) == (other["pictures"], 0.5)
    assert (control["picture"], control["strength"]) == (another["picture"], 0.25)
    expect(target.root.get_by_text("0badcafe cannot be restored")).to_be_visible()
    expect(target.root.get_by_text(one)).to_have_count(0)


def test_looking_into_the_accordion_switches_nothing_on(tabs: tuple[Panel, Panel]) -> None:
    source, _ = tabs
    expect(source.switch).not_to_be_checked()
    source.add_photos(png(ONE, "one"))
    expect(source.root.get_by_text("InstantID is off")).to_be_visible()
    source.switch.check()
    expect(source.root.get_by_text("InstantID is off")).to_be_hidden()
    expect(source.page.locator(".instantid-badge").first).to_have_text("on, 1 person")


def test_where_several_identitynets_are_there_one_is_chosen_and_goes_along(tabs: tuple[Panel, Panel]) -> None:
    source, target = tabs
    source.add_photos(png(ONE, "one"))
    source.root.get_by_text("Advanced").click()
    source.root.get_by_label("IdentityNet", exact=True).select_option("b.safetensors")
    source.settle()
    assert source.settings()["identitynet_file"] == "b.safetensors"
    source.page.wait_for_timeout(2000)  # gradio takes a text over some time after it was written, and a busy machine is slow
    source.page.locator("#img2img_tab").click()
    target.open()
    target.root.get_by_text("Advanced").click()
    expect(target.root.get_by_label("IdentityNet", exact=True)).to_have_value("b.safetensors", timeout=30_000)
    target.root.get_by_label("IdentityNet", exact=True).select_option("ControlNetModel/a.safetensors")
    target.settle()
    assert target.settings()["identitynet_file"] is None


def test_the_first_of_several_controlnets_can_be_chosen_and_left_to_what_fits(tabs: tuple[Panel, Panel]) -> None:
    source, _ = tabs
    source.unfold("More control")
    source.root.locator(".instantid-section-controls > .instantid-drop input").first.set_input_files([png(ONE, "one")])
    model = source.root.locator(".instantid-section-controls").get_by_label("Model", exact=True)
    for label, value in (("canny.safetensors", "canny.safetensors"), ("the first that fits", None)):
        model.select_option(label=label)
        source.settle()
        assert source.settings()["controls"][0]["model"] == value
        assert model.evaluate("select => select.selectedOptions[0].text") == label


def test_the_infotext_of_a_picture_whose_photos_are_still_in_the_page_brings_them_back(tabs: tuple[Panel, Panel]) -> None:
    """As "Send to img2img" of PNG Info does: by the photos' hashes, with the faces that were chosen."""
    source, target = tabs
    source.add_photos(png(ONE, "one"), png(TWO, "two"))
    hashes = [short_hash(ONE), short_hash(TWO)]
    given = {"people": [{"photos": [f"#{one}" for one in hashes], "face": ["largest", 1]}, {"photos": ["#0badcafe"]}]}
    sentences = [f"Person 1, photos: {', '.join(hashes)} cannot be restored.", "Person 2, photos: 0badcafe cannot be restored."]
    target.open()
    source.page.evaluate("text => window.instantid.restored('img2img', text)", json.dumps(given))
    source.page.evaluate("text => window.instantid.lost('img2img', text)", "\n".join(sentences))
    expect(target.photos).to_have_count(2)
    expect(target.photos.nth(1).get_by_role("button", name="Face 1 from the left")).to_have_attribute("aria-pressed", "true")
    target.settle()
    first, second = target.settings()["people"]
    assert first["photos"] == source.first()["photos"]
    assert first["face"] == ["largest", 1]
    assert second["photos"] == []
    expect(target.root.get_by_text("0badcafe cannot be restored")).to_be_visible()
    expect(target.root.get_by_text(hashes[0])).to_have_count(0)
