"""Styles made from a picture: (H, W, 3) uint8 RGB → the same."""

from __future__ import annotations

import cv2
import numpy as np


def sketch(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    light = cv2.GaussianBlur(255 - grey, (0, 0), 4)
    drawn = np.clip(grey * 255 / (256 - light), 0, 255)
    shaded = np.clip(0.72 * drawn + 0.28 * (grey * 0.5 + 120), 0, 255)
    return np.repeat(shaded.astype(np.uint8)[..., None], 3, axis=2)


def oil(picture: np.ndarray) -> np.ndarray:
    flat = cv2.medianBlur(cv2.bilateralFilter(picture, 7, 60, 5), 5).astype(np.float32)
    grey = flat.mean(axis=2, keepdims=True)
    rich = np.clip(grey + 1.35 * (flat - grey), 0, 255)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    strokes = 9 * np.sin(x * 0.9 + 2 * np.sin(y * 0.35)) * np.sin(y * 0.5 + 2 * np.sin(x * 0.21))
    return np.clip(rich + strokes[..., None], 0, 255).astype(np.uint8)


def line_art(picture: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
    edge = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    ink = np.clip((edge - 22) / 50, 0, 1)
    return np.repeat((250 - 225 * ink).astype(np.uint8)[..., None], 3, axis=2)


def poster(picture: np.ndarray) -> np.ndarray:
    flat = cv2.bilateralFilter(picture, 5, 50, 4).astype(np.float32)
    grey = flat.mean(axis=2, keepdims=True)
    levels = np.round(np.clip(grey + 1.6 * (flat - grey), 0, 255) / 63.75) * 63.75
    return np.clip(levels, 0, 255).astype(np.uint8)


STYLES = {"photo": None, "pencil sketch": sketch, "oil painting": oil, "line art": line_art, "poster": poster}
"""Name in a caption → how it is made; None leaves the picture as it is."""


def apply(style: str, picture: np.ndarray) -> np.ndarray:
    make = STYLES[style]
    return picture if make is None else make(picture)
