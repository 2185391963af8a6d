"""`models`: lists the model files that were found and those that are missing, and downloads the latter on request."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lib_instantid.adapters import SYSTEM_FILES
from lib_instantid.commands.options import Subparsers


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("models", help="list the model files, or fetch the released ones")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="further folders to look in")
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of the released files (models)")
    parser.add_argument("--download", action="store_true", help="fetch what is missing into the models folder (about 4.5 GB)")
    parser.add_argument("--endpoint", help="address of the hub or of a mirror of it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from lib_instantid.weights.finding import find_models, report_dict, report_lines

    folders = [args.models_dir, *args.folders]
    if args.download:
        _download(args, folders)
    found = find_models(folders, SYSTEM_FILES)
    lines = report_lines(found, SYSTEM_FILES)
    print(json.dumps(report_dict(found, SYSTEM_FILES), indent=2) if args.json else "\n".join(lines))


def _download(args: argparse.Namespace, folders: list[Path]) -> None:
    from lib_instantid.weights.download import download
    from lib_instantid.weights.finding import find_models, missing
    from lib_instantid.weights.system_files import HUB

    wanted = [file for file in missing(find_models(folders, SYSTEM_FILES), SYSTEM_FILES) if file.sha256 is not None]
    download(wanted, args.models_dir, endpoint=args.endpoint or HUB)
