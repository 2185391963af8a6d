"""What Forge asks of insightface."""

from types import SimpleNamespace

import numpy as np

POINTS = np.array([[0.2, 0.25], [0.8, 0.25], [0.5, 0.5], [0.25, 0.8], [0.75, 0.8]])
"""Of a face, as fractions of its box."""


class Face(dict):
    __getattr__ = dict.__getitem__


class FaceAnalysis:
    def __init__(self, **_):
        self.det_model = SimpleNamespace(input_size=None)

    def prepare(self, **_):
        pass

    def get(self, image):
        """(H, W, 3) of either channel order; where the first or last channel alone is high, there is a face."""
        levels = np.asarray(image).astype(int)
        rows, columns = np.nonzero(np.abs(levels[..., 0] - levels[..., 2]) > 150)
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float32)
        kps = box[:2] + POINTS * (box[2:] - box[:2])
        embedding = np.random.default_rng(5).normal(size=512).astype(np.float32)
        return [Face(bbox=box, kps=kps, embedding=embedding)]
