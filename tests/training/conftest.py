"""What draws people is compiled by numba, which is no part of the tests' environment: here it stays as it is written."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def pytest_configure() -> None:
    numba: Any = ModuleType("numba")
    numba.njit = lambda **_: lambda function: function
    sys.modules.setdefault("numba", numba)
