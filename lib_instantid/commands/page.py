"""`page`: serves a page with the panel, on the diffusers host."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_instantid.commands import generate
from lib_instantid.commands.options import Subparsers, add_face_options, add_identities_option, quiet_libraries
from lib_instantid.errors import MissingPackage
from lib_instantid.hosts.diffusers.small_model import NOTE, REQUEST

REAL = {"width": 1016, "height": 1016, "steps": 30, "guidance_scale": 5.0}
"""What the page shows at first with a checkpoint that is named."""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("page", help="a page to use InstantID without a WebUI")
    generate.add_weights(parser.add_argument_group("weights"))
    add_face_options(parser)
    add_identities_option(parser)
    parser.add_argument("--size", type=int, help="width and height that the page shows at first")
    parser.add_argument("--steps", type=int, help="steps that the page shows at first")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder of the pictures (outputs)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7861, help="port to listen on (7861)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    try:
        from lib_instantid.webui.page import build_page  # gradio: seconds to import
    except ImportError as error:
        raise MissingPackage(
            f"page: the package gradio cannot be imported ({error}); install it with `pip install gradio`."
        ) from error

    quiet_libraries()
    first, note = (REQUEST, NOTE) if generate.complete_weights(args) else (REAL, "")
    given = {"width": args.size, "height": args.size, "steps": args.steps}
    first = first | {name: value for name, value in given.items() if value is not None}
    page = build_page(generate.open_host(args), args.out, first, note)
    page.queue()
    page.launch(
        server_name=args.host, server_port=args.port, quiet=False, show_error=True, allowed_paths=[str(args.out.resolve())]
    )
