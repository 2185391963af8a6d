"""The small model that comes with the project: what `demo`, `page` and `generate` use where no checkpoint is named."""

from __future__ import annotations

from pathlib import Path

from lib_instantid.face.analyser import FaceAnalyser
from lib_instantid.face.model_files import FaceModelFiles, find_face_models

SMALL_MODEL = Path(__file__).parents[3] / "small-model"
"""checkpoint/, ip-adapter.bin, ControlNetModel/, antelopev2/, judge.onnx and people/; its README.md is the model card."""

CHECKPOINT = SMALL_MODEL / "checkpoint"
SIZE, STEPS = 192, 30
"""The width and height in pixels that it was trained for, and steps that serve it."""

PEOPLE = (SMALL_MODEL / "people" / "1000001.png", SMALL_MODEL / "people" / "1000002.png")
"""Two people that nothing of it was trained on."""

NOTE = (
    "The small model that comes with InstantID knows rendered people only: a photo of a real person runs and gives no likeness."
)


def open_judge() -> FaceAnalyser:
    """A recogniser of another architecture, trained on other people: for measuring only.

    raises MissingModelFile: the small model's folder is not there.
    """
    detector = find_face_models(SMALL_MODEL).detector
    return FaceAnalyser(FaceModelFiles(detector=detector, recogniser=SMALL_MODEL / "judge.onnx"))
