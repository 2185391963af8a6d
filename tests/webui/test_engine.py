"""What the face options of the settings page do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_instantid.errors import SettingsError
from lib_instantid.webui.engine import Engine, FaceOptions, Keep, RememberingAnalyser
from tests.face.scenes import squares


def test_an_option_that_changes_opens_the_analyser_anew_and_otherwise_it_stays(weights_folder: Path) -> None:
    options = [FaceOptions()]
    engine = Engine(lambda: [weights_folder], lambda: Keep.CPU, lambda: options[0])
    first = engine.analyser
    assert engine.analyser is first
    options[0] = FaceOptions(provider="auto")
    assert engine.analyser is not first
    options[0] = FaceOptions(backend="somebody")
    with pytest.raises(SettingsError, match="somebody"):
        _ = engine.analyser


@pytest.mark.parametrize(("remembered", "looks"), [(32, 2), (2, 2), (1, 4), (0, 4)])
def test_as_many_pictures_are_remembered_as_wished(weights_folder: Path, remembered: int, looks: int) -> None:
    seen: list[int] = []
    inner = Engine(lambda: [weights_folder], lambda: Keep.CPU).analyser

    class Counting:
        provider = "cpu"

        def faces(self, picture):  # type: ignore[no-untyped-def]
            seen.append(1)
            return inner.faces(picture)

    analyser = RememberingAnalyser(Counting(), FaceOptions(remembered=remembered))  # type: ignore[arg-type]
    pictures = [squares(300, 200, [(90, 60, 70)]), squares(300, 200, [(30, 60, 70)])]
    for _ in range(2):
        found = [analyser.faces(picture) for picture in pictures]
    assert [len(faces) for faces in found] == [1, 1]
    assert len(seen) == looks
