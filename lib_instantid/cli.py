"""The command line over the diffusers host. The only place here that turns errors into messages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lib_instantid import __version__
from lib_instantid.commands import demo, faces, generate, identity, models, page, similarity
from lib_instantid.errors import InstantIDError

COMMANDS = (generate, page, faces, identity, similarity, models, demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 after an error that was explained, 130 after an interrupt."""
    try:
        args = _parser().parse_args(arguments)
        args.run(args)
    except InstantIDError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib_instantid", description="InstantID without a WebUI.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
