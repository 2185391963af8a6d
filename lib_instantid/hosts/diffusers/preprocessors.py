"""The preprocessors of the optional package controlnet_aux, for the diffusers host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from lib_instantid.adapters.family import Preprocessors
from lib_instantid.encoders.face.faces import Picture
from lib_instantid.errors import MissingPackage

PACKAGE = "controlnet_aux"
CURE = "For depth, pose, normals, soft edges and lines install the package: pip install controlnet_aux."
WEIGHTS = "lllyasviel/Annotators"
"""The repository of the weights, which the package fetches from the hub when a preprocessor is first used."""

DETECTORS = {
    "openpose": "OpenposeDetector",
    "depth_midas": "MidasDetector",
    "depth_zoe": "ZoeDetector",
    "normal_bae": "NormalBaeDetector",
    "softedge_hed": "HEDdetector",
    "softedge_pidinet": "PidiNetDetector",
    "lineart": "LineartDetector",
    "lineart_anime": "LineartAnimeDetector",
    "mlsd": "MLSDdetector",
}
"""The package's classes by the names that the WebUIs' users know."""


def preprocessors() -> Preprocessors:
    """The package's preprocessors; none where it is not installed."""
    if find_spec(PACKAGE) is None:
        return Preprocessors(cure=CURE)
    by_name: dict[str, Callable[[Picture, int], Picture]] = {name: partial(_draw, kind) for name, kind in DETECTORS.items()}
    return Preprocessors(by_name=by_name, cure=f"The package {PACKAGE} gives the others.")


def _draw(kind: str, picture: Picture, resolution: int) -> Picture:
    """Raises MissingPackage: the package does not work, or its weights cannot be fetched."""
    try:
        detector: Any = getattr(import_module(PACKAGE), kind).from_pretrained(WEIGHTS)
    except (ImportError, AttributeError, OSError) as error:
        raise MissingPackage(
            f"{PACKAGE}: {kind} cannot be used ({error}); update the package, or see that {WEIGHTS} can be fetched."
        ) from error
    drawn = detector(picture, detect_resolution=resolution, image_resolution=resolution, output_type="np")
    return np.asarray(drawn, dtype=np.uint8)
