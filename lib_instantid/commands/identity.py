"""`identity save|list|delete`: saves, lists and deletes identities."""

from __future__ import annotations

import argparse

from lib_instantid.commands.options import (
    Subparsers,
    add_face_options,
    add_identities_option,
    add_photo_options,
    analyser_of,
)
from lib_instantid.encoders.face.identity import combine
from lib_instantid.encoders.face.identity_files import (
    check_name,
    delete_identity,
    list_identities,
    load_identity,
    save_identity,
)
from lib_instantid.encoders.face.photos import faces_of_photos
from lib_instantid.encoders.face.report import stranger_advice
from lib_instantid.errors import IdentityFileError, SettingsError


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("identity", help="save, list or delete identities")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    save = actions.add_parser("save", help="make an identity of photos and keep it by name")
    save.add_argument("name", metavar="NAME")
    add_photo_options(save)
    add_face_options(save)
    save.set_defaults(run=run_save)
    show = actions.add_parser("list", help="list the saved identities")
    show.set_defaults(run=run_list)
    delete = actions.add_parser("delete", help="delete a saved identity")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=run_delete)
    for action in (save, show, delete):
        add_identities_option(action)


def run_save(args: argparse.Namespace) -> None:
    check_name(args.name)
    if not args.photo:
        raise SettingsError("photos: none given; give at least one with --photo FILE.")
    photos = faces_of_photos(args.photo, analyser_of(args).face_of, args.face, args.photo_keypoints)
    identity = combine([photo.face for photo in photos], name=args.name)
    path = save_identity(identity, args.identities)
    print(f"{path}: {args.name}, of {len(photos)} photo(s)")
    for name, photo in zip(args.photo, photos, strict=True):
        for advice in photo.advice:
            print(f"  {name}: {advice}")
    for advice in stranger_advice([photo.face for photo in photos], args.photo):
        print(f"  {advice}")


def run_list(args: argparse.Namespace) -> None:
    damaged = []
    for name in list_identities(args.identities):
        try:
            identity = load_identity(name, args.identities)
            print(f"{name}: {identity.photos} photo(s), {identity.model}")
        except IdentityFileError as error:
            damaged.append(str(error))
    if damaged:
        raise IdentityFileError(" ".join(damaged))


def run_delete(args: argparse.Namespace) -> None:
    delete_identity(args.name, args.identities)
    print(f"deleted {args.name}")
