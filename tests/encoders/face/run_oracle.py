"""Run by `test_insightface.py` with the interpreter of .oracle: insightface and ours on the same pictures.

Arguments: folder of the models, folder of the pictures (N.npy, RGB), file to write (.npz).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[3]
HAND_POINTS = np.array([(20.5, 22), (45, 20), (33, 35.25), (24, 48), (44, 46)], dtype=np.float32)


def as_arrays(who: str, faces: Iterable[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """who: a prefix. faces: (box, score, keypoints, embedding, landmarks, pose) each."""
    columns = list(zip(*faces, strict=True))
    names = ("box", "score", "keypoints", "embedding", "landmarks", "pose")
    return {f"{who}/{name}": np.array(column) for name, column in zip(names, columns or [()] * len(names), strict=True)}


def ours(faces: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for face in faces:
        pose = (face.pose.pitch, face.pose.yaw, face.pose.roll)
        yield face.box, face.score, face.keypoints, face.embedding, face.landmarks, pose


def theirs(faces: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for face in faces:
        yield face.bbox, face.det_score, face.kps, face.embedding, face.landmark_3d_68, face.pose


def main(models: Path, pictures: Path, target: Path) -> None:
    import cv2
    from insightface.app import FaceAnalysis

    sys.path.insert(0, str(ROOT))
    from lib_instantid.encoders.face.analyser import open_analyser

    app = FaceAnalysis(name=str(models), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1, det_size=(640, 640))
    analysers = {name: open_analyser(name, models) for name in ("builtin", "insightface")}
    results = {}
    for path in sorted(pictures.glob("*.npy")):
        picture = np.load(path)
        blue_first = np.ascontiguousarray(picture[:, :, ::-1])
        results.update(as_arrays(f"{path.stem}/reference", theirs(app.get(blue_first))))
        for name, analyser in analysers.items():
            results.update(as_arrays(f"{path.stem}/{name}", ours(analyser.faces(picture))))
            results.update(as_arrays(f"{path.stem}/{name} by hand", ours([analyser.face_at(picture, HAND_POINTS)])))
    dim = np.load(pictures / "dim" / "picture.npy")
    results |= {f"dim/{name}": analyser.likely(dim) for name, analyser in analysers.items()}
    results["opencv"] = np.array(cv2.__version__)
    np.savez(target, **results)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
