"""What is on a head: hair, hat and glasses, as meshes with what paints them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training import shapes
from training.paint import Found, Paint, painted
from training.person import COLOURS, Person, View
from training.shapes import Floats, Ints, Shapes

THICK = {"crop": 0.006, "short": 0.012, "fringe": 0.012, "curly": 0.03, "bun": 0.008}
"""How far hair stands off the head."""

HAT_EDGE = 0.709

Worn = tuple[shapes.Mesh, Callable[[Found], Paint]]
Affine = tuple[Floats, Floats]


def worn(shape: Shapes, person: Person, view: View, head: Floats, normal: Floats, affine: Affine) -> list[Worn]:
    """All that a person wears in a view. head, normal: (V, 3). affine: from the average head to this one, see `fit`."""
    found: list[Worn] = []
    if person.style != "bald":
        found.append(_cap_of_hair(shape, person, view, head, normal))
    if person.style in ("chin", "long"):
        found.append(_long_hair(person, view, affine))
    if person.style == "bun" and view.hat == "none":
        points, faces = shapes.ball((0, -0.005, 0.785), (0.036, 0.036, 0.03))
        found.append((_placed(points, faces, affine), lambda f: _bun(f, person)))
    if view.hat != "none":
        found += _hat(shape, view, head, normal, affine)
    if view.glasses != "none":
        size = (0.0215, 0.019, 0.0) if view.glasses == "round" else (0.0235, 0.0165, 1.0)
        found.append((_placed(*shapes.glasses(*size), affine), lambda f: painted(f, np.full(3, 26.0), shine=0.1)))
    return found


def _azimuth(base: Floats) -> Floats:
    return np.arctan2(base[:, 0], -(base[:, 1] + 0.035))


def _strands(turn: Floats, height: Floats, seed: int, fine: float) -> Floats:
    r = np.random.default_rng(seed)
    a, b, c = r.uniform(0, 6, 3)
    wave = np.sin(turn * 26 * fine + a + height * 9) + 0.7 * np.sin(turn * 61 * fine + b - height * 14)
    return 1 + 0.07 * wave + 0.05 * np.sin(turn * 11 + c)


def _hairline(person: Person, turn: Floats) -> Floats:
    """Height above which there is hair, by azimuth (0 in front)."""
    away = np.abs(turn)
    front = {"fringe": 0.681, "bald": 0.9}.get(person.style, person.hairline)
    if person.style == "crop":
        return np.interp(away, [0, 0.6, 1.0, 1.5, np.pi], [front, front, 0.706, 0.7, 0.69])
    if person.style == "fringe":
        line = np.interp(away, [0, 0.75, 0.95, 1.25, 1.6, np.pi], [front, front, 0.67, 0.645, 0.62, 0.585])
        return line + 0.0025 * np.sin(turn * 31) + 0.002 * np.sin(turn * 17 + 1)
    heights = [front, front - 0.001, front - 0.012, 0.672, 0.645, 0.62, 0.585]
    line = np.interp(away, [0, 0.5, 0.85, 1.15, 1.3, 1.6, np.pi], heights)
    return line + 0.02 * person.part * np.sin(turn) * (away < 1)


def _placed(points: Floats, faces: Ints, affine: Affine) -> shapes.Mesh:
    """Something in base coordinates on a person's head."""
    return shapes.Mesh(points=(points @ affine[0] + affine[1]).astype(np.float32), faces=faces, base=points)


def _bun(found: Found, person: Person) -> Paint:
    shade = _strands(found["base"][:, 0] * 25, found["base"][:, 2], 3, 1)[:, None]
    return np.array(person.hair_rgb) * shade, np.ones(len(shade), dtype=bool), 0.05


def _cap_of_hair(shape: Shapes, person: Person, view: View, head: Floats, normal: Floats) -> Worn:
    """The scalp, moved outwards; the hairline is cut out of it point by point."""
    base = shape.base
    grown = np.full(len(base), THICK.get(person.style, 0.012), dtype=np.float32)
    grown *= np.clip((base[:, 2] - _hairline(person, _azimuth(base)) + 0.012) / 0.03, 0.25, 1)
    if person.style == "curly":
        grown *= 1 + 0.25 * np.sin(base[:, 0] * 260) * np.sin(base[:, 2] * 240 + base[:, 1] * 200)
    if view.hat != "none":
        grown = np.minimum(grown, 0.008)

    def paint(found: Found) -> Paint:
        x, y, z = found["base"].T
        turn = _azimuth(found["base"])
        there = z > _hairline(person, turn)
        if view.hat != "none":
            there &= z < HAT_EDGE + 0.004
        shade = _strands(turn, z, person.number, 1.0)
        if person.style == "curly":
            shade = 1 + 0.16 * np.sin(x * 420 + 2 * np.sin(z * 300)) * np.sin(z * 400 + 2 * np.sin(y * 350))
        return np.array(person.hair_rgb, dtype=np.float32) * shade[:, None], there, 0.06

    return shapes.Mesh(points=(head + normal * grown[:, None]).astype(np.float32), faces=shape.scalp, base=base), paint


def _long_hair(person: Person, view: View, affine: Affine) -> Worn:
    low = 0.535 if person.style == "chin" else 0.42
    sheet = shapes.curtain(1.25, low, 0.04 + 0.012 * (person.part > 0))

    def paint(found: Found) -> Paint:
        turn, z = _azimuth(found["base"]), found["base"][:, 2]
        edge = low + 0.012 + 0.008 * np.sin(turn * 23) + 0.005 * np.sin(turn * 51)
        there = (z > edge) & ((z < HAT_EDGE) if view.hat != "none" else (z < 0.73))
        hair = np.array(person.hair_rgb, dtype=np.float32)
        return hair * _strands(turn, z, person.number, 1.3)[:, None] * 0.94, there, 0.06

    return _placed(sheet.points, sheet.faces, affine), paint


def _hat(shape: Shapes, view: View, head: Floats, normal: Floats, affine: Affine) -> list[Worn]:
    base, colour = shape.base, np.array(COLOURS[view.hat_colour], dtype=np.float32)
    high = 0.014 + 0.006 * np.clip((base[:, 2] - 0.72) / 0.03, 0, 1)

    def paint(found: Found) -> Paint:
        z = found["base"][:, 2]
        shade = np.ones(len(z))
        if view.hat == "beanie":
            shade = (1 + 0.06 * np.sin(_azimuth(found["base"]) * 60)) * np.where(z < HAT_EDGE + 0.014, 0.82, 1.0)
        return colour * shade[:, None], z > HAT_EDGE, 0.0

    mesh = shapes.Mesh(points=(head + normal * high[:, None]).astype(np.float32), faces=shape.scalp, base=base)
    peak: list[Worn] = [(_placed(*shapes.brim(), affine), lambda f: painted(f, colour * 0.85))]
    return [(mesh, paint), *(peak if view.hat == "cap" else [])]
