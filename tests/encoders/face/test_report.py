"""A report says what to do about a photo."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from skimage import data

from lib_instantid.encoders.face.faces import Face, HeadPose, Picture
from lib_instantid.encoders.face.keypoints import box_from_keypoints
from lib_instantid.encoders.face.report import report, stranger_advice
from tests.encoders.face.scenes import a_face, somebody

ASTRONAUT_POINTS = np.array([(206, 108), (244, 106), (228, 130), (211, 148), (243, 147)], dtype=np.float32)


def astronaut(scale: float) -> tuple[Picture, Face]:
    """skimage's photo of Eileen Collins at a scale, and her face, whose points were read off by hand."""
    points = ASTRONAUT_POINTS * np.float32(scale)
    picture = cv2.resize(data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    face = Face(box=box_from_keypoints(points), keypoints=points, score=0.9, embedding=somebody(0))
    return np.asarray(picture), face


def test_a_sharp_large_frontal_face_is_good() -> None:
    picture, face = astronaut(2)
    found = report(picture, dataclasses.replace(face, pose=HeadPose(pitch=5, yaw=-8, roll=20)))
    assert found.level == "good"
    assert found.advice == ()
    assert found.width_px == pytest.approx(180, abs=5)
    assert found.sharpness > 300


def test_a_narrow_face_is_told_its_width_and_the_width_it_needs() -> None:
    found = report(*astronaut(0.7))
    assert (found.level, found.advice[0]) == ("usable", "face is 63 px wide; use at least 112")
    assert report(*astronaut(0.5)).level == "poor"


def test_a_blurred_face_is_poor_and_a_soft_one_usable() -> None:
    picture, face = astronaut(2)
    soft, blurred = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (2, 6))
    assert report(soft, face).level == "usable"
    assert "a little soft" in report(soft, face).advice[0]
    found = report(blurred, face)
    assert found.level == "poor"
    assert "blurred" in found.advice[0]


@pytest.mark.parametrize(
    ("pose", "level", "words"),
    [
        (HeadPose(pitch=0, yaw=-45, roll=0), "usable", "turned 45 degrees to the side"),
        (HeadPose(pitch=0, yaw=75, roll=0), "poor", "turned 75 degrees to the side"),
        (HeadPose(pitch=40, yaw=0, roll=0), "usable", "tilted 40 degrees up or down"),
        (HeadPose(pitch=-65, yaw=0, roll=0), "poor", "tilted 65 degrees up or down"),
    ],
)
def test_a_turned_head_is_told_how_far(pose: HeadPose, level: str, words: str) -> None:
    picture, face = astronaut(2)
    found = report(picture, dataclasses.replace(face, pose=pose))
    assert found.level == level
    assert words in found.advice[0]


def test_a_doubtful_detection_is_told_its_score() -> None:
    picture, face = astronaut(2)
    assert report(picture, dataclasses.replace(face, score=0.65)).level == "usable"
    found = report(picture, dataclasses.replace(face, score=0.52))
    assert found.level == "poor"
    assert "only 52% sure" in found.advice[0]


def test_strangers_are_named() -> None:
    faces = [a_face(embedding=somebody(seed)) for seed in (1, 1, 2, 1)]
    names = ["a.png", "b.png", "c.png", "d.png"]
    assert stranger_advice(faces, names) == ("c.png seems to show someone else than the other photos; leave it out",)
    assert stranger_advice(faces[:2], names[:2]) == ()
