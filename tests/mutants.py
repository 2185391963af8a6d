"""Breaks the product on purpose and asks the tests: python -m tests.mutants [--count 72] [--seed 1] [--only NUMBERS].

The breaks are drawn evenly over the rooms of `lib_instantid`, each in a copy of the repository: a comparison, a sum, a number,
a truth or a condition turned into another, or a call left out. The tests of the room then have to fail. One line for each:
what was changed, and the first test that noticed, or SURVIVED. A survivor is a test that is missing, or a change that no one
could notice; which of both is for a person to say.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = {
    "encoders": ["tests/encoders"],
    "networks": ["tests/networks", "tests/parity"],
    "weights": ["tests/weights", "tests/test_bad_files.py"],
    "conditioning": ["tests/conditioning", "tests/hosts/test_webui_hosts.py", "tests/hosts/test_against_diffusers.py"],
    "adapters": ["tests/adapters", "tests/conditioning", "tests/parity"],
    "hosts": ["tests/hosts", "tests/test_bad_files.py", "tests/test_cli.py"],
    "webui": ["tests/webui", "tests/page/test_panel.py"],
    "commands": ["tests/test_cli.py", "tests/test_batch.py", "tests/test_dead_ends.py"],
}
"""Where the tests of each room are."""

COPIED = (
    "lib_instantid",
    "tests",
    "javascript",
    "scripts",
    "training",
    "benchmarks",
    "install.py",
    "pyproject.toml",
    "style.css",
)
LINKED = (".venv", ".oracle", ".page-3.41", ".page-4.40")
SECONDS = 900
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    room: str
    path: Path
    line: int
    old: str
    new: str
    source: str


def breakable(path: Path) -> list[int]:
    """Numbers of the nodes of a file that can be broken, in the order of `ast.walk`. path: below `ROOT`.

    What decorators say (`frozen=True`) is for people, and left out.
    """
    tree = _parsed(path)
    decorators = {id(part) for node in ast.walk(tree) for one in getattr(node, "decorator_list", ()) for part in ast.walk(one)}
    nodes = list(enumerate(ast.walk(tree)))  # before any is changed, which would change the numbers of those after it
    return [number for number, node in nodes if id(node) not in decorators and hasattr(node, "lineno") and _change(node)]


def broken(path: Path, room: str, number: int) -> Mutant:
    tree = _parsed(path)
    node = next(candidate for i, candidate in enumerate(ast.walk(tree)) if i == number)
    old = ast.unparse(node)
    _change(node)
    return Mutant(room, path, node.lineno, old, ast.unparse(node), ast.unparse(tree))  # type: ignore[attr-defined]


def _parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _change(node: ast.AST) -> bool:
    """Break a node in place. Whether it is of a kind that can be broken."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        node.ops[0] = OTHER[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OTHER:
        node.op = OTHER[type(node.op)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value = node.value + 1
    elif isinstance(node, ast.If):
        node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node.value = ast.Constant(value=None)
    else:
        return False
    ast.fix_missing_locations(node)
    return True


def drawn(count: int, seed: int) -> list[Mutant]:
    """As many of each room, of each file of a room as evenly as possible."""
    dice = random.Random(seed)
    found = []
    for room in ROOMS:
        files = sorted(path.relative_to(ROOT) for path in (ROOT / "lib_instantid" / room).rglob("*.py"))
        numbers = {path: breakable(path) for path in files}
        files = [path for path in files if numbers[path]]
        dice.shuffle(files)
        for i in range(count // len(ROOMS)):
            path = files[i % len(files)]
            found.append(broken(path, room, dice.choice(numbers[path])))
    return found


def tree() -> Path:
    """A copy of the repository that may be broken."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def tests_for(mutant: Mutant) -> list[str]:
    """Those of the room, first the files that name the module, last those in a browser."""
    files = []
    for place in map(ROOT.joinpath, ROOMS[mutant.room]):
        files += sorted(place.glob("test_*.py")) if place.is_dir() else [place]
    names = re.compile(rf"\b{mutant.path.stem}\b")
    files.sort(key=lambda path: ("page" in path.parts, not names.search(path.read_text(encoding="utf-8"))))
    return [str(path.relative_to(ROOT)) for path in files]


def fate(mutant: Mutant, folder: Path) -> str:
    """The first test that noticed, or SURVIVED."""
    place = folder / mutant.path
    place.write_text(mutant.source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests_for(mutant)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer in {SECONDS} s"
    finally:
        shutil.copy(ROOT / mutant.path, place)
    noticed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return "SURVIVED" if not done.returncode else noticed[1] if noticed else done.stdout.strip()[-200:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of those that shall be tried")
    args = parser.parse_args()
    folder, found = tree(), drawn(args.count, args.seed)
    for number, mutant in enumerate(found, 1):
        if args.only is None or number in args.only:
            what = f"{mutant.path}:{mutant.line}: {' '.join(mutant.old.split())[:90]} → {' '.join(mutant.new.split())[:90]}"
            print(f"{number} {what}: {fate(mutant, folder)}", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
