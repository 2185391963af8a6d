"""What FaceID takes of a person's photos: embeddings by the face recogniser it was trained with, and image features."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lib_instantid.adapters.adapter_files import Last
from lib_instantid.adapters.fields import PictureSource
from lib_instantid.adapters.known import KnownPerson
from lib_instantid.adapters.people import Person
from lib_instantid.adapters.towers import PictureEncoder, black
from lib_instantid.encoders.face import arcface
from lib_instantid.encoders.face.faces import Picture
from lib_instantid.encoders.face.geometry import align
from lib_instantid.encoders.face.photos import PhotoFace, upright
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.face.sessions import Network
from lib_instantid.encoders.vision import pixels_of

SEEN_CROP = 224
"""Side of the aligned face that FaceID Plus sees, in pixels. Source: IP-Adapter, ip_adapter-faceid_demo, `norm_crop`."""


class FaceRecogniser:
    """A recogniser with the embeddings of the last faces, 2 kB each."""

    KEPT = 64

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: Last[Tensor] = Last(self.KEPT)

    def embed(self, photo: Photo) -> Tensor:
        """The raw embedding of the chosen face of a photo, (512,) float32."""
        return self._kept.of(photo.key, lambda: self._embed(photo))

    def _embed(self, photo: Photo) -> Tensor:
        return torch.from_numpy(arcface.embed(self._network, photo.picture, photo.face.face.keypoints))


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photo and the chosen face in it. The photo is decoded only if its face is new to who looks at it."""

    source: PictureSource
    face: PhotoFace

    @property
    def key(self) -> Hashable:
        """What identifies the face: the photo's pixels, and where it is in them."""
        return self.face.digest, self.face.face.keypoints.tobytes()

    @cached_property
    def picture(self) -> Picture:
        """(H, W, 3) uint8 RGB, upright."""
        return upright(read_picture(self.source), self.face.turned)

    def pixels(self, side: int) -> Tensor:
        """The aligned face as a tower takes it, see `pixels_of`."""
        return pixels_of(align(self.picture, self.face.face.keypoints, SEEN_CROP), side, "centre")


def photos_of(person: Person, known: KnownPerson) -> tuple[Photo, ...]:
    """The photos of a person; none for a saved identity."""
    pairs = zip(person.photos, known.photos, strict=True) if known.photos else ()
    return tuple(Photo(source=source, face=face) for source, face in pairs)


def features_of(photos: Sequence[Photo], tower: PictureEncoder) -> tuple[Tensor, Tensor]:
    """The mean features of the faces, and those of the black picture, (1, N, E) each."""
    *seen, none = tower.see({**{(SEEN_CROP, photo.key): photo.pixels for photo in photos}, "black": black})
    return torch.stack([one.hidden for one in seen]).mean(0), none.hidden


def embeddings_of(photos: Sequence[Photo], identity: np.ndarray, recogniser: FaceRecogniser | None, apart: bool) -> Tensor:
    """Raw embeddings of a person, (P, 512): of each photo, or their mean.

    identity: (512,) raw, by antelopev2. recogniser: None for an adapter that was trained with antelopev2. apart: whether the
    photos stand side by side.
    """
    own = torch.from_numpy(np.asarray(identity, dtype=np.float32))
    if recogniser is None and not (apart and photos):
        return own[None]
    each = [torch.from_numpy(photo.face.face.embedding) if recogniser is None else recogniser.embed(photo) for photo in photos]
    stacked = torch.stack(each)
    return stacked if apart else stacked.mean(0, keepdim=True)
