"""ArcFace (glintr100), the face recogniser of antelopev2: computes the embedding of an aligned face."""

from __future__ import annotations

import numpy as np

from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.encoders.face.sessions import Network

MEAN = SCALE = 127.5
"""Pixel values are reduced by MEAN and divided by SCALE. Source: insightface 2.1, `model_zoo/arcface_onnx.py`, for a graph
that does not normalise its input itself."""


def embed(network: Network, face: Picture) -> Floats:
    """The raw embedding of one face.

    face: (FACE_CROP, FACE_CROP, 3) uint8 RGB, cut out by `align`.
    returns: (512,) float32, not normalised. raises BadModelFile: the network does not run.
    """
    blob = (face.astype(np.float32) - np.float32(MEAN)) / np.float32(SCALE)
    return network.run(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))[0].reshape(-1).astype(np.float32)
