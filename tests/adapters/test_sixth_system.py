"""A new system is one folder and one entry: everything else follows from its settings and its files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIXTH = ROOT / "tests" / "adapters" / "sixth"


def test_a_sixth_system_reaches_everything_by_its_folder_and_one_entry(tmp_path: Path) -> None:
    """In a copy of the project, where `sixth/checks` is run."""
    for part in ("lib_instantid", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "live", "page", "official"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(SIXTH / "tint", tmp_path / "lib_instantid" / "adapters" / "tint")
    families = tmp_path / "lib_instantid" / "adapters" / "__init__.py"
    before = families.read_text()
    families.write_text(
        re.sub(r"^FAMILIES = \((.*)\)$", r"FAMILIES = (\1, tint.FAMILY)", before, flags=re.M).replace(
            "import controlnet, faceid, instantid, ip_adapter", "import controlnet, faceid, instantid, ip_adapter, tint"
        )
    )
    assert families.read_text().count("tint") == 2
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/adapters/sixth/checks.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert re.search(r"^\.{10} ", run.stdout, flags=re.M)
