"""The keypoint editor: what is dragged, turned and typed arrives; what the canvas shows is what the model gets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from lib_instantid.adapters.instantid.run import InstantIDRun
from lib_instantid.encoders.face.head_points import average_head
from lib_instantid.hosts.diffusers.host import DiffusersHost
from lib_instantid.webui.arguments import settings_of
from tests.page.browser import ONE, TWO, Panel, png

SIZE = 256
EDITS = 24


@pytest.fixture
def placed(panel: Panel) -> Panel:
    """The panel with one photo, whose head stands in the editor."""
    panel.add_photos(png(ONE, "one"))
    expect(panel.handle("nose of person 1")).to_be_visible()
    return panel


def shown(panel: Panel) -> np.ndarray:
    """(5, 2) centres of the five handles, as fractions of the stage."""
    return np.array(
        panel.editor.evaluate(
            """editor => {
                const stage = editor.querySelector('.instantid-handles').getBoundingClientRect();
                return [...editor.querySelectorAll('.instantid-point[data-person="0"]')].map(point => {
                    const box = point.getBoundingClientRect();
                    return [(box.x + box.width / 2 - stage.x) / stage.width, (box.y + box.height / 2 - stage.y) / stage.height];
                });
            }"""
        )
    )


def scale(panel: Panel) -> float:
    """Fractions of the output per CSS pixel of the stage."""
    return float(panel.editor.locator("canvas").evaluate("canvas => 1 / canvas.clientWidth"))


def test_a_point_is_dragged_alone(placed: Panel) -> None:
    before = shown(placed)
    placed.drag(placed.handle("nose of person 1"), 30, -20)
    after = placed.keypoints()
    assert placed.first()["pose"] == "keypoints"
    assert np.abs(after[2] - before[2] - np.array([30, -20]) * scale(placed)).max() < 0.004
    assert np.abs(np.delete(after - before, 2, axis=0)).max() < 0.004
    assert np.abs(shown(placed) - after).max() < 0.004


def test_the_whole_face_is_dragged(placed: Panel) -> None:
    before = shown(placed)
    grip = placed.handle("Face of person 1")
    box = grip.bounding_box()
    assert box
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.06  # between the points and the frame's edge
    placed.page.mouse.move(x, y)
    placed.page.mouse.down()
    placed.page.mouse.move(x + 40, y + 25)
    placed.page.mouse.up()
    placed.settle()
    assert np.abs(placed.keypoints() - before - np.array([40, 25]) * scale(placed)).max() < 0.005


def test_the_corner_scales_and_rotates(placed: Panel) -> None:
    before = shown(placed)
    placed.drag(placed.handle("Scale and rotate the face of person 1"), 30, 30)
    after = placed.keypoints()
    larger = np.linalg.norm(after - after.mean(0)) / np.linalg.norm(before - before.mean(0))
    assert larger > 1.2
    straight = (after - after.mean(0)) / larger - (before - before.mean(0))
    assert np.abs(straight).max() < 0.01  # outwards only: nothing rotated
    placed.drag(placed.handle("Scale and rotate the face of person 1"), -40, 40)
    eyes = np.diff(placed.keypoints()[:2], axis=0)[0]
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) > np.degrees(np.arctan2(*np.diff(after[:2], axis=0)[0][::-1])) + 10


def test_keys_move_scale_and_rotate(placed: Panel) -> None:
    before = shown(placed)
    grip = placed.handle("Face of person 1")
    grip.press("Shift+ArrowRight")
    assert np.abs(placed.keypoints() - before - (10 / SIZE, 0)).max() < 0.005
    placed.handle("left eye of person 1").press("ArrowDown")
    assert placed.keypoints()[0, 1] - before[0, 1] == pytest.approx(1 / SIZE, abs=2e-3)
    moved = placed.keypoints()
    grip.press("+")
    assert np.linalg.norm(np.ptp(placed.keypoints(), axis=0)) > np.linalg.norm(np.ptp(moved, axis=0))
    grip.press(".")
    assert not np.allclose(placed.keypoints(), moved)


def test_turning_is_a_rotation_in_three_dimensions(placed: Panel) -> None:
    """Against OpenCV's Rodrigues on the points and depths that Python gives the page."""
    depths = placed.page.evaluate(
        """async () => {
            const base = {base: [[10, 20, 3], [40, 22, 4], [25, 40, 15], [14, 55, 2], [37, 56, 1]], yaw: 0, pitch: 0};
            const {points} = window.instantid.head;
            const turned = [[30, 0], [0, 20], [-45, -30]].map(([yaw, pitch]) => points({...base, yaw, pitch}));
            return {base: base.base, turned};
        }"""
    )
    base = np.array(depths["base"], dtype=float)
    centred = base - base.mean(axis=0)
    for (yaw, pitch), found in zip([(30, 0), (0, 20), (-45, -30)], depths["turned"], strict=True):
        around_y = cv2.Rodrigues(np.radians([0.0, yaw, 0.0]))[0]
        around_x = cv2.Rodrigues(np.radians([pitch, 0.0, 0.0]))[0]
        expected = (around_x @ around_y @ centred.T).T + base.mean(axis=0)
        assert np.abs(np.array(found) - expected[:, :2]).max() < 1e-9


def test_turned_to_the_right_the_nose_goes_right_and_back_again(placed: Panel) -> None:
    placed.press(["Centre"])
    before = placed.keypoints()
    placed.slide("Turn", 40)
    turned = placed.keypoints()
    assert turned[2, 0] > before[2, 0] + 0.01
    assert np.linalg.norm(turned[1] - turned[0]) < np.linalg.norm(before[1] - before[0])
    placed.slide("Nod", 25)
    assert placed.keypoints()[2, 1] < turned[2, 1]
    placed.slide("Turn", 0)
    placed.slide("Nod", 0)
    assert np.abs(placed.keypoints() - before).max() < 1e-9


def test_undo_and_redo_go_through_every_step(placed: Panel) -> None:
    steps = [shown(placed)]
    placed.press(["Centre"])
    steps.append(placed.keypoints())
    placed.drag(placed.handle("nose of person 1"), 20, 10)
    steps.append(placed.keypoints())
    placed.slide("Turn", 30)
    steps.append(placed.keypoints())
    for earlier in reversed(steps[1:-1]):
        placed.press(["Undo"])
        assert np.abs(placed.keypoints() - earlier).max() < 1e-9
    placed.press(["Undo"])
    assert placed.first()["pose"] == "photo"
    expect(placed.editor.get_by_role("button", name="Undo")).to_be_disabled()
    for later in steps[1:]:
        placed.press(["Redo"])
        assert np.abs(placed.keypoints() - later).max() < 1e-9


def test_undo_gives_each_person_the_own_head_after_another_was_removed(placed: Panel) -> None:
    placed.root.get_by_role("button", name="Add a person").click()
    placed.add_photos(png(TWO, "two"))
    expect(placed.handle("nose of person 2")).to_be_visible()
    placed.drag(placed.handle("nose of person 1"), 15, 15)
    placed.drag(placed.handle("nose of person 2"), 15, 15)
    placed.root.get_by_role("tab", name="Person 1").click()
    placed.root.get_by_role("button", name="Remove this person").click()
    assert placed.first()["pose"] == "keypoints"
    placed.press(["Undo"])
    assert placed.first()["pose"] == "photo"


def test_mirror_swaps_the_sides_and_reset_returns_to_the_photo(placed: Panel) -> None:
    placed.drag(placed.handle("left eye of person 1"), -25, 0)
    before = placed.keypoints()
    placed.press(["Mirror"])
    mirrored = placed.keypoints()
    width = 2 * before[:, 0].mean() - before[:, 0]
    assert np.abs(mirrored[[1, 0, 2, 4, 3], 0] - width).max() < 1e-9
    assert mirrored[0, 0] < mirrored[1, 0]
    placed.press(["Reset"])
    assert placed.first()["pose"] == "photo"


def test_another_size_keeps_the_face_in_proportion(placed: Panel) -> None:
    placed.press(["Centre"])
    before = placed.keypoints() * SIZE
    placed.number("width", 512)
    after = placed.keypoints() * (512, SIZE)
    assert np.abs((after - after.mean(0)) - (before - before.mean(0))).max() < 1e-6
    assert after.mean(0) == pytest.approx([256, 128], abs=1e-6)
    assert placed.map().shape == (SIZE, 512, 3)


def test_by_hand_without_a_photo_starts_with_the_average_face(panel: Panel) -> None:
    panel.add_photos(png(ONE, "one"))
    panel.person.get_by_role("textbox", name="Name of the identity").fill("Hand")
    panel.person.get_by_role("button", name="Save identity").click()
    expect(panel.person.get_by_text("Saved as Hand;")).to_be_visible()
    panel.person.get_by_label("A saved identity").check()
    panel.person.get_by_label("Saved identity", exact=True).select_option("Hand")
    expect(panel.handle("nose of person 1")).to_be_hidden()
    panel.person.get_by_label("Head placement").select_option("keypoints")
    expect(panel.handle("nose of person 1")).to_be_visible()
    panel.settle()
    panel.handle("Face of person 1").press("ArrowRight")
    assert np.abs(panel.keypoints() * SIZE - average_head(SIZE, SIZE) - (1, 0)).max() < 1e-3


def test_all_people_stand_on_one_canvas(placed: Panel) -> None:
    placed.root.get_by_role("button", name="Add a person").click()
    placed.add_photos(png(TWO, "two"))
    expect(placed.handle("nose of person 2")).to_be_visible()
    placed.drag(placed.handle("nose of person 1"), 15, 15)
    expect(placed.root.get_by_role("tab", name="Person 1")).to_have_attribute("aria-selected", "true")
    people = placed.settings()["people"]
    assert [person["pose"] for person in people] == ["keypoints", "photo"]


def test_the_canvas_shows_the_very_map_that_the_model_gets(placed: Panel, host: DiffusersHost) -> None:
    """Many random edits, some with another size: the canvas's pixels against the generation's keypoint map."""
    rng = np.random.default_rng(0)
    for number in range(EDITS):
        kind = number % 4
        if kind == 0:
            placed.drag(
                placed.editor.locator('.instantid-point[data-person="0"]').nth(int(rng.integers(5))), *rng.uniform(-25, 25, 2)
            )
        elif kind == 1:
            placed.drag(placed.handle("Scale and rotate the face of person 1"), *rng.uniform(-15, 25, 2))
        elif kind == 2:
            placed.slide("Turn", int(rng.integers(-60, 60)))
            placed.slide("Nod", int(rng.integers(-45, 45)))
        else:
            placed.number("width", int(rng.integers(20, 50)) * 8)
        drawn = placed.map()
        height, width = drawn.shape[:2]
        settings = settings_of([True, json.dumps(placed.settings())], [Path("/")])
        (hint,) = InstantIDRun(settings, host.sources).control_maps((width, height))
        assert np.array_equal(drawn, hint), f"edit {number}"
        assert hint.any()


@pytest.mark.parametrize(("width", "height"), [(896, 1152), (1152, 896), (512, 1024)])
def test_the_stage_has_the_outputs_proportions(placed: Panel, width: int, height: int) -> None:
    placed.number("width", width)
    placed.number("height", height)
    box = placed.editor.locator("canvas").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)


def test_a_small_heads_corner_hides_no_point_and_zoom_brings_it_close(placed: Panel) -> None:
    placed.person.get_by_label("Head placement").select_option("keypoints")
    placed.settle()
    for _ in range(40):
        placed.handle("Face of person 1").press("-")
    placed.settle()
    small = placed.keypoints()

    def gaps() -> tuple[float, float]:
        """CSS pixels from the corner to the nearest point, and between the two nearest points."""
        corner, points = (placed.editor.evaluate(CENTRES, kind) for kind in (".instantid-corner", ".instantid-point"))
        between = [np.hypot(*np.subtract(a, b)) for i, a in enumerate(points) for b in points[:i]]
        return min(float(np.hypot(*np.subtract(corner[0], point))) for point in points), float(min(between))

    away, near = gaps()
    assert away >= 24
    assert near < 24
    zoom = placed.editor.get_by_role("button", name="Zoom")
    zoom.click()
    expect(zoom).to_have_attribute("aria-pressed", "true")
    away, near = gaps()
    assert away >= 24
    assert near >= 24
    placed.drag(placed.handle("nose of person 1"), 20, 0)
    assert np.abs(placed.keypoints()[2] - small[2] - (20 * scale(placed), 0)).max() < 0.002
    zoom.click()
    assert placed.editor.locator(".instantid-ground").evaluate("ground => ground.style.width") == "100%"


CENTRES = """(editor, kind) => [...editor.querySelectorAll(kind + '[data-person="0"]')].map((handle) => {
    const box = handle.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
})"""
