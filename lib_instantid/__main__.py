"""`python -m lib_instantid`."""

import sys

from lib_instantid.cli import main

if __name__ == "__main__":
    sys.exit(main())
