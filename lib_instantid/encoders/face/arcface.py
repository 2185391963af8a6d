"""ArcFace (glintr100), the face recogniser of antelopev2: computes the embedding of the face at five points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.sessions import Network

MEAN = SCALE = 127.5
"""Pixel values are reduced by MEAN and divided by SCALE. Source: insightface 2.1, `model_zoo/arcface_onnx.py`, for a graph
that does not normalise its input itself."""


def embed(network: Network, picture: Picture, keypoints: npt.ArrayLike) -> Floats:
    """The raw embedding of one face.

    picture: (H, W, 3) uint8 RGB. keypoints: (5, 2) XY px of the picture.
    returns: (512,) float32, not normalised. raises BadModelFile: the network does not run. SettingsError: all points are
    one point.
    """
    crop = align(picture, keypoints).astype(np.float32)
    blob = (crop - np.float32(MEAN)) / np.float32(SCALE)
    return network.run(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))[0].reshape(-1).astype(np.float32)
