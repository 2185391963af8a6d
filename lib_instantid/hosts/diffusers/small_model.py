"""The small model that comes with the project. `demo`, `page` and `generate` use it if no checkpoint is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_instantid.encoders.face.analyser import FaceAnalyser
from lib_instantid.encoders.face.model_files import FaceModelFiles, find_face_models

SMALL_MODEL = Path(__file__).parents[3] / "small-model"
"""checkpoint/, ip-adapter.bin, ControlNetModel/, antelopev2/, judge.onnx and people/. Its README.md is the model card."""

CHECKPOINT = SMALL_MODEL / "checkpoint"
SIZE, STEPS, GUIDANCE_SCALE = 192, 4, 1.0
"""The width and height in pixels that it was trained for, and the steps and CFG with which it does best."""

REQUEST: dict[str, Any] = {"width": SIZE, "height": SIZE, "steps": STEPS, "guidance_scale": GUIDANCE_SCALE}
"""The same as fields of a request."""

PEOPLE = tuple(SMALL_MODEL / "people" / f"{number}.png" for number in range(1_000_001, 1_000_009))
"""Portraits of eight people, none of whom it was trained on."""

NOTE = "The small model that comes with InstantID knows rendered people only: a photo of a real person gives no likeness."


def open_judge() -> FaceAnalyser:
    """A recogniser of another architecture, trained on other people, on which nothing is conditioned: for measuring only.

    raises MissingModelFile: the small model's folder has no face models.
    """
    detector = find_face_models(SMALL_MODEL).detector
    return FaceAnalyser(FaceModelFiles(detector=detector, recogniser=SMALL_MODEL / "judge.onnx"))
