"""A person's way through the panel: photos, faces, identities, presets, errors."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Page, Route, expect

from lib_instantid.encoders.face.head_points import average_head
from tests.page.browser import NOBODY, ONE, TWO, Panel, png


def test_nothing_is_built_until_the_accordion_is_opened(page: Page) -> None:
    page.wait_for_function("() => window.instantid && window.instantid.start")
    root = page.locator(".instantid-panel")
    assert root.locator("*").count() == 0
    page.wait_for_timeout(500)
    assert root.locator("*").count() == 0
    panel = Panel(page)
    panel.open()
    assert root.locator("*").count() > 50


def test_a_photo_shows_its_face_and_its_report(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    photo = panel.photos.first
    expect(photo.locator(".instantid-box")).to_have_count(1)
    expect(photo.locator(".instantid-dot")).to_have_count(5)
    expect(photo).to_contain_text("Usable photo")
    expect(photo).to_contain_text("use at least 112")
    assert len(panel.first()["photos"]) == 1
    expect(panel.page.locator(".instantid-badge")).to_have_text("off, 1 person")


def test_of_several_faces_a_click_chooses_one(panel: Panel) -> None:
    panel.add_photos(png(TWO, "two"))
    assert "face" not in panel.first()
    panel.photos.first.get_by_role("button", name="Face 1 from the left").click()
    assert panel.first()["face"] == [1]
    expect(panel.photos.first.get_by_role("button", name="Face 1 from the left")).to_have_attribute("aria-pressed", "true")


def test_five_points_are_placed_by_hand_where_no_face_is_found(panel: Panel) -> None:
    panel.add_photos(png(NOBODY, "nobody"))
    expect(panel.photos.first).to_contain_text("No face found")
    expect(panel.page.locator(".instantid-badge")).to_have_text("off, no face found")
    panel.photos.first.get_by_role("button", name="Place the five points yourself").click()
    frame = panel.photos.first.locator(".instantid-frame").bounding_box()
    assert frame is not None
    assert frame["height"] > 300
    assert frame["width"] / frame["height"] == pytest.approx(1.5, rel=0.01)
    nose = panel.photos.first.get_by_role("button", name="nose in the photo")
    at = nose.bounding_box()
    assert at is not None
    start = average_head(300, 200)[2] / (300, 200)
    assert (at["x"] + at["width"] / 2 - frame["x"]) / frame["width"] == pytest.approx(start[0], abs=0.01)
    assert (at["y"] + at["height"] / 2 - frame["y"]) / frame["height"] == pytest.approx(start[1], abs=0.01)
    panel.drag(nose, 30, 0)
    nose.press("ArrowDown")
    panel.photos.first.get_by_role("button", name="Use these points").click()
    expect(panel.photos.first.locator(".instantid-dot")).to_have_count(5)
    panel.settle()
    (points,) = panel.first()["photo_keypoints"]
    assert points[2][0] == pytest.approx(start[0] + 30 / frame["width"], abs=0.003)
    assert points[2][1] == pytest.approx(start[1] + 1 / frame["height"], abs=0.002)


@pytest.mark.parametrize(
    ("name", "content"),
    [("broken.png", b"no picture"), ("empty.jpg", b""), ("text.txt", b"hello"), ("cut.png", png(ONE, "x")["buffer"][:200])],
)
def test_a_wrong_file_says_so_by_its_name_and_the_others_stay(panel: Panel, name: str, content: bytes) -> None:
    kind = "text/plain" if name.endswith("txt") else "image/png"
    panel.add_photos(png(ONE, "one"), {"name": name, "mimeType": kind, "buffer": content})
    alert = panel.photos.nth(1).get_by_role("alert")
    expect(alert).to_contain_text(name)
    expect(alert).not_to_contain_text("/tmp")
    assert len(panel.first()["photos"]) == 1
    panel.photos.nth(1).get_by_role("button", name=f"Remove photo 2, {name}").click()
    expect(panel.photos).to_have_count(1)


def test_photos_are_dropped_and_pasted(panel: Panel) -> None:
    drop = """(zone, bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'dropped.png', {type: 'image/png'}));
        zone.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    paste = """(zone, bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'pasted.png', {type: 'image/png'}));
        zone.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
    }"""
    zone = panel.person.locator(".instantid-drop").first
    for action in (drop, paste):
        zone.evaluate(action, list(png(ONE, "x")["buffer"]))
    expect(panel.photos).to_have_count(2)
    expect(panel.person.get_by_text("Usable photo")).to_have_count(2)


def test_more_photos_than_allowed_are_left_out_with_a_word(panel: Panel) -> None:
    most = panel.data["max_photos"]
    panel.person.locator(".instantid-drop input").first.set_input_files([png(ONE, str(i)) for i in range(most + 2)])
    expect(panel.photos).to_have_count(most)
    expect(panel.person.get_by_role("alert").first).to_contain_text(f"At most {most} photos; 2 left out")


def test_an_identity_is_saved_used_renamed_and_deleted(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    panel.person.get_by_role("textbox", name="Name of the identity").fill("../bad")
    panel.person.get_by_role("button", name="Save identity").click()
    expect(panel.person.locator(".instantid-error", has_text="identity: the name")).to_be_visible()
    panel.person.get_by_role("textbox", name="Name of the identity").fill("Ada")
    panel.person.get_by_label("with a thumbnail").check()
    panel.person.get_by_role("button", name="Save identity").click()
    expect(panel.person.get_by_text("Saved as Ada;")).to_be_visible()

    panel.person.get_by_label("A saved identity").check()
    expect(panel.person.get_by_label("Saved identity", exact=True)).to_have_value("Ada")
    panel.settle()
    assert panel.first()["identity"] == "Ada"
    assert "photos" not in panel.first()
    assert panel.first()["pose"] == "none"
    expect(panel.person.get_by_alt_text("Thumbnail of Ada")).to_be_visible()

    panel.person.get_by_role("textbox", name="New name").fill("Grace")
    panel.person.get_by_role("button", name="Rename").click()
    expect(panel.person.get_by_alt_text("Thumbnail of Grace")).to_be_visible()
    assert panel.first()["identity"] == "Grace"

    panel.person.get_by_role("button", name="Delete", exact=True).click()
    panel.person.get_by_role("button", name="Delete Grace for good?").click()
    expect(panel.person.get_by_label("Saved identity", exact=True)).not_to_contain_text("Grace")
    assert panel.first()["identity"] is None


def test_where_no_identity_is_saved_the_panel_says_how_to_save_one(panel: Panel) -> None:
    panel.person.get_by_label("A saved identity").check()
    choice = panel.person.get_by_label("Saved identity", exact=True)
    while choice.locator("option").count() > 1:
        choice.select_option(index=1)
        name = choice.input_value()
        panel.person.get_by_role("button", name="Delete", exact=True).click()
        panel.person.get_by_role("button", name=f"Delete {name} for good?").click()
        expect(choice.locator("option", has_text=name)).to_have_count(0)
    expect(panel.person.get_by_text("No identity is saved yet. Choose “Photos”")).to_be_visible()
    expect(choice).to_be_hidden()


def test_the_cross_of_a_photo_covers_nothing_of_its_name(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"), {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"})
    for index, name in enumerate(("one.png", "notes.txt")):
        cross = panel.photos.nth(index).get_by_role("button", name=f"Remove photo {index + 1}").bounding_box()
        title = panel.photos.nth(index).locator(".instantid-title > p").bounding_box()
        assert panel.photos.nth(index).locator(".instantid-title > p").inner_text() == name
        assert cross is not None
        assert title is not None
        assert title["x"] + title["width"] <= cross["x"]


def test_a_request_that_fails_says_so_and_the_next_is_answered(panel: Panel) -> None:
    def fail_once(route: Route) -> None:
        asked = "faces" in (route.request.post_data or "")
        if asked and not failed:
            failed.append(1)
            route.abort()
        else:
            route.fallback()

    failed: list[int] = []
    panel.page.route("**/*", fail_once)
    panel.add_photos(png(TWO, "two"))
    assert failed
    expect(panel.photos.first.get_by_role("alert")).to_contain_text("did not answer")
    panel.add_photos(png(ONE, "one"))
    expect(panel.photos.nth(1)).to_contain_text("Usable photo")
    expect(panel.photos.nth(1).locator(".instantid-box")).to_have_count(1)
    panel.errors.clear()  # gradio's own, of the request


BACKDROP = """([id, url]) => {
    const tab = document.createElement("div");
    tab.id = id;
    tab.innerHTML = `<img alt="no source"><img width="40" height="40" src="${url}">`;
    document.body.append(tab);
    return tab.querySelector("img:last-child").decode();
}"""


@pytest.mark.parametrize("tab", ["img2img_image", "img2img_sketch", "img2maskimg", "inpaint_sketch", "img_inpaint_base"])
def test_the_picture_of_whichever_img2img_tab_is_open_goes_behind_the_points(panel: Panel, tab: str) -> None:
    url = "data:image/png;base64," + base64.b64encode(png(ONE, "x")["buffer"]).decode()
    choice = panel.root.get_by_label("Behind the points")
    choice.select_option("the picture of img2img")
    expect(panel.root.get_by_text("There is no such picture now")).to_be_visible()
    panel.page.evaluate(BACKDROP, [tab, url])
    choice.select_option("none")
    choice.select_option("the picture of img2img")
    expect(panel.editor.locator(".instantid-backdrop")).to_have_attribute("src", url)
    expect(panel.root.get_by_text("There is no such picture now")).to_be_hidden()


def test_presets_move_the_sliders(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    seen = set()
    for name in ("Balanced", "More likeness", "More style", "Few-step models (LCM, Lightning, Turbo)"):
        panel.person.get_by_role("button", name=name).click()
        strengths = tuple(
            float(panel.person.get_by_role("slider", name=label, exact=True).input_value()) for label in ("Detail", "Fidelity")
        )
        assert strengths == (panel.first()["adapter_strength"], panel.first()["identitynet_strength"])
        seen.add(strengths)
        pressed = panel.person.get_by_role("group", name="Presets").locator("[aria-pressed=true]")
        expect(pressed).to_have_text([name])
    panel.slide("Detail", 0.35)
    expect(pressed).to_have_count(0)
    assert len(seen) == 4
    assert (0.8, 0.8) in seen


def test_people_are_added_and_removed_up_to_four(panel: Panel) -> None:
    for number in (2, 3, 4):
        panel.root.get_by_role("button", name="Add a person").click()
        expect(panel.root.get_by_role("tab", name=f"Person {number}")).to_have_attribute("aria-selected", "true")
    expect(panel.root.get_by_role("button", name="Add a person")).to_have_count(0)
    panel.add_photos(png(ONE, "one"))
    assert [len(person["photos"]) for person in panel.settings()["people"]] == [0, 0, 0, 1]
    expect(panel.page.locator(".instantid-badge")).to_have_text("off, 1 person")
    panel.root.get_by_role("tab", name="Person 4").press("ArrowRight")
    expect(panel.root.get_by_role("tab", name="Person 1")).to_be_focused()
    panel.root.get_by_role("tab", name="Person 4").click()
    panel.root.get_by_role("button", name="Remove this person").click()
    expect(panel.root.get_by_role("tab")).to_have_count(3)
    assert [len(person["photos"]) for person in panel.settings()["people"]] == [0, 0, 0]


def test_a_region_is_painted_for_each_person(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    panel.unfold("Advanced")
    panel.root.get_by_label("InstantID acts on").select_option("mask")
    panel.root.get_by_role("button", name="Add a person").click()
    panel.root.get_by_role("tab", name="Person 1").click()
    canvas = panel.person.locator("canvas.instantid-mask")
    canvas.scroll_into_view_if_needed()
    panel.drag(canvas, 40, 30)
    panel.page.wait_for_function(
        "text => document.querySelector(text).value.includes('\"region\"')", arg=f"#{panel.data['ids']['settings']} textarea"
    )
    assert panel.settings()["face_region"] == "mask"
    assert panel.first()["region"].endswith(".png")
    panel.person.get_by_role("button", name="Clear").click()
    assert "region" not in panel.first()


def test_hints_speak_of_a_high_cfg_and_of_an_unlucky_size(panel: Panel) -> None:
    hints = panel.root.locator(".instantid-hints")
    expect(hints).not_to_contain_text("CFG")
    panel.number("cfg_scale", 9)
    expect(hints).to_contain_text("CFG scale 9 burns")
    panel.number("width", 1024)
    expect(hints).not_to_contain_text("watermarks")
    panel.number("height", 1024)
    expect(hints).to_contain_text("watermarks")


def test_every_setting_of_the_table_reaches_the_generation(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    panel.unfold("Advanced")
    panel.unfold("What brings the face in")
    fields = [field for field in panel.data["table"] if field["owner"] in ("whole", "people")]
    for field in fields:
        if field["kind"] == "number":
            panel.slide(field["label"], field["high"])
        elif field["kind"] == "choice" and field["name"] not in ("pose", "face_region"):
            panel.root.get_by_label(field["label"], exact=True).select_option(field["options"][-1][0])
        elif field["kind"] == "switch":
            panel.root.get_by_label(field["label"]).check()
    settings = panel.settings()
    found = {**settings, **settings["people"][0]}
    for field in fields:
        if field["name"] in ("pose", "face_region"):
            continue
        last = (field.get("options") or [[None]])[-1][0]
        expected = {"number": field.get("high"), "choice": last, "switch": True, "name": None}[field["kind"]]
        assert found[field["name"]] == expected, field["name"]
