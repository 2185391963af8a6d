"""Face tokens and faces that were asked for a moment ago: hires fix and batches ask again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor

from lib_instantid.face.analyser import Analyser
from lib_instantid.face.faces import Face, Floats, Picture
from lib_instantid.face.keypoints import check_keypoints
from lib_instantid.nets.adapter import Adapter, FaceTokens


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """Who analyses faces, where, and how many pictures' faces are remembered: one takes 2 kB, looking again a third of a
    second. See `open_analyser`."""

    backend: str = "builtin"
    provider: str = "cpu"
    remembered: int = 32


class RememberingAdapter:
    """Remembers the tokens of the last faces, as many as a picture may have; a face takes 20 MB. The adapter's file, mapped
    into memory, is open only while a new face's tokens are made, and none of it is ever on the GPU."""

    FACES = 4

    def __init__(self, load: Callable[[], Adapter]) -> None:
        self._load = load
        self._faces: OrderedDict[bytes, FaceTokens] = OrderedDict()

    def face_tokens(self, embedding: Tensor, unconditional: Tensor) -> FaceTokens:
        key = torch.stack([embedding, unconditional]).numpy().tobytes()
        if key not in self._faces:
            self._faces[key] = self._load().face_tokens(embedding, unconditional)
        self._faces.move_to_end(key)
        while len(self._faces) > self.FACES:
            self._faces.popitem(last=False)
        return self._faces[key]

    def forget(self) -> None:
        self._faces.clear()


class RememberingAnalyser:
    """An analyser that looks at the same picture once: hires fix and batches ask again. options: with which it was opened.

    A person sets up the panel while a generation runs, so both may ask at once.
    """

    def __init__(self, analyser: Analyser, options: FaceOptions) -> None:
        self._analyser = analyser
        self.options = options
        self._faces: OrderedDict[bytes, tuple[Face, ...]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        return self._analyser.provider

    def faces(self, picture: Picture) -> tuple[Face, ...]:
        return self._remembered(picture, b"", lambda: self._analyser.faces(picture))

    def face_at(self, picture: Picture, keypoints: npt.ArrayLike) -> Face:
        points = check_keypoints(keypoints).astype("float64").tobytes()
        return self._remembered(picture, points, lambda: (self._analyser.face_at(picture, keypoints),))[0]

    def likely(self, picture: Picture) -> Floats | None:
        with self._lock:
            return self._analyser.likely(picture)

    def _remembered(self, picture: Picture, points: bytes, look: Callable[[], tuple[Face, ...]]) -> tuple[Face, ...]:
        key = hashlib.sha256(picture.tobytes() + repr(picture.shape).encode() + points).digest()
        with self._lock:
            if key not in self._faces:
                self._faces[key] = look()
            self._faces.move_to_end(key)
            found = self._faces[key]
            while len(self._faces) > self.options.remembered:
                self._faces.popitem(last=False)
            return found
