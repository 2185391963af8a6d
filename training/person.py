"""People and views by number. A number is a person, the same on every machine; a view is one picture of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from training.shapes import Shapes

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
