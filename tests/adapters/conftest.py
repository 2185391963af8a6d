"""What tests of several systems look at."""

from __future__ import annotations

from typing import Any

import pytest

from lib_instantid.encoders.face import picture


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are decoded from now on, in order."""
    found: list[bytes] = []
    real = picture._open

    def opened(content: bytes, *others: Any) -> Any:
        found.append(content)
        return real(content, *others)

    monkeypatch.setattr(picture, "_open", opened)
    return found
