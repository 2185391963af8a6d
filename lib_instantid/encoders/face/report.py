"""Judges how well a photo serves, and says in words how to get a better one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.faces import Face, HeadPose, Picture
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.identity import strangers
from lib_instantid.encoders.face.picture import check_picture

Level = Literal["good", "usable", "poor"]

WIDTH_GOOD, WIDTH_USABLE = FACE_CROP, FACE_CROP // 2
"""Width of the face in pixels. ArcFace takes 112 pixels: a narrower face is enlarged, and below half of that most detail is
missing."""

SCORE_GOOD, SCORE_USABLE = 0.7, 0.6
"""Scores of the detector. It accepts faces from 0.5; frontal, uncovered faces have 0.8 and more."""

SHARP, BLURRED = 100.0, 20.0
"""Variance of the Laplacian of the aligned face. Measured on skimage's astronaut (face 90 px wide): 448 as it is, 312 as a
JPEG of quality 20, 63 and 15 after a Gaussian blur of 1 and 2 pixels, 40 when scaled down to a face of 27 pixels."""

TURNED, PROFILE = 35.0, 60.0
"""Degrees of yaw or pitch. Most faces that ArcFace was trained on are within 35; beyond 60 one eye is hidden."""


@dataclass(frozen=True, kw_only=True)
class PhotoReport:
    """How well a photo serves. width_px: width of the face box. score: the detector's, 0 to 1. sharpness: see `SHARP`. pose:
    degrees, or None where the landmark model is not installed. advice: sentences, none for a good photo."""

    level: Level
    width_px: int
    score: float
    sharpness: float
    pose: HeadPose | None
    advice: tuple[str, ...]


def report(picture: Picture, face: Face) -> PhotoReport:
    """Judge one photo by its face.

    picture: (H, W, 3) uint8 RGB, the one in which the face was found. raises PictureError: not such an array.
    """
    check_picture(picture)
    grey = cv2.cvtColor(align(picture, face.keypoints), cv2.COLOR_RGB2GRAY)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    findings = list(_findings(face, sharpness))
    level: Level = "good" if not findings else "poor" if any(grave for grave, _ in findings) else "usable"
    return PhotoReport(
        level=level,
        width_px=round(face.width),
        score=face.score,
        sharpness=sharpness,
        pose=face.pose,
        advice=tuple(sentence for _, sentence in findings),
    )


def _findings(face: Face, sharpness: float) -> Iterator[tuple[bool, str]]:
    """The faults of a face, each as (whether it makes the photo poor, a sentence with the cure)."""
    if face.width < WIDTH_GOOD:
        yield face.width < WIDTH_USABLE, f"face is {face.width:.0f} px wide; use at least {WIDTH_GOOD}"
    if face.score < SCORE_GOOD:
        yield (
            face.score < SCORE_USABLE,
            f"the detector is only {face.score:.0%} sure of this face; use a frontal, uncovered, evenly lit one",
        )
    if sharpness < SHARP:
        word = "blurred" if sharpness < BLURRED else "a little soft"
        yield sharpness < BLURRED, f"face is {word} (sharpness {sharpness:.0f}); use a photo in focus, {SHARP:.0f} or more"
    if face.pose is None:
        return
    turn, nod = abs(face.pose.yaw), abs(face.pose.pitch)
    if turn > TURNED:
        yield turn > PROFILE, f"head is turned {turn:.0f} degrees to the side; use one within {TURNED:.0f}"
    if nod > TURNED:
        yield nod > PROFILE, f"head is tilted {nod:.0f} degrees up or down; use one within {TURNED:.0f}"


def stranger_advice(faces: Sequence[Face], names: Sequence[str]) -> tuple[str, ...]:
    """One sentence for every photo that seems to show another person than the other photos. faces, names: one per photo."""
    indexes = strangers([face.embedding for face in faces])
    return tuple(f"{names[index]} seems to show someone else than the other photos; leave it out" for index in indexes)


def describe(face: Face, found: PhotoReport, number: int) -> dict[str, Any]:
    """A face and its report as plain values for JSON, without its embedding. number: counted from the left, from 1."""
    pose = None if face.pose is None else {"pitch": face.pose.pitch, "yaw": face.pose.yaw, "roll": face.pose.roll}
    return {
        "number": number,
        "box": face.box.round(2).tolist(),
        "keypoints": face.keypoints.round(2).tolist(),
        "score": round(face.score, 4),
        "embedding_norm": round(float(np.linalg.norm(face.embedding)), 4),
        "width_px": found.width_px,
        "sharpness": round(found.sharpness, 1),
        "pose": pose,
        "level": found.level,
        "advice": list(found.advice),
    }
