"""Uses the preprocessors of Forge and of the extension sd-webui-controlnet, whose interfaces are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from lib_instantid.encoders.face.faces import Picture
from lib_instantid.errors import MissingModelFile, SettingsError

NO_MAPS = frozenset({"IP-Adapter", "Instant-ID", "Reference", "Revision", "Inpaint", "T2I-Adapter", "InstructP2P"})
"""Tags of preprocessors that draw no map of a picture alone."""

Draw = Callable[[Picture, int], Picture]


def drawing(preprocessors: Iterable[Any], unload: Callable[[Any], object] = lambda _: None) -> dict[str, Draw]:
    """Those that draw maps, by the names that the WebUI shows, in the given order. unload: frees a preprocessor's memory after
    it has drawn, where the WebUI does not."""
    wanted = [one for one in preprocessors if one.name.lower() != "none" and _draws(one)]
    return {_name(one): partial(_draw, one, unload) for one in wanted}


def _name(preprocessor: Any) -> str:
    """sd-webui-controlnet shows labels, such as "depth_midas" for its "depth"; Forge has names alone."""
    return str(getattr(preprocessor, "label", preprocessor.name))


def _draws(preprocessor: Any) -> bool:
    gives_picture = getattr(preprocessor, "returns_image", True) and not getattr(preprocessor, "requires_mask", False)
    return bool(gives_picture and preprocessor.tags) and not NO_MAPS & set(preprocessor.tags)


def _draw(preprocessor: Any, unload: Callable[[Any], object], picture: Picture, resolution: int) -> Picture:
    """The preprocessor's map, with its own thresholds. Raises MissingModelFile: its file is not there and cannot be fetched.
    SettingsError: it gives no picture."""
    sliders = (preprocessor.slider_1, preprocessor.slider_2, preprocessor.slider_3)
    first, second, third = (slider.gradio_update_kwargs["value"] for slider in sliders)
    values = {"resolution": resolution, "slider_1": first, "slider_2": second, "slider_3": third}
    try:
        found: Any = preprocessor(input_image=picture.copy(), **values)
    except OSError as error:
        raise MissingModelFile(
            f"preprocessor {_name(preprocessor)}: its model file could not be fetched ({error}); the WebUI's console says "
            "which. Choose another preprocessor, or give a map and draw it as it is."
        ) from error
    finally:
        unload(preprocessor)
    found = getattr(found, "value", found)
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim not in (2, 3):
        raise SettingsError(f"preprocessor {_name(preprocessor)}: it draws no map; choose another.")
    three = np.repeat(found[:, :, None], 3, axis=2) if found.ndim == 2 else found[:, :, :3]
    return np.ascontiguousarray(np.broadcast_to(three, (*three.shape[:2], 3)))
