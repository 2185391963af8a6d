"""`faces PHOTO`: shows the faces of a photo."""

from __future__ import annotations

import argparse
import json

from lib_instantid.commands.options import Subparsers, add_face_options, analyser_of
from lib_instantid.encoders.face.choose import no_face
from lib_instantid.encoders.face.photos import TURNED
from lib_instantid.encoders.face.report import describe


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("faces", help="show the faces of a photo")
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument("--json", action="store_true", help="print JSON, with points and embeddings' norms")
    add_face_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    analyser = analyser_of(args)
    seen = analyser.see(args.photo, None, args.photo)
    faces = seen.from_left
    described = [describe(one.face, one.report, number) for number, one in enumerate(faces, 1)]
    size, turned = dict(zip(("width", "height"), seen.size, strict=True)), seen.turned
    if args.json:
        print(json.dumps({**size, "turned": turned, "provider": analyser.provider, "faces": described}, indent=2))
    if not faces:
        raise no_face(args.photo, (size["width"], size["height"]))
    if args.json:
        return
    if turned:
        print(f"{args.photo}: {TURNED.format(turned)}.")
    print(f"{args.photo}: {size['width']}×{size['height']} px, {len(faces)} face(s), from the left:")
    for face in described:
        advice = "; ".join(face["advice"]) or "nothing to improve"
        print(f"  {face['number']}: {face['level']}, {face['width_px']} px wide, score {face['score']:.2f}. {advice}")
