"""A photo in, its faces out: detector, recogniser and landmark model together."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lib_instantid.errors import SettingsError
from lib_instantid.face import arcface, scrfd
from lib_instantid.face.faces import Face, Floats, Picture
from lib_instantid.face.insightface_backend import InsightFaceAnalyser
from lib_instantid.face.keypoints import box_from_keypoints, check_keypoints
from lib_instantid.face.landmarks import find_landmarks, head_pose
from lib_instantid.face.model_files import FaceModelFiles, find_face_models
from lib_instantid.face.picture import check_picture
from lib_instantid.face.search import Size, first_size, search
from lib_instantid.face.sessions import DETECTOR, LANDMARKS, RECOGNISER, Network, open_session

BACKENDS = ("builtin", "insightface")


class Analyser(Protocol):
    """What finds and embeds faces. Pictures are (H, W, 3) uint8 RGB."""

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """Every face, best score first; none is an empty tuple."""

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        """The face at five points that were placed by hand: (5, 2) XY px."""

    def likely(self, picture: Picture) -> Floats | None:
        """Where placing five points by hand may begin: (5, 2) XY px of what is most like a face, or None."""

    @property
    def provider(self) -> str:
        """Where the models really run: "cpu", "cuda", ..."""


class FaceAnalyser:
    """antelopev2 by our own code: only the files that are needed are opened, each once, when it is first needed.

    provider: see `sessions.open_session`. Numbers equal insightface's with det_size=(640, 640); where insightface
    finds no face, `search.search` looks again.
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
        """Where the models really run: "cpu", "cuda", ..."""
        return self._recogniser.provider

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """Every face of a picture (H, W, 3) uint8 RGB, best score first; none is an empty tuple.

        raises PictureError: not such an array. BadModelFile, MissingPackage: see `sessions.open_session`.
        """
        check_picture(picture)
        found = search(picture, self._detect, self._detector.fixed_size)
        parts = zip(found.boxes, found.scores, found.keypoints, strict=True)
        return tuple(self._face(picture, box, float(score), points) for box, score, points in parts)

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        """The face at five points placed by hand: (5, 2) XY px; score 1, and the box that the points imply.

        raises SettingsError: not five points (`keypoints.check_keypoints`). Otherwise as `faces`.
        """
        check_picture(picture)
        points = check_keypoints(keypoints).astype(np.float32)
        return self._face(picture, box_from_keypoints(points), 1.0, points)

    def likely(self, picture: Picture) -> Floats | None:
        """Five points, (5, 2) XY px, of what is most like a face in a picture without one; None where nothing is.

        raises as `faces`.
        """
        check_picture(picture)
        found = scrfd.detect(self._detector, picture, first_size(self._detector.fixed_size), scrfd.LIKELY_MIN)
        return found.keypoints[0] if len(found) else None

    def _detect(self, picture: Picture, size: Size) -> scrfd.Detections:
        return scrfd.detect(self._detector, picture, size)

    def _face(self, picture: Picture, box: Floats, score: float, keypoints: Floats) -> Face:
        embedding = arcface.embed(self._recogniser, picture, keypoints)
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
    """The analyser of a backend: "builtin" (our own code) or "insightface" (the package, if it is installed).

    folder: see `model_files.find_face_models`. provider: see `sessions.open_session`.
    raises SettingsError: another backend. MissingModelFile, MissingPackage, BadModelFile.
    """
    if backend == "builtin":
        return FaceAnalyser(find_face_models(folder), provider)
    if backend == "insightface":
        return InsightFaceAnalyser(folder, provider)
    raise SettingsError(f"face backend: expected {' or '.join(BACKENDS)}, found {backend!r}.")
