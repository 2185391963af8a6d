"""The small model's tokenizer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITE = """
import sys, types
from pathlib import Path
sys.modules["numba"] = types.SimpleNamespace(njit=lambda **_: lambda function: function)  # see conftest.py
from training.captions import write_tokenizer
write_tokenizer(Path(sys.argv[1]))
"""


def test_it_is_the_same_each_time_that_it_is_made(tmp_path: Path) -> None:
    """In processes of their own: sets have another order in each."""
    for name in ("one", "two", "three"):
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / name)], cwd=ROOT, check=True)
    for file in ("vocab.json", "merges.txt"):
        assert len({(tmp_path / name / file).read_bytes() for name in ("one", "two", "three")}) == 1
