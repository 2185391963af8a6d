"""Draws a control's map with its preprocessor."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
from PIL import Image

from lib_instantid.adapters.controlnet.kinds import first_of_kind
from lib_instantid.adapters.controlnet.maps import (
    AS_IT_IS,
    BLUR,
    CANNY,
    GREY,
    INPAINT,
    KEYPOINTS,
    OWN,
    Size,
    blurred,
    canny,
    grey,
    placed,
    scaled,
)
from lib_instantid.adapters.controlnet.settings import Control
from lib_instantid.adapters.family import Sources
from lib_instantid.encoders.face.faces import Picture
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.errors import SettingsError


def draw(control: Control, picture: Picture, size: Size, sources: Sources, field: str) -> Picture:
    """A control's map for an output of `size`: the picture is scaled, the map drawn of it, and cropped or padded.

    picture: (H, W, 3) uint8 RGB, the control's. field: of the control, which errors name. returns: (height, width, 3) uint8
    RGB. Raises SettingsError: no such preprocessor. NoFaceFound: the picture has no face whose keypoints could be drawn.
    """
    whole = scaled(picture, size, control.fit)
    drawn = _drawn(control, whole, sources, field)
    if drawn.shape != whole.shape:
        drawn = np.asarray(cv2.resize(drawn, (whole.shape[1], whole.shape[0])), dtype=np.uint8)
    return placed(drawn, size)


def _drawn(control: Control, picture: Picture, sources: Sources, field: str) -> Picture:
    name = control.drawn_by
    if name in (AS_IT_IS, INPAINT):
        return picture
    if name == CANNY:
        return canny(picture, control.low, control.high)
    if name == BLUR:
        return blurred(picture, control.sigma)
    if name == GREY:
        return grey(picture)
    if name == KEYPOINTS:
        return _keypoints(picture, sources, field)
    others = sources.preprocessors
    found = first_of_kind(others.by_name, name)
    if found is None:
        names = ", ".join((*OWN, *others.by_name))
        raise SettingsError(f"{field}.preprocessor: found {name!r}, expected one of {names}. {others.cure}")
    return others.by_name[found](picture, min(picture.shape[:2]))


def _keypoints(picture: Picture, sources: Sources, field: str) -> Picture:
    """The five points of every face of a picture, as InstantID draws them."""
    seen = sources.analyser.see(Image.fromarray(picture), None, f"{field}.picture")
    seen.meant("largest", f"{field}.picture")  # raises where there is no face
    together = reduce(np.maximum, (draw_keypoints(one.face.keypoints, *seen.size) for one in seen.from_left))
    return np.ascontiguousarray(np.rot90(together, seen.turned // 90))  # as the picture lay
