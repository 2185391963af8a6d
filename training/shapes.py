"""The shapes of heads: MakeHuman's, by the package anny, and what is put on them (hair, hats, glasses).

Coordinates: x to the viewer's right, y away from the viewer, z up; about 0.2 from chin to crown. "Base" means the average
head. A point of a person's head carries the base coordinates of the same place on the average head, so that what is painted
(brows, beard, hairline, neckline) is a function of base coordinates and has a clean edge at any size.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from training.raster import normals

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

CENTRE = np.array([0.0, -0.04, 0.66], dtype=np.float32)
"""The middle of the average head, about which it turns."""

EYES = np.array([[-0.0295, -0.121, 0.6486], [0.0297, -0.121, 0.6486]], dtype=np.float32)
NECK = 0.535
"""Height at which the neck begins; below it the body stays while the head turns."""

ACTIONS = {
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    "open": {"jawOpen": 0.8, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3},
    "brows": {"browInnerUp": 1.0, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}
PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
NOT_VARIED = frozenset(("head-angle-out", "head-trans-out", "nose-trans-out", "mouth-trans-out", "head-age-incr"))
PARTS = ("chin", "forehead", "head", "mouth", "nose", "eyebrows")


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """points (V, 3), faces (F, 3), base (V, 3): where each point is on the average head."""

    points: Floats
    faces: Ints
    base: Floats


class Shapes:
    """anny's model, cut down to head and shoulders. Opening it takes seconds, the first time on a machine minutes."""

    def __init__(self) -> None:
        warnings.filterwarnings("ignore")
        import anny
        import torch

        self._torch = torch
        self._model = anny.Anny(local_changes="all", facial_actions="all").to(torch.float32)
        faces = np.array(self._model.faces)
        whole = self._whole({}, {}, {})
        corners = whole[faces]
        kept = (corners[:, :, 2].min(1) > 0.2) & (np.abs(corners[:, :, 0]).max(1) < 0.3)
        self._used = np.unique(faces[kept])
        number = np.full(len(whole), -1)
        number[self._used] = np.arange(len(self._used))
        self.faces: Ints = number[faces[kept]].astype(np.int32)
        self.base: Floats = whole[self._used]
        self.actions = {name: self._whole({}, {}, weights)[self._used] - self.base for name, weights in ACTIONS.items()}

    def _whole(self, phenotype: dict[str, float], changes: dict[str, float], actions: dict[str, float]) -> Floats:
        torch = self._torch
        pose = torch.eye(4)[None, None].repeat(1, self._model.bone_count, 1, 1)
        with torch.no_grad():
            found = self._model(
                pose_parameters=pose,
                phenotype_kwargs={**dict.fromkeys(PHENOTYPES, 0.5), **phenotype},
                local_changes_kwargs=changes,
                facial_actions=actions,
            )
        return found["vertices"][0].numpy().copy()

    def head(self, phenotype: dict[str, float], changes: dict[str, float]) -> Floats:
        """(V, 3) of a person, moved to where the average head is."""
        points = self._whole(phenotype, changes, {})[self._used]
        skull = self.base[:, 2] > 0.62
        return points + (self.base[skull].mean(0) - points[skull].mean(0))

    @cached_property
    def changes(self) -> dict[str, list[str]]:
        """Changes of a face that may vary: name → anny's names, the left one and the right one together."""
        found: dict[str, list[str]] = {}
        for name in self._model.local_change_labels:
            own = name[2:] if name[:2] in ("l-", "r-") else name
            if own not in NOT_VARIED and own.split("-")[0] in (*PARTS, "eye", "ear", "cheek"):
                found.setdefault(own, []).append(name)
        return found

    def _moved(self, name: str) -> Floats:
        distance = np.linalg.norm(self._whole({}, {name: 1.0}, {})[self._used] - self.base, axis=1)
        return distance / distance.max()

    @cached_property
    def lips(self) -> Floats:
        """(V,) how much of a point is lip, 0 to 1."""
        both = np.maximum(self._moved("mouth-lowerlip-volume-incr"), self._moved("mouth-upperlip-volume-incr"))
        return np.clip(both / 0.24, 0, 1).astype(np.float32)

    @cached_property
    def ears(self) -> npt.NDArray[np.bool_]:
        own = np.maximum(self._moved("l-ear-scale-incr"), self._moved("r-ear-scale-incr")) > 0.3
        distance = np.linalg.norm(self.base[:, None] - self.base[own][::4], axis=2).min(1)
        return own | ((distance < 0.01) & (self.base[:, 2] < 0.67))

    @cached_property
    def eyes(self) -> Floats:
        """(V,) distance behind the front of its eyeball, 0.1 elsewhere."""
        depth = np.full(len(self.base), 0.1, dtype=np.float32)
        for ball in self.eyeballs:
            depth[ball] = self.base[ball, 1] - self.base[ball, 1].min()
        return depth

    @cached_property
    def eyeballs(self) -> list[npt.NDArray[np.intp]]:
        """The points of each eyeball, the viewer's left first: pieces of the mesh that hang together."""
        parent = np.arange(len(self.base))

        def root(a: int) -> int:
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            return a

        for face in self.faces:
            first = root(face[0])
            for corner in face[1:]:
                parent[root(corner)] = first
        roots = np.array([root(a) for a in range(len(parent))])
        pieces = [np.flatnonzero(roots == r) for r in np.unique(roots)]
        balls = [p for p in pieces if 20 < len(p) < 150 and self.base[p, 2].min() > 0.6]
        return sorted(balls, key=lambda p: float(self.base[p, 0].mean()))

    @cached_property
    def marks(self) -> tuple[npt.NDArray[np.intp], ...]:
        """The points whose means are the five keypoints: eyes, nose, mouth corners; the viewer's left first."""
        eyes = [ball[np.argsort(self.base[ball, 1])[:6]] for ball in self.eyeballs]
        x, y, z = self.base.T
        nose = np.flatnonzero((np.abs(x) < 0.004) & (z > 0.598) & (z < 0.636))
        lips = np.flatnonzero(self.lips > 0.5)
        corners = lips[np.argmin(self.base[lips, 0])], lips[np.argmax(self.base[lips, 0])]
        return (*eyes, nose[[np.argmin(y[nose])]], *(np.array([corner]) for corner in corners))

    @cached_property
    def scalp(self) -> Ints:
        """Faces that hair may cover."""
        corners = self.base[self.faces]
        fine = (corners[:, :, 2].min(1) > 0.55) & ~self.ears[self.faces].any(1) & (self.eyes[self.faces] > 0.05).all(1)
        front = (corners[:, :, 1].mean(1) < -0.06) & (corners[:, :, 2].mean(1) < 0.672)
        return self.faces[fine & ~front]


def fit(base: Floats, points: Floats) -> tuple[Floats, Floats]:
    """(3, 3) and (3,): the affine map that takes the average skull closest to a person's."""
    skull = base[:, 2] > 0.6
    whole = np.concatenate([base[skull], np.ones((skull.sum(), 1))], axis=1)
    found = np.linalg.lstsq(whole, points[skull], rcond=None)[0].astype(np.float32)
    return found[:3], found[3]


def grid(rows: int, columns: int) -> Ints:
    """Faces of a sheet of rows x columns points."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    first = np.stack([corner, corner + 1, corner + columns], axis=1)
    second = np.stack([corner + 1, corner + columns + 1, corner + columns], axis=1)
    return np.concatenate([first, second]).astype(np.int32)


def tube(path: Floats, radius: float) -> tuple[Floats, Ints]:
    """A round tube along (N, 3) points."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.cross(along, [0.03, 1.0, 0.05])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(side, along)
    turn = np.linspace(0, 2 * np.pi, 7)[None, :, None]
    points = path[:, None] + radius * (np.cos(turn) * side[:, None] + np.sin(turn) * up[:, None])
    return points.reshape(-1, 3).astype(np.float32), grid(len(path), 7)


def join(parts: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(points) for points, _ in parts)])
    faces = [own + start for (_, own), start in zip(parts, starts[:-1], strict=True)]
    return np.concatenate([points for points, _ in parts]), np.concatenate(faces).astype(np.int32)


def glasses(width: float, height: float, square: float) -> tuple[Floats, Ints]:
    """Frames before the eyes, in base coordinates. square: 0 round, 1 angular."""
    turn = np.linspace(0, 2 * np.pi, 29)
    parts = []
    power = 2 / (2 + 4 * square)
    for eye in EYES:
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * width
        z = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * height
        y = eye[1] - 0.022 + 6.0 * (np.abs(eye[0] + x) - 0.03).clip(0) ** 2 * 2
        parts.append(tube(np.stack([eye[0] + x, y, eye[2] - 0.002 + z], axis=1).astype(np.float32), 0.0016))
    inner = EYES[1, 0] - width
    bridge = np.linspace(-inner, inner, 6)
    parts.append(tube(np.stack([bridge, np.full(6, -0.146), 0.653 - 2 * bridge**2], axis=1).astype(np.float32), 0.0016))
    for sign in (-1, 1):
        outer = EYES[1, 0] + width
        path = np.array([[outer, -0.139, 0.652], [0.079, -0.11, 0.652], [0.081, -0.03, 0.652]], dtype=np.float32)
        parts.append(tube(path * (sign, 1, 1), 0.0016))
    return join(parts)


def curtain(start: float, bottom: float, width: float) -> Mesh:
    """Long hair: a sheet around the head from one temple behind it to the other; start: azimuth of its edge, 0 in front."""
    rows, columns = 14, 40
    down = np.linspace(0, 1, rows)[:, None]
    turn = np.linspace(start, 2 * np.pi - start, columns)[None]
    height = 0.725 + (bottom - 0.725) * down
    out = 0.078 + (width - 0.02) * np.minimum(1, down * 2.5) ** 0.7 + 0.012 * down
    x = out * np.sin(turn) * 1.0
    y = -0.035 - (out + 0.012) * np.cos(turn)
    flat = [np.broadcast_to(a, (rows, columns)).ravel() for a in (x, y, height)]
    points = np.stack(flat, axis=1).astype(np.float32)
    return Mesh(points=points, faces=grid(rows, columns), base=points)


def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> tuple[Floats, Ints]:
    """An ellipsoid, in base coordinates."""
    up, turn = np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, 11), np.linspace(0, 2 * np.pi, 21), indexing="ij")
    unit = np.stack([np.cos(up) * np.sin(turn), np.cos(up) * np.cos(turn), np.sin(up)], axis=-1).reshape(-1, 3)
    return (unit * radii + centre).astype(np.float32), grid(11, 21)


def brim() -> tuple[Floats, Ints]:
    """The peak of a cap, in base coordinates."""
    out, turn = np.meshgrid(np.linspace(0, 1, 6), np.linspace(-1.1, 1.1, 15), indexing="ij")
    x = (0.078 + 0.004 * out) * np.sin(turn)
    y = -0.045 - (0.088 + 0.055 * out * np.cos(turn * 0.9)) * np.cos(turn)
    z = 0.712 - 0.012 * out - 0.02 * np.sin(turn) ** 2 * 0.6
    return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32), grid(6, 15)


__all__ = ["ACTIONS", "CENTRE", "EYES", "NECK", "Mesh", "Shapes", "ball", "brim", "curtain", "fit", "glasses", "normals"]
