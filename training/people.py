"""People by number: `python -m training.people NUMBER OUT.png [--view V] [--size S]`.

A number is a person, the same on every machine; a view is one picture of them. Numbers below 1,000,000 may be trained on,
those above are kept for measuring.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from training import shapes
from training.raster import draw, normals
from training.shapes import Floats, Ints, Shapes

COLOURS = {
    "red": (190, 40, 45),
    "orange": (230, 130, 45),
    "yellow": (235, 205, 70),
    "green": (60, 140, 70),
    "blue": (55, 90, 185),
    "purple": (120, 65, 160),
    "pink": (235, 150, 180),
    "white": (238, 238, 236),
    "grey": (130, 130, 132),
    "black": (30, 30, 34),
}
"""RGB of the colours that captions name."""

HAIR = {
    "black": (24, 22, 26),
    "brown": (88, 54, 32),
    "blond": (216, 178, 108),
    "red": (160, 66, 30),
    "grey": (158, 158, 160),
}
HAIR_STYLES = ("bald", "crop", "short", "fringe", "curly", "bun", "chin", "long")
EYE_COLOURS = ((68, 46, 28), (112, 82, 46), (78, 112, 66), (74, 118, 172), (110, 120, 126))
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
CLOTHES = ("shirt", "sweater", "jacket")
HATS = ("none", "beanie", "cap")
BACKGROUNDS = ("plain", "gradient", "wall", "spots", "stripes")
THICK = {"crop": 0.006, "short": 0.012, "fringe": 0.012, "curly": 0.03, "bun": 0.008}
"""How far hair stands off the head."""

HAT_EDGE = 0.709
Found = dict[str, Floats]
"""What a layer knows of each of its pixels: base (N, 3), normal (N, 3), extra (N, A)."""

Paint = tuple[np.ndarray, np.ndarray, float]
"""Colour (N, 3), where there is something (N,), and how much it shines."""

Worn = tuple[shapes.Mesh, Callable[[Found], Paint]]
Affine = tuple[Floats, Floats]

SKIN_RAMP = np.array([(250, 218, 196), (236, 190, 158), (206, 150, 112), (158, 106, 74), (112, 72, 50), (74, 46, 34)], float)


@dataclass(frozen=True, kw_only=True)
class Person:
    """What stays the same in every picture of somebody."""

    number: int
    phenotype: dict[str, float] = field(repr=False)
    changes: dict[str, float] = field(repr=False)
    skin: tuple[float, float, float]
    tone: float
    hair: str
    hair_rgb: tuple[float, float, float]
    style: str
    hairline: float
    part: float
    brow: tuple[float, float, float, float]
    """Thickness, arch, height and darkness."""
    beard: str
    eye_rgb: tuple[float, float, float]
    lip: tuple[float, float]
    """Redness and darkness."""
    cheeks: float
    freckles: float
    mole: tuple[float, float] | None

    @property
    def gender(self) -> str:
        return "woman" if self.phenotype["gender"] < 0.5 else "man"

    @property
    def old(self) -> bool:
        return self.phenotype["age"] > 0.84


@dataclass(frozen=True, kw_only=True)
class View:
    """What one picture shows of a person. Angles in radians; place and scale as parts of the picture."""

    yaw: float
    pitch: float
    roll: float
    place: tuple[float, float]
    scale: float
    smile: float
    mouth: float
    brows: float
    blink: float
    light: tuple[float, float, float]
    bright: float
    warm: float
    background: str
    pattern: str
    clothes: str
    clothes_colour: str
    hat: str
    hat_colour: str
    glasses: str
    seed: int


def make_person(number: int, shape: Shapes) -> Person:
    """The person of a number."""
    r = np.random.default_rng((7, number))
    woman = r.random() < 0.5
    age = float(r.uniform(0.55, 0.95))
    phenotype = {
        "gender": float(r.uniform(0, 0.12) if woman else r.uniform(0.88, 1)),
        "age": age,
        "weight": float(r.uniform(0.2, 0.9)),
        "muscle": float(r.uniform(0.35, 0.65)),
    }
    changes = {}
    for names in shape.changes.values():
        if r.random() < 0.6:
            value = float(np.clip(r.normal(0, 0.5), -1, 1))
            changes |= dict.fromkeys(names, value)
    tone = float(r.uniform(0, 1))
    skin = np.array([np.interp(tone * 5, np.arange(6), SKIN_RAMP[:, k]) for k in range(3)]) + r.normal(0, 5, 3)
    hair_names = list(HAIR)
    odds = np.array([0.3, 0.27, 0.18, 0.12, 0.13]) if age < 0.84 else np.array([0.15, 0.15, 0.1, 0.05, 0.55])
    hair = hair_names[r.choice(5, p=odds)]
    hair_rgb = np.clip(np.array(HAIR[hair]) * r.uniform(0.8, 1.2) + r.normal(0, 6, 3), 8, 250)
    weights = (0.01, 0.05, 0.1, 0.16, 0.16, 0.14, 0.18, 0.2) if woman else (0.14, 0.2, 0.3, 0.14, 0.12, 0.01, 0.04, 0.05)
    style = HAIR_STYLES[r.choice(8, p=weights)]
    beard = "none" if woman else BEARDS[r.choice(5, p=(0.4, 0.16, 0.12, 0.14, 0.18))]
    return Person(
        number=number,
        phenotype=phenotype,
        changes=changes,
        skin=tuple(np.clip(skin, 20, 255)),
        tone=tone,
        hair=hair,
        hair_rgb=tuple(hair_rgb),
        style=style,
        hairline=float(r.uniform(0.695, 0.728)),
        part=float(r.choice([-1, 0, 1]) * r.uniform(0.1, 0.35)),
        brow=(float(r.uniform(0.6, 1.6)), float(r.uniform(-0.3, 1)), float(r.uniform(-1, 1)), float(r.uniform(0.45, 1))),
        beard=beard,
        eye_rgb=EYE_COLOURS[r.integers(len(EYE_COLOURS))],
        lip=(float(r.uniform(0.1, 0.75 if woman else 0.35)), float(r.uniform(0.8, 1))),
        cheeks=float(r.uniform(0, 0.35)),
        freckles=float(r.uniform(0.3, 1) if r.random() < 0.15 else 0),
        mole=(float(r.uniform(-0.04, 0.04)), float(r.uniform(0.57, 0.63))) if r.random() < 0.2 else None,
    )


def make_view(seed: int, person: Person) -> View:
    """A view by its number; the same one gives another picture of another person. View 0 is a portrait for a document: nearly
    from the front, without hat, glasses or a smile, before a plain wall.
    """
    r = np.random.default_rng((11, person.number, seed))
    names = list(COLOURS)
    mood = r.random()
    angle = lambda spread, limit: float(np.clip(r.normal(0, spread), -limit, limit))  # noqa: E731
    direction = np.array([r.uniform(-1, 1), -0.9, r.uniform(-0.1, 0.9)])
    view = View(
        yaw=angle(0.36, 0.785),
        pitch=angle(0.17, 0.436),
        roll=angle(0.14, 0.349),
        place=(float(r.uniform(0.4, 0.6)), float(r.uniform(0.44, 0.56))),
        scale=float(r.uniform(0.72, 1.15)),
        smile=float(r.uniform(0.6, 1) if mood < 0.4 else r.uniform(0, 0.12)),
        mouth=float(r.uniform(0.5, 0.9) if mood > 0.8 else 0),
        brows=float(r.uniform(0, 0.8) * (r.random() < 0.25)),
        blink=float(r.uniform(0, 0.4) * (r.random() < 0.2)),
        light=tuple(direction / np.linalg.norm(direction)),
        bright=float(r.uniform(0.88, 1.08)),
        warm=float(r.normal(0, 0.03)),
        background=names[r.integers(10)],
        pattern=BACKGROUNDS[r.choice(5, p=(0.3, 0.3, 0.15, 0.13, 0.12))],
        clothes=CLOTHES[r.integers(3)],
        clothes_colour=names[r.integers(10)],
        hat=HATS[r.choice(3, p=(0.8, 0.1, 0.1))],
        hat_colour=names[r.integers(10)],
        glasses=("none", "round", "square")[r.choice(3, p=(0.76, 0.12, 0.12))],
        seed=int(r.integers(2**31)),
    )
    if seed:
        return view
    view = replace(view, smile=0.0, mouth=0.0, brows=0.0, blink=0.0, pattern="plain", hat="none", glasses="none")
    return replace(view, yaw=view.yaw / 4, pitch=view.pitch / 4, roll=view.roll / 4, place=(0.5, 0.5), scale=1.0)


class Renderer:
    """Pictures of people. Keeps the shape of the person it drew last."""

    def __init__(self) -> None:
        self.shape = Shapes()
        self._last: tuple[int, Floats] | None = None

    def person(self, number: int) -> Person:
        return make_person(number, self.shape)

    def _head(self, person: Person) -> Floats:
        if self._last is None or self._last[0] != person.number:
            self._last = person.number, self.shape.head(person.phenotype, person.changes)
        return self._last[1]

    def render(self, person: Person, view: View, size: int = 192) -> tuple[np.ndarray, Floats]:
        """(size, size, 3) uint8 RGB, and the five points (5, 2) XY px, eyes, nose, mouth corners, viewer's left first."""
        canvas = _Canvas(size * 2, view)
        r = np.random.default_rng(view.seed)
        picture = cv2.resize(_background(view, size, r), (size * 2, size * 2), interpolation=cv2.INTER_NEAREST)
        head = self._head(person)
        moved = head + view.smile * self.shape.actions["smile"] + view.mouth * self.shape.actions["open"]
        moved = moved + view.brows * self.shape.actions["brows"] + view.blink * self.shape.actions["blink"]
        affine = shapes.fit(self.shape.base, head)
        normal = normals(moved, self.shape.faces)
        cloth = np.clip((0.53 - self.shape.base[:, 2]) / 0.02, 0, 1)[:, None]
        moved = moved + normal * cloth * {"shirt": 0.004, "sweater": 0.01, "jacket": 0.012}[view.clothes]
        extra = np.stack([self.shape.lips, self.shape.eyes], axis=1)
        canvas.layer(moved, self.shape.faces, self.shape.base, extra, lambda f: _skin(f, person, view))
        for mesh, paint in _worn(self.shape, person, view, moved, normal, affine):
            canvas.layer(mesh.points, mesh.faces, mesh.base, None, paint)
        covered = np.isfinite(canvas.z)
        picture[covered] = canvas.rgb[covered]
        picture = np.clip(picture * (1 + view.warm * np.array([1, 0, -1])), 0, 255).astype(np.float32)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        points = np.array([canvas.project(moved[mark].mean(0)[None])[0][0] for mark in self.shape.marks]) / 2
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8), points.astype(np.float32)


class _Canvas:
    """A picture that is drawn layer by layer, each before or behind what is there."""

    def __init__(self, side: int, view: View) -> None:
        self._view = view
        self._side = side
        self.z = np.full((side, side), np.inf, dtype=np.float32)
        self.rgb = np.zeros((side, side, 3), dtype=np.float32)
        yaw = cv2.Rodrigues(np.array([0, 0, view.yaw]))[0]
        pitch = cv2.Rodrigues(np.array([view.pitch, 0, 0]))[0]
        roll = cv2.Rodrigues(np.array([0, view.roll, 0]))[0]
        self._head = (roll @ pitch @ yaw).astype(np.float32)
        self._body = cv2.Rodrigues(np.array([0, 0, view.yaw * 0.45]))[0].astype(np.float32)

    def turn(self, points: Floats) -> Floats:
        """The head turns about the neck; the body follows by less than half."""
        pivot = np.array([0, -0.02, 0.6], dtype=np.float32)
        away = points - pivot
        part = np.clip((points[:, 2:] - 0.49) / 0.09, 0, 1)
        part = part * part * (3 - 2 * part)
        return part * (away @ self._head.T) + (1 - part) * (away @ self._body.T) + pivot - shapes.CENTRE

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        turned = self.turn(points)
        distance = turned[:, 1] + 0.75
        focal = self._side * 2.05 * self._view.scale
        x = turned[:, 0] / distance * focal + self._side * self._view.place[0]
        y = -turned[:, 2] / distance * focal + self._side * self._view.place[1]
        return np.stack([x, y], axis=1).astype(np.float32), distance.astype(np.float32)

    def layer(self, points: Floats, faces: Ints, base: Floats, extra: Floats | None, paint: Callable[[Found], Paint]) -> None:
        """Draw a mesh where it is nearer than what is there."""
        xy, distance = self.project(points)
        normal = normals(self.turn(points), faces)
        values = np.concatenate([base, normal] + ([] if extra is None else [extra]), axis=1).astype(np.float32)
        z = np.full_like(self.z, np.inf)
        out = np.zeros((*z.shape, values.shape[1]), dtype=np.float32)
        draw(xy, distance, faces, values, z, out)
        seen = np.flatnonzero((z < self.z).ravel())
        found = out.reshape(-1, values.shape[1])[seen]
        known = {"base": found[:, :3], "normal": found[:, 3:6], "extra": found[:, 6:]}
        colour, there, shine = paint(known)
        shaded = colour * self._light(known["normal"], shine)[:, None]
        seen, shaded = seen[there], shaded[there]
        self.z.ravel()[seen] = z.ravel()[seen]
        self.rgb.reshape(-1, 3)[seen] = shaded

    def _light(self, normal: Floats, shine: float) -> Floats:
        normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6)
        normal = np.where(normal[:, 1:2] > 0, -normal, normal)
        light = np.array(self._view.light, dtype=np.float32)
        half = light + np.array([0, -1, 0], dtype=np.float32)
        half /= np.linalg.norm(half)
        diffuse = np.clip(normal @ light, 0, 1)
        return self._view.bright * (0.46 + 0.6 * diffuse + shine * np.clip(normal @ half, 0, 1) ** 14)


def _azimuth(base: Floats) -> Floats:
    return np.arctan2(base[:, 0], -(base[:, 1] + 0.035))


def _strands(turn: Floats, height: Floats, seed: int, fine: float) -> Floats:
    r = np.random.default_rng(seed)
    a, b, c = r.uniform(0, 6, 3)
    wave = np.sin(turn * 26 * fine + a + height * 9) + 0.7 * np.sin(turn * 61 * fine + b - height * 14)
    return 1 + 0.07 * wave + 0.05 * np.sin(turn * 11 + c)


def _smooth(value: Floats, edge: float, width: float) -> Floats:
    part = np.clip((value - edge) / width + 0.5, 0, 1)
    return part * part * (3 - 2 * part)


def _skin(found: Found, person: Person, view: View) -> Paint:
    x, y, z = found["base"].T
    lips, eye = found["extra"].T
    colour = np.tile(np.array(person.skin, dtype=np.float32), (len(x), 1))
    blend = lambda part, rgb: colour.__iadd__(part[:, None] * (np.asarray(rgb, dtype=np.float32) - colour))  # noqa: E731
    front = y < -0.055
    red = np.array(person.skin) * (1.0, 0.72, 0.7)
    blend(person.cheeks * front * np.exp(-(((np.abs(x) - 0.042) / 0.016) ** 2 + ((z - 0.61) / 0.016) ** 2)), red)
    if person.freckles:
        dots = np.sin(x * 900 + 3 * np.sin(z * 500)) * np.sin(z * 800 + 2 * np.sin(x * 700))
        around = np.exp(-(((np.abs(x) - 0.03) / 0.025) ** 2 + ((z - 0.617) / 0.016) ** 2))
        blend(front * person.freckles * around * _smooth(dots, 0.45, 0.3) * 0.6, np.array(person.skin) * (0.7, 0.55, 0.45))
    if person.mole:
        near = np.hypot(x - person.mole[0], z - person.mole[1])
        blend(front * (1 - _smooth(near, 0.0026, 0.0016)), np.array(person.skin) * 0.35)
    hair = np.array(person.hair_rgb, dtype=np.float32)
    blend(front * _beard(person, x, y, z), hair * (0.75 if person.beard != "stubble" else 0.6))
    lip = np.array([176, 66, 72]) * person.lip[0] + np.array(person.skin) * (1 - person.lip[0]) * (0.92, 0.76, 0.74)
    blend(front * _smooth(lips, 0.5, 0.35), lip * person.lip[1])
    thick, arch, height, dark = person.brow
    along = (np.abs(x) - 0.013) / 0.036
    middle = 0.669 + 0.002 * height + 0.005 * arch * np.sin(np.clip(along, 0, 1) * 2.4)
    half = 0.0032 * thick * (1 - 0.55 * np.clip(along, 0, 1))
    brow = _smooth(-np.abs(z - middle), -half, 0.0022) * _smooth(along, 0.0, 0.1) * _smooth(-along, -1.0, 0.15)
    blend(front * brow * dark, hair * 0.72)
    ball = eye < 0.05
    if ball.any():
        white = np.full((ball.sum(), 3), (236, 234, 230), dtype=np.float32)
        depth = eye[ball][:, None]
        white += (1 - _smooth(depth, 0.0036, 0.0008)) * (np.array(person.eye_rgb, dtype=np.float32) - white)
        white += (1 - _smooth(depth, 0.0009, 0.0004)) * (np.array((10, 10, 12), dtype=np.float32) - white)
        colour[ball] = white
    cloth = {"shirt": 0.505 + 1.3 * np.maximum(np.abs(x) - 0.03, 0), "sweater": 0.545 + 0 * x, "jacket": 0.46 + 1.1 * np.abs(x)}
    worn = _smooth(cloth[view.clothes] - z, 0, 0.002) * (z < 0.56)
    blend(worn, np.array(COLOURS[view.clothes_colour]))
    if view.clothes == "jacket":
        blend(_smooth(0.5 - z, 0, 0.002) * (1 - worn), (235, 235, 235))
    return colour, np.ones(len(x), dtype=bool), 0.08


def _beard(person: Person, x: Floats, y: Floats, z: Floats) -> Floats:
    none = np.zeros_like(x)
    if person.beard == "none":
        return none
    moustache = _smooth(-np.hypot(x / 0.024, (z - 0.5945) / 0.0065), -1, 0.25)
    chin = _smooth(-np.hypot(x / 0.021, (z - 0.547) / 0.021), -1, 0.25)
    jaw = _smooth(-z, -(0.572 + 0.9 * np.maximum(np.abs(x) - 0.022, 0)), 0.006) * (z > 0.515) * (np.abs(x) < 0.07) * (y < -0.03)
    part = {"moustache": moustache, "goatee": np.maximum(moustache, chin), "full": np.maximum(np.maximum(moustache, jaw), chin)}
    if person.beard == "stubble":
        return 0.35 * part["full"]
    return 0.88 * part[person.beard]


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


def _worn(shape: Shapes, person: Person, view: View, head: Floats, normal: Floats, affine: Affine) -> list[Worn]:
    """Hair, hat and glasses, as meshes with what paints them."""
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
        found.append((_placed(*shapes.glasses(*size), affine), lambda f: _painted(f, np.full(3, 26.0), shine=0.1)))
    return found


def _placed(points: Floats, faces: Ints, affine: Affine) -> shapes.Mesh:
    """Something in base coordinates on a person's head."""
    return shapes.Mesh(points=(points @ affine[0] + affine[1]).astype(np.float32), faces=faces, base=points)


def _painted(found: Found, colour: np.ndarray, shine: float = 0.0) -> Paint:
    count = len(found["base"])
    return np.tile(colour, (count, 1)), np.ones(count, dtype=bool), shine


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
    peak: list[Worn] = [(_placed(*shapes.brim(), affine), lambda f: _painted(f, colour * 0.85))]
    return [(mesh, paint), *(peak if view.hat == "cap" else [])]


def _background(view: View, side: int, r: np.random.Generator) -> np.ndarray:
    colour = np.clip(np.array(COLOURS[view.background]) + r.normal(0, 8, 3), 0, 255)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    shade = np.ones((side, side), dtype=np.float32)
    if view.pattern == "gradient":
        a = r.uniform(0, 2 * np.pi)
        shade = 1 + 0.35 * (np.cos(a) * (x - 0.5) + np.sin(a) * (y - 0.5))
    elif view.pattern == "wall":
        shade = np.where(y > r.uniform(0.6, 0.85) + 0.1 * r.normal() * (x - 0.5), 0.72, 1.0) * (1.05 - 0.15 * x)
    elif view.pattern == "spots":
        for _ in range(9):
            cx, cy, radius = r.uniform(0, 1), r.uniform(0, 1), r.uniform(0.04, 0.14)
            shade = shade + r.uniform(-0.25, 0.25) * (1 - _smooth(np.hypot(x - cx, y - cy), radius, 0.03))
    elif view.pattern == "stripes":
        a = r.uniform(0, np.pi)
        shade = 1 + 0.12 * np.sign(np.sin((np.cos(a) * x + np.sin(a) * y) * r.uniform(20, 45)))
    return np.clip(colour * shade[..., None], 0, 255).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a person by number.")
    parser.add_argument("number", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--view", type=int, default=0)
    parser.add_argument("--size", type=int, default=192)
    args = parser.parse_args()
    renderer = Renderer()
    person = renderer.person(args.number)
    picture, _ = renderer.render(person, make_view(args.view, person), args.size)
    cv2.imwrite(str(args.out), picture[..., ::-1])


if __name__ == "__main__":
    main()
