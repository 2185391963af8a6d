"""What FaceID takes of a person's photos: embeddings by the face recogniser it was trained with, and image features."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.adapter_files import Last
from lib_instantid.adapters.towers import PictureEncoder, black
from lib_instantid.constants import FACE_CROP, SEEN_CROP
from lib_instantid.encoders.face import arcface
from lib_instantid.encoders.face.photos import PhotoFace
from lib_instantid.encoders.face.sessions import Network
from lib_instantid.encoders.vision import pixels_of


class FaceRecogniser:
    """A recogniser with the embeddings of the last faces, 2 kB each."""

    KEPT = 64

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: Last[Tensor] = Last(self.KEPT)

    def embed(self, photo: PhotoFace) -> Tensor:
        """The raw embedding of a face, (512,) float32."""
        return self._kept.of(photo.key, lambda: torch.from_numpy(arcface.embed(self._network, photo.crops[FACE_CROP])))


def features_of(photos: Sequence[PhotoFace], tower: PictureEncoder) -> tuple[Tensor, Tensor]:
    """The mean features of the faces, and those of the black picture, (1, N, E) each."""
    pixels: dict[Hashable, Callable[[int], Tensor]] = {
        (SEEN_CROP, photo.key): partial(pixels_of, photo.crops[SEEN_CROP], crop="centre") for photo in photos
    }
    *faces, none = tower.see({**pixels, "black": black})
    return torch.stack([one.hidden for one in faces]).mean(0), none.hidden


def embeddings_of(photos: Sequence[PhotoFace], identity: np.ndarray, recogniser: FaceRecogniser | None, apart: bool) -> Tensor:
    """Raw embeddings of a person, (P, 512): of each photo, or their mean.

    identity: (512,) raw, by antelopev2. recogniser: None for an adapter that was trained with antelopev2. apart: whether the
    photos stand side by side.
    """
    own = torch.from_numpy(np.asarray(identity, dtype=np.float32))
    if recogniser is None and not (apart and photos):
        return own[None]
    each = [torch.from_numpy(photo.face.embedding) if recogniser is None else recogniser.embed(photo) for photo in photos]
    stacked = torch.stack(each)
    return stacked if apart else stacked.mean(0, keepdim=True)
