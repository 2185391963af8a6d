"""Run by `test_insightface.py` with the interpreter of .oracle: detectors of random weights over photos, insightface and ours.

A random network of SCRFD's shape finds hundreds of overlapping boxes wherever it looks, so that which boxes stay is decided by
suppression alone. Arguments: folder for the networks, file to write (.json).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[3]
STRIDES = (8, 16, 32)
PARTS = {"score": 1, "box": 4, "points": 10}
LONGEST = (300, 640, 1200, 5120)
"""Longer sides of the photos in pixels: smaller than the detector's canvas, equal, and larger."""


def write_detector(path: Path, seed: int) -> None:
    """A convolution for each stride and output, with random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    r = np.random.default_rng(seed)
    nodes, constants, outputs = [], [], []
    for part, width in PARTS.items():
        for stride in STRIDES:
            name = f"{part}{stride}"
            weight = r.standard_normal((2 * width, 3, stride, stride)).astype(np.float32) * 2 / stride
            bias = np.full(2 * width, {"score": -2.0, "box": 3.0, "points": 0.0}[part], np.float32)
            shape = np.array([-1, width], np.int64)
            constants += [numpy_helper.from_array(v, f"{name}.{k}") for k, v in (("w", weight), ("b", bias), ("s", shape))]
            conv = helper.make_node("Conv", ["in", f"{name}.w", f"{name}.b"], [f"{name}.c"], strides=[stride, stride])
            turn = helper.make_node("Transpose", [f"{name}.c"], [f"{name}.t"], perm=[0, 2, 3, 1])
            flat = helper.make_node("Reshape", [f"{name}.t", f"{name}.s"], [f"{name}.f"])
            last = {"score": "Sigmoid", "box": "Softplus", "points": "Identity"}[part]
            nodes += [conv, turn, flat, helper.make_node(last, [f"{name}.f"], [name])]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]))
    picture = helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "detector", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 6
    onnx.save(model, path)


def photos() -> Iterator[tuple[str, np.ndarray]]:
    """(name, RGB) of the photos that both packages bring along, at several sizes."""
    import cv2
    import insightface
    import skimage

    own = [Path(skimage.__file__).parent / "data" / f"{name}.png" for name in ("astronaut", "coffee", "motorcycle_left")]
    for path in [*own, Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"]:
        photo = cv2.imread(str(path))[:, :, ::-1]
        for longest in LONGEST:
            scale = longest / max(photo.shape[:2])
            size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
            yield f"{path.stem} {longest}", np.ascontiguousarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))


def compared(theirs: Any, ours: Any, picture: np.ndarray) -> dict[str, Any]:
    """How many boxes each keeps, how many there were, and the largest difference of what is kept."""
    boxes, points = theirs.detect(picture[:, :, ::-1], input_size=(640, 640))
    found = ours(picture)
    same = len(boxes) == len(found)
    pairs = ((boxes[:, :4], found.boxes), (boxes[:, 4], found.scores), (points, found.keypoints))
    largest = max((float(abs(a - b).max(initial=0)) for a, b in pairs), default=0.0) if same else None
    return {"theirs": len(boxes), "ours": len(found), "largest": largest}


def main(folder: Path, target: Path) -> None:
    from insightface.model_zoo.scrfd import SCRFD

    sys.path.insert(0, str(ROOT))
    from lib_instantid.encoders.face import scrfd
    from lib_instantid.encoders.face.sessions import DETECTOR, open_session

    results = {}
    for seed in range(2):
        path = folder / f"detector-{seed}.onnx"
        write_detector(path, seed)
        theirs = SCRFD(str(path))
        theirs.prepare(-1)
        network = open_session(path, DETECTOR, "cpu")
        for name, picture in photos():
            ours = lambda given, network=network: scrfd.detect(network, given, (640, 640))  # noqa: E731
            results[f"{name}, detector {seed}"] = compared(theirs, ours, picture)
    target.write_text(json.dumps(results))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
