"""A z-buffer: triangles to pixels, with whatever the corners carry blended over each triangle."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@numba.njit(cache=True, fastmath=True)
def draw(xy: Floats, depth: Floats, faces: npt.NDArray[np.int32], values: Floats, z: Floats, out: Floats) -> None:
    """Draw triangles into z and out, where they are nearer than what is there.

    xy: (V, 2) px. depth: (V,), smaller is nearer. faces: (F, 3). values: (V, A). z: (H, W), +inf where nothing is yet.
    out: (H, W, A). Blending is linear in the picture: triangles are small beside their distance.
    """
    height, width = z.shape
    count = values.shape[1]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        x0, x1 = max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, width - 1)
        y0, y1 = max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, height - 1)
        for y in range(y0, y1 + 1):
            py = y + np.float32(0.5)
            for x in range(x0, x1 + 1):
                px = x + np.float32(0.5)
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                w = 1 - u - v
                if u < -1e-6 or v < -1e-6 or w < -1e-6:
                    continue
                d = u * depth[a] + v * depth[b] + w * depth[c]
                if d < z[y, x]:
                    z[y, x] = d
                    for k in range(count):
                        out[y, x, k] = u * values[a, k] + v * values[b, k] + w * values[c, k]


def normals(vertices: Floats, faces: npt.NDArray[np.int32]) -> Floats:
    """(V, 3) unit normals, each the mean of its triangles' by area."""
    corners = vertices[faces]
    of_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(faces.ravel(), np.repeat(of_face[:, k], 3), minlength=len(vertices)) for k in range(3)], axis=1
    )
    return (total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
