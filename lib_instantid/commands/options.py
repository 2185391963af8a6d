"""Options that several commands share, and the face analyser made of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.errors import SettingsError
from lib_instantid.hosts.diffusers.small_model import SMALL_MODEL

MODELS = Path("models")
"""Where the command line keeps the released files."""

Subparsers = Any
"""The result of argparse's `add_subparsers`, whose type argparse does not name."""


def quiet_libraries() -> None:
    """Turn off libraries' notices and their progress bars for loading. The progress bar of sampling stays."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import diffusers

    diffusers.logging.disable_progress_bar()


def add_face_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, help="folder of the released files (models)")
    parser.add_argument("--face-models", type=Path, help="folder of antelopev2 (the models folder, else the small model's)")
    parser.add_argument("--face-backend", choices=("builtin", "insightface"), default="builtin", help="who analyses faces")
    parser.add_argument("--provider", default="cpu", help="onnxruntime's: cpu, auto, cuda, directml, coreml or rocm (cpu)")


def add_identities_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--identities", type=Path, default=Path("identities"), help="folder of saved identities (identities)")


def analyser_of(args: argparse.Namespace) -> Photos:
    """On the face models that are named, else those of the folder `models`, else, where that is missing, the small model's."""
    from lib_instantid.weights.finding import RECOGNISER, find_role

    models_dir = args.models_dir or (MODELS if MODELS.is_dir() else SMALL_MODEL)
    folder = args.face_models or find_role(models_dir, RECOGNISER, ()).parent
    return Photos(open_analyser(args.face_backend, folder, args.provider))


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photo", action="append", default=[], metavar="FILE", help="a photo of the person; several may be given"
    )
    parser.add_argument(
        "--photo-keypoints",
        action="append",
        default=[],
        type=keypoints,
        metavar="POINTS",
        help='five points on the photo, by hand, in the order of --photo: "x,y x,y x,y x,y x,y" as fractions of its size; '
        '"-" for a photo whose face is to be detected',
    )
    parser.add_argument("--face", default="largest", help="which face: largest, left, right, center, or a number from the left")


def keypoints(text: str) -> list[list[float]] | None:
    """`"x,y x,y x,y x,y x,y"` → five pairs (x, y); `"-"` → None. Raises SettingsError: not numbers."""
    if text == "-":
        return None
    try:
        return [[float(value) for value in pair.split(",")] for pair in text.split()]
    except ValueError as error:
        raise SettingsError(f'keypoints: found "{text}", expected five pairs "x,y x,y x,y x,y x,y".') from error
