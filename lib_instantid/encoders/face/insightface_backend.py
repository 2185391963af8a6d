"""Analyses faces with the package insightface instead of this project's own code. insightface is imported only on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.faces import Face, Floats, HeadPose, Picture
from lib_instantid.encoders.face.keypoints import box_from_keypoints, check_keypoints
from lib_instantid.encoders.face.model_files import FaceModelFiles, find_face_models
from lib_instantid.encoders.face.picture import check_picture
from lib_instantid.encoders.face.scrfd import LIKELY_MIN, SCORE_MIN, Detections
from lib_instantid.encoders.face.search import Size, first_size, search
from lib_instantid.encoders.face.sessions import PROVIDERS, import_onnxruntime, provider_lists, runtime_errors
from lib_instantid.errors import BadModelFile, MissingPackage

RECOGNITION, LANDMARKS = "recognition", "landmark_3d_68"


class InsightFaceAnalyser:
    """antelopev2, run by insightface's FaceAnalysis (0.7.3 to 2.1) with the canvas of 640 x 640 that InstantID uses.

    folder: see `model_files.find_face_models`. insightface opens every .onnx file of the folder, needed or not.
    raises MissingPackage: insightface or onnxruntime is not installed. MissingModelFile: no face models. BadModelFile:
    insightface cannot read the files. SettingsError: an unknown provider.
    """

    def __init__(self, folder: Path, provider: str = "cpu") -> None:
        files = find_face_models(folder)
        self._app = _open_app(files, provider)

    @property
    def provider(self) -> str:
        """The processor that the models run on: "cpu", "cuda", ..."""
        running = str(self._app.models[RECOGNITION].session.get_providers()[0])
        return next((ours for ours, theirs in PROVIDERS.items() if running in theirs), running)

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        """Every face of a picture (H, W, 3) uint8 RGB, best score first, or an empty tuple.

        raises PictureError: not such an array.
        """
        check_picture(picture)
        blue_first = np.ascontiguousarray(picture[:, :, ::-1])
        found = search(blue_first, self._detect, getattr(self._app.det_model, "static_input_size", None))
        parts = zip(found.boxes, found.scores, found.keypoints, strict=True)
        return tuple(self._face(blue_first, box, float(score), points) for box, score, points in parts)

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        """The face at five points placed by hand.

        picture: (H, W, 3) uint8 RGB. keypoints: (5, 2) XY px of the picture.
        raises PictureError: not such a picture. SettingsError: not five points.
        """
        check_picture(picture)
        points = check_keypoints(keypoints).astype(np.float32)
        return self._face(np.ascontiguousarray(picture[:, :, ::-1]), box_from_keypoints(points), 1.0, points)

    def likely(self, picture: Picture) -> Floats | None:
        """Five points, (5, 2) float32 XY px, on the area most like a face, in a picture where `faces` finds none.

        picture: (H, W, 3) uint8 RGB. returns None if nothing resembles a face. raises PictureError: not such a picture.
        """
        check_picture(picture)
        detector = self._app.det_model
        detector.det_thresh = LIKELY_MIN
        try:
            found = self._detect(np.ascontiguousarray(picture[:, :, ::-1]), detector.input_size)
        finally:
            detector.det_thresh = SCORE_MIN
        return found.keypoints[0] if len(found) else None

    def _detect(self, blue_first: Picture, size: Size) -> Detections:
        rows, keypoints = self._app.det_model.detect(blue_first, input_size=size)
        return Detections(boxes=rows[:, :4], scores=rows[:, 4], keypoints=keypoints)

    def _face(self, blue_first: Picture, box: Floats, score: float, keypoints: Floats) -> Face:
        from insightface.app.common import Face as Record

        record = Record(bbox=box, kps=keypoints, det_score=score)
        embedding = self._app.models[RECOGNITION].get(blue_first, record)
        landmarks, pose = None, None
        if LANDMARKS in self._app.models:
            landmarks = self._app.models[LANDMARKS].get(blue_first, record)
            pitch, yaw, roll = map(float, record["pose"])
            pose = HeadPose(pitch=pitch, yaw=yaw, roll=roll)
        return Face(box=box, keypoints=keypoints, score=score, embedding=embedding, landmarks=landmarks, pose=pose)


def _open_app(files: FaceModelFiles, provider: str) -> Any:
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise MissingPackage(
            f"The face backend insightface cannot be imported ({error}): pip install insightface, or use the backend "
            "builtin, which needs onnxruntime only and gives the same numbers."
        ) from error
    onnxruntime = import_onnxruntime()
    unusable: tuple[type[Exception], ...] = (AssertionError, OSError, LookupError, *runtime_errors(onnxruntime))
    providers = provider_lists(provider, onnxruntime.get_available_providers())[0]
    modules = ["detection", RECOGNITION] + ([LANDMARKS] if files.landmarks else [])
    try:
        app = FaceAnalysis(name=str(files.folder.resolve()), allowed_modules=modules, providers=providers)
        app.prepare(ctx_id=0, det_thresh=SCORE_MIN, det_size=first_size(None))
    except unusable as error:
        raise BadModelFile(
            f"insightface cannot use the models in {files.folder} ({error or type(error).__name__}): one of its .onnx "
            "files is damaged or of another kind. Fetch antelopev2 again, or use the backend builtin."
        ) from error
    if RECOGNITION not in app.models:
        raise BadModelFile(f"insightface found no recogniser in {files.folder}: fetch antelopev2's glintr100.onnx again.")
    return app
