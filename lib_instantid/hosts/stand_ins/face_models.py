"""Small ONNX files with the signatures of antelopev2, for tests and trials without the real models.

Their faces are squares on black: red for the detector's coarse grid (stride 32), green for the middle grid (16), blue for the
fine grid (8). A square more than five cells wide (160 pixels of the detector's canvas in red) is missed, as SCRFD misses faces
that are too large. The embedding depends on every part of the aligned crop and has a norm of about 20. The files are the same
on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.mean_shape import MEAN_SHAPE
from lib_instantid.encoders.face.model_files import DETECTOR_FILE, LANDMARKS_FILE, RECOGNISER_FILE
from lib_instantid.errors import MissingPackage

IR_VERSION, OPSET = 6, 11
"""Versions that every onnxruntime from 1.16 on can read."""

COLOUR_OF_STRIDE = {8: (-1, -1, 1), 16: (-1, 1, -1), 32: (1, -1, -1)}
FACE_POINTS = ((-0.4, -0.35), (0.4, -0.35), (0.0, 0.05), (-0.3, 0.45), (0.3, 0.45))
"""XY of the five points in a box from -1 to 1."""


def write_face_models(folder: Path, *, landmarks: bool = True, detector_side: int | None = None) -> None:
    """Write scrfd_10g_bnkps.onnx, glintr100.onnx and, if wanted, 1k3d68.onnx.

    folder: made if it is missing. detector_side: a detector of this fixed input size instead of any.
    raises MissingPackage: the package onnx is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _detector(detector_side).save(folder / DETECTOR_FILE)
    _recogniser().save(folder / RECOGNISER_FILE)
    if landmarks:
        _landmarks().save(folder / LANDMARKS_FILE)


def write_recogniser(path: Path, seed: int) -> None:
    """Write a face recogniser, another one for each seed. The folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _recogniser(seed).save(path)


class _Graph:
    """An ONNX graph that grows node by node; every node's output has the node's name."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingPackage(f"onnx cannot be imported ({error}); stand-in models need it: pip install onnx.") from error
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, shape: list[int | str]) -> str:
        self._inputs.append(self._value(name, shape))
        return name

    def output(self, name: str, shape: list[int | str]) -> None:
        self._outputs.append(self._value(name, shape))

    def _value(self, name: str, shape: list[int | str]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape)

    def node(self, kind: str, name: str, inputs: list[str], *weights: npt.ArrayLike, **attributes: Any) -> str:
        names = [f"{name}.weight{index}" for index in range(len(weights))]
        for weight_name, values in zip(names, weights, strict=True):
            array = np.asarray(values)
            array = array if array.dtype == np.int64 else array.astype(np.float32)
            self._weights.append(self._onnx.numpy_helper.from_array(array, weight_name))
        self._nodes.append(self._onnx.helper.make_node(kind, [*inputs, *names], [name], name=name, **attributes))
        return name

    def save(self, path: Path) -> None:
        graph = self._onnx.helper.make_graph(self._nodes, path.stem, self._inputs, self._outputs, self._weights)
        opset = [self._onnx.helper.make_opsetid("", OPSET)]
        model = self._onnx.helper.make_model(graph, opset_imports=opset, producer_name="sd-webui-instantid")
        model.ir_version = IR_VERSION
        self._onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())


def _detector(side: int | None) -> _Graph:
    graph = _Graph()
    picture = graph.input("input.1", [1, 3, side or "?", side or "?"])
    parts: dict[str, list[str]] = {"score": [], "bbox": [], "kps": []}
    for stride in COLOUR_OF_STRIDE:
        _stride(graph, picture, stride, parts)
    for part, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for name in parts[part]:
            graph.output(name, [f"n_{name}", width])
    return graph


def _stride(graph: _Graph, picture: str, stride: int, parts: dict[str, list[str]]) -> None:
    """The three heads of one grid. cover: how much of a cell the face's colour fills, 0 to 1; extent: the same of 5 x
    5 cells."""
    cells = graph.node("AveragePool", f"cells_{stride}", [picture], kernel_shape=[stride] * 2, strides=[stride] * 2)
    # the face's colour gives 3, black 1, and the zeros around the canvas count as no colour after the Relu
    colour = np.reshape(COLOUR_OF_STRIDE[stride], (1, 3, 1, 1)) / 2
    hue = graph.node("Conv", f"hue_{stride}", [cells], colour, [-0.5], kernel_shape=[1, 1])
    cover = graph.node("Relu", f"cover_{stride}", [hue])
    around = {"kernel_shape": [5, 5], "pads": [2] * 4, "count_include_pad": 1}
    extent = graph.node("AveragePool", f"extent_{stride}", [cover], **around)
    # how far a cell is from being the middle of what is covered: 0 there, negative around it; skewed, so that there is one
    y, x = np.mgrid[-2:3, -2:3]
    bell = np.exp(-(x**2 + y**2) / 6) * (1 + 0.01 * x + 0.023 * y)
    height = graph.node("Conv", f"height_{stride}", [cover], bell[None, None], kernel_shape=[5, 5], pads=[2] * 4)
    summit = graph.node("MaxPool", f"summit_{stride}", [height], kernel_shape=[5, 5], pads=[2] * 4)
    below = graph.node("Sub", f"below_{stride}", [height, summit])
    seen = graph.node("Concat", f"seen_{stride}", [cover, extent, cells, below], axis=1)

    # a face is a covered cell in the middle whose neighbours three cells away are not covered
    score = np.zeros((2, 6, 3, 3))
    score[:, 0, 1, 1], score[:, 1, 1, 1], score[:, 5, 1, 1] = 6, 2, 200
    score[:, 0, [0, 1, 1, 2], [1, 0, 2, 1]] = -16
    window = {"kernel_shape": [3, 3], "dilations": [3, 3], "pads": [3] * 4}
    logits = graph.node("Conv", f"logits_{stride}", [seen], score, [-2.0, -2.6], **window)
    rows = _rows(graph, f"score_rows_{stride}", logits, 1)
    parts["score"].append(graph.node("Sigmoid", f"score_{stride}", [rows]))

    stream = np.random.RandomState(stride)
    for part, base, per_half_width in (
        ("bbox", [-0.5, -0.5, 0.5, 0.5], [1.0] * 4),
        ("kps", [0.5] * 10, np.ravel(FACE_POINTS)),
    ):
        width = len(base)
        weight = 0.03 * stream.standard_normal((2 * width, 6, 1, 1))
        half_width = np.tile(np.asarray(per_half_width), 2)
        weight[:, 1, 0, 0] += 2 * half_width
        bias = np.tile(base, 2) + 0.5 * half_width
        maps = graph.node("Conv", f"{part}_maps_{stride}", [seen], weight, bias, kernel_shape=[1, 1])
        parts[part].append(_rows(graph, f"{part}_{stride}", maps, width))


def _rows(graph: _Graph, name: str, maps: str, width: int) -> str:
    """(1, 2 * width, h, w) -> (h * w * 2, width): cell by cell, the two anchors one after the other."""
    last = graph.node("Transpose", f"{name}_last", [maps], perm=[0, 2, 3, 1])
    return graph.node("Reshape", name, [last], np.array([-1, width], dtype=np.int64))


def _recogniser(seed: int = 512) -> _Graph:
    graph, stream = _Graph(), np.random.RandomState(seed)
    picture = graph.input("input.1", ["None", 3, 112, 112])
    cells = graph.node("AveragePool", "cells", [picture], kernel_shape=[14, 14], strides=[14, 14])
    flat = graph.node("Flatten", "flat", [cells])
    weight, bias = 0.075 * stream.standard_normal((192, 512)), 0.35 * stream.standard_normal(512)
    graph.node("Gemm", "1333", [flat], weight, bias)
    graph.output("1333", [1, 512])
    return graph


def _landmarks() -> _Graph:
    """A landmark model that takes pixels from 0 to 255, as 1k3d68 does. insightface recognises this by nodes named Sub and Mul
    at the beginning of the graph."""
    graph, stream = _Graph(), np.random.RandomState(68)
    picture = graph.input("data", ["None", 3, 192, 192])
    shifted = graph.node("Sub", "Sub", [picture], 127.5)
    scaled = graph.node("Mul", "Mul", [shifted], 1 / 128)
    cells = graph.node("AveragePool", "cells", [scaled], kernel_shape=[64, 64], strides=[64, 64])
    flat = graph.node("Flatten", "flat", [cells])
    bias = np.zeros((1103, 3))
    bias[-68:] = MEAN_SHAPE
    graph.node("Gemm", "fc1", [flat], 0.02 * stream.standard_normal((27, 3309)), bias.ravel())
    graph.output("fc1", [1, 3309])
    return graph
