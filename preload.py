"""Command line options of the WebUI that are InstantID's."""


def preload(parser):
    parser.add_argument(
        "--instantid-models-path",
        action="append",
        help="a further folder with InstantID's model files; may be given more than once",
    )
    parser.add_argument(
        "--instantid-allowed-path",
        action="append",
        help="a folder whose pictures API requests may name by path; may be given more than once",
    )
