"""Finds and describes the faces of a photo with the detector, the recogniser and the landmark model."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face import arcface, scrfd
from lib_instantid.encoders.face.faces import Face, Floats, Picture
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.insightface_backend import InsightFaceAnalyser
from lib_instantid.encoders.face.keypoints import box_from_keypoints, check_keypoints
from lib_instantid.encoders.face.landmarks import find_landmarks, head_pose
from lib_instantid.encoders.face.model_files import FaceModelFiles, find_face_models
from lib_instantid.encoders.face.picture import check_picture
from lib_instantid.encoders.face.search import first_size, search
from lib_instantid.encoders.face.sessions import DETECTOR, LANDMARKS, RECOGNISER, Network, open_session
from lib_instantid.errors import SettingsError

BACKENDS = ("builtin", "insightface")


class Analyser(Protocol):
    """Finds faces and computes their embeddings. Every method raises PictureError: not (H, W, 3) uint8."""

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """Every face of a picture (H, W, 3) uint8 RGB, best score first; an empty tuple if there is none."""

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        """The face at five points placed by hand.

        picture: (H, W, 3) uint8 RGB. keypoints: (5, 2) XY px of the picture. raises SettingsError: not five points.
        """

    def likely(self, picture: Picture) -> Floats | None:
        """Five points, (5, 2) float32 XY px, on the area most like a face, or None: where placing points by hand may begin."""

    @property
    def provider(self) -> str:
        """The processor that the models run on: "cpu", "cuda", ..."""


class FaceAnalyser:
    """antelopev2, run by this project's own code. Opens each model file when it is first needed, and only once.

    provider: see `sessions.open_session`. The results equal those of insightface with det_size=(640, 640). Where
    insightface finds no face, `search.search` tries other canvas sizes.
    """

    def __init__(self, files: FaceModelFiles, provider: str = "cpu") -> None:
        self._files = files
        self._wanted_provider = provider

    @cached_property
    def _detector(self) -> Network:
        return open_session(self._files.detector, DETECTOR, self._wanted_provider)

    @cached_property
    def _recogniser(self) -> Network:
        return open_session(self._files.recogniser, RECOGNISER, self._wanted_provider)

    @cached_property
    def _landmarks(self) -> Network | None:
        path = self._files.landmarks
        return open_session(path, LANDMARKS, self._wanted_provider) if path else None

    @property
    def provider(self) -> str:
        """The processor that the models run on: "cpu", "cuda", ..."""
        return self._recogniser.provider

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """Every face of a picture (H, W, 3) uint8 RGB, best score first; an empty tuple if there is none.

        raises PictureError: not such an array. SettingsError, BadModelFile, MissingPackage: see `sessions.open_session`.
        """
        check_picture(picture)
        found = search(picture, partial(scrfd.detect, self._detector), self._detector.fixed_size)
        parts = zip(found.boxes, found.scores, found.keypoints, strict=True)
        return tuple(self._face(picture, box, float(score), points) for box, score, points in parts)

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        """The face at five points placed by hand, with score 1 and the box of `keypoints.box_from_keypoints`.

        picture: (H, W, 3) uint8 RGB. keypoints: (5, 2) XY px of the picture.
        raises SettingsError: not five points (`keypoints.check_keypoints`). Other errors: see `faces`.
        """
        check_picture(picture)
        points = check_keypoints(keypoints).astype(np.float32)
        return self._face(picture, box_from_keypoints(points), 1.0, points)

    def likely(self, picture: Picture) -> Floats | None:
        """Five points, (5, 2) float32 XY px, on the area most like a face, in a picture where `faces` finds none.

        picture: (H, W, 3) uint8 RGB. returns None if nothing resembles a face. Errors: see `faces`.
        """
        check_picture(picture)
        found = scrfd.detect(self._detector, picture, first_size(self._detector.fixed_size), scrfd.LIKELY_MIN)
        return found.keypoints[0] if len(found) else None

    def _face(self, picture: Picture, box: Floats, score: float, keypoints: Floats) -> Face:
        embedding = arcface.embed(self._recogniser, align(picture, keypoints))
        if self._landmarks is None:
            return Face(box=box, keypoints=keypoints, score=score, embedding=embedding)
        landmarks = find_landmarks(self._landmarks, picture, box)
        return Face(
            box=box,
            keypoints=keypoints,
            score=score,
            embedding=embedding,
            landmarks=landmarks,
            pose=head_pose(landmarks),
        )


def open_analyser(backend: str, folder: Path, provider: str = "cpu") -> Analyser:
    """Make the analyser of a backend: "builtin" (this project's own code) or "insightface" (the package, if installed).

    folder: see `model_files.find_face_models`. provider: see `sessions.open_session`.
    raises SettingsError: another backend. MissingModelFile: no face models. MissingPackage, BadModelFile: see
    `InsightFaceAnalyser`.
    """
    if backend == "builtin":
        return FaceAnalyser(find_face_models(folder), provider)
    if backend == "insightface":
        return InsightFaceAnalyser(folder, provider)
    raise SettingsError(f"face backend: expected {' or '.join(BACKENDS)}, found {backend!r}.")
