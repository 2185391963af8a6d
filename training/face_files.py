"""Face models as ONNX files, with weights in fp16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lib_instantid.encoders.face.model_files import DETECTOR_FILE, RECOGNISER_FILE
from training.detector import STRIDES, Detector
from training.recognisers import new_judge, new_recogniser

IR_VERSION, OPSET = 6, 11
"""As the stand-ins': every onnxruntime from 1.16 on opens them."""


def export(run: Path, folder: Path) -> None:
    """Write antelopev2/scrfd_10g_bnkps.onnx, antelopev2/glintr100.onnx and judge.onnx."""
    (folder / "antelopev2").mkdir(parents=True, exist_ok=True)
    _write(Detector(), run / "detector.pt", folder / "antelopev2" / DETECTOR_FILE, 640)
    _write(new_recogniser(), run / "recogniser.pt", folder / "antelopev2" / RECOGNISER_FILE, 112)
    _write(new_judge(), run / "judge.pt", folder / "judge.onnx", 112)


def _write(net: nn.Module, weights: Path, path: Path, side: int) -> None:
    net.load_state_dict(torch.load(weights, weights_only=True)["model"])
    axes = {"input.1": {2: "height", 3: "width"}} if side == 640 else {"input.1": {0: "batch"}}
    outputs = [f"{part}_{stride}" for part in ("score", "bbox", "kps") for stride in STRIDES] if side == 640 else ["embedding"]
    torch.onnx.export(
        net.eval(),
        (torch.zeros(1, 3, side, side),),
        str(path),
        input_names=["input.1"],
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    casts, kept = [], []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) > 64:
            small = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name + ".fp16")
            casts.append(helper.make_node("Cast", [small.name], [weight.name], to=TensorProto.FLOAT))
            weight = small
        kept.append(weight)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.ir_version, model.producer_name = IR_VERSION, "sd-webui-instantid"
    onnx.checker.check_model(model)
    onnx.save(model, path)
