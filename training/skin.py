"""Paints a head and its clothes, which are painted on the body."""

from __future__ import annotations

import numpy as np

from training.paint import Found, Paint, smooth
from training.person import COLOURS, Person, View
from training.shapes import Floats


def skin(found: Found, person: Person, view: View) -> Paint:
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
        blend(front * person.freckles * around * smooth(dots, 0.45, 0.3) * 0.6, np.array(person.skin) * (0.7, 0.55, 0.45))
    if person.mole:
        near = np.hypot(x - person.mole[0], z - person.mole[1])
        blend(front * (1 - smooth(near, 0.0026, 0.0016)), np.array(person.skin) * 0.35)
    hair = np.array(person.hair_rgb, dtype=np.float32)
    blend(front * _beard(person, x, y, z), hair * (0.75 if person.beard != "stubble" else 0.6))
    lip = np.array([176, 66, 72]) * person.lip[0] + np.array(person.skin) * (1 - person.lip[0]) * (0.92, 0.76, 0.74)
    blend(front * smooth(lips, 0.5, 0.35), lip * person.lip[1])
    thick, arch, height, dark = person.brow
    along = (np.abs(x) - 0.013) / 0.036
    middle = 0.669 + 0.002 * height + 0.005 * arch * np.sin(np.clip(along, 0, 1) * 2.4)
    half = 0.0032 * thick * (1 - 0.55 * np.clip(along, 0, 1))
    brow = smooth(-np.abs(z - middle), -half, 0.0022) * smooth(along, 0.0, 0.1) * smooth(-along, -1.0, 0.15)
    blend(front * brow * dark, hair * 0.72)
    ball = eye < 0.05
    if ball.any():
        white = np.full((ball.sum(), 3), (236, 234, 230), dtype=np.float32)
        depth = eye[ball][:, None]
        white += (1 - smooth(depth, 0.0036, 0.0008)) * (np.array(person.eye_rgb, dtype=np.float32) - white)
        white += (1 - smooth(depth, 0.0009, 0.0004)) * (np.array((10, 10, 12), dtype=np.float32) - white)
        colour[ball] = white
    cloth = {"shirt": 0.505 + 1.3 * np.maximum(np.abs(x) - 0.03, 0), "sweater": 0.545 + 0 * x, "jacket": 0.46 + 1.1 * np.abs(x)}
    worn = smooth(cloth[view.clothes] - z, 0, 0.002) * (z < 0.56)
    blend(worn, np.array(COLOURS[view.clothes_colour]))
    if view.clothes == "jacket":
        blend(smooth(0.5 - z, 0, 0.002) * (1 - worn), (235, 235, 235))
    return colour, np.ones(len(x), dtype=bool), 0.08


def _beard(person: Person, x: Floats, y: Floats, z: Floats) -> Floats:
    none = np.zeros_like(x)
    if person.beard == "none":
        return none
    moustache = smooth(-np.hypot(x / 0.024, (z - 0.5945) / 0.0065), -1, 0.25)
    chin = smooth(-np.hypot(x / 0.021, (z - 0.547) / 0.021), -1, 0.25)
    jaw = smooth(-z, -(0.572 + 0.9 * np.maximum(np.abs(x) - 0.022, 0)), 0.006) * (z > 0.515) * (np.abs(x) < 0.07) * (y < -0.03)
    part = {"moustache": moustache, "goatee": np.maximum(moustache, chin), "full": np.maximum(np.maximum(moustache, jaw), chin)}
    if person.beard == "stubble":
        return 0.35 * part["full"]
    return 0.88 * part[person.beard]
