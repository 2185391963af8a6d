"""`similarity PERSON FOLDER…`: measures how similar the pictures of folders are to a person."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib_instantid.commands.batch import pictures_in
from lib_instantid.commands.options import Subparsers, add_face_options, analyser_of
from lib_instantid.constants import MAX_PHOTOS, STRANGER_COSINE
from lib_instantid.encoders.face.faces import Floats
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.photos import Photos, faces_of_photos
from lib_instantid.encoders.face.picture import read_picture
from lib_instantid.encoders.face.similarity import similarities
from lib_instantid.errors import NoFaceFound, PictureError


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("similarity", help="how like a person the pictures of folders are")
    parser.add_argument("person", type=Path, metavar="PERSON", help=f"a photo, or a folder of up to {MAX_PHOTOS} of the person")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="pictures to compare")
    parser.add_argument("--json", action="store_true", help="print JSON, with the value of each picture")
    add_face_options(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The result for one folder. values: cosine by file name, None for a picture without a face. problems: why a picture could
    not be read, by file name."""

    folder: Path
    values: dict[str, float | None]
    problems: dict[str, str]

    @property
    def cosines(self) -> list[float]:
        return [value for value in self.values.values() if value is not None]


def run(args: argparse.Namespace) -> None:
    analyser = analyser_of(args)
    embedding = _embedding(args.person, analyser)
    compared = [_compared(folder, embedding, analyser) for folder in args.folders]
    if args.json:
        print(json.dumps([{**vars(one), "folder": str(one.folder)} for one in compared], indent=2))
    else:
        print("\n".join(table(compared)))


def _embedding(person: Path, analyser: Photos) -> Floats:
    """The mean embedding of the photos in which a face is found. Raises NoFaceFound: there is none."""
    photos = pictures_in(person)[:MAX_PHOTOS] if person.is_dir() else [person]
    faces = []
    for photo in photos:
        try:
            faces += [one.face for one in faces_of_photos([photo], analyser.face_of, field=str(photo))]
        except (NoFaceFound, PictureError):
            if not person.is_dir():
                raise
    if not faces:
        raise NoFaceFound(f"{person}: no face found in any of its {len(photos)} pictures; give photos of the person.")
    return combine(faces).embedding


def _compared(folder: Path, embedding: Floats, analyser: Photos) -> Compared:
    values: dict[str, float | None] = {}
    problems: dict[str, str] = {}
    for path in pictures_in(folder):
        try:
            (values[path.name],) = similarities(analyser, read_picture(path), [embedding])
        except PictureError as error:
            problems[path.name] = str(error)
    return Compared(folder=folder, values=values, problems=problems)


def table(compared: list[Compared]) -> list[str]:
    """Lines of text: a heading, then a line for each folder."""
    heads = ("pictures", "no face", "unread", "mean", "median", "least", "most", f"over {STRANGER_COSINE}")
    width = max(6, *(len(str(one.folder)) for one in compared))
    lines = [f"{'folder':{width}}" + "".join(f"{head:>10}" for head in heads)]
    for one in compared:
        counts = [len(one.values) + len(one.problems), len(one.values) - len(one.cosines), len(one.problems)]
        lines.append(f"{one.folder!s:{width}}" + "".join(f"{value:>10}" for value in [*counts, *_numbers(one.cosines)]))
    return lines


def _numbers(cosines: list[float]) -> list[str]:
    if not cosines:
        return ["-"] * 5
    values = [np.mean(cosines), np.median(cosines), np.min(cosines), np.max(cosines)]
    return [*(f"{value:.3f}" for value in values), f"{np.mean(np.array(cosines) > STRANGER_COSINE):.0%}"]
