"""The shape of the source: imports go one way, nothing of a WebUI in the core, nothing done at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lib_instantid"
ROOMS = (
    "errors",
    "constants",
    "encoders",
    "networks",
    "weights",
    "conditioning",
    "adapters",
    "hosts",
    "webui",
    "commands",
    "cli",
)
"""In the order in which data flows. A room imports from itself and from the rooms before it."""
FILES = sorted(PACKAGE.rglob("*.py"))
WEBUI = {"modules", "backend", "modules_forge", "launch"}
PAGE = {"gradio", "fastapi"}
HOSTS = {"a1111.py", "forge.py"}
"""Files of hosts/ that may know a WebUI."""
ALLOWED = {
    "encoders": {"numpy", "cv2", "onnxruntime", "insightface", "PIL", "safetensors", "torch", "transformers"},
    "networks": {"torch"},
    "weights": {"torch", "safetensors", "huggingface_hub"},
    "adapters": {"torch", "numpy", "cv2", "PIL"},
    "conditioning": {"torch", "numpy", "cv2", "PIL"},
}
MAX_LINES = 250


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.append(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_itself_and_the_rooms_before_it(path: Path) -> None:
    room = room_of(path)
    if room not in ROOMS:
        return  # the package's own two files
    for name in imports(path):
        if name.startswith("lib_instantid."):
            assert ROOMS.index(name.split(".")[1]) <= ROOMS.index(room), f"{room} imports {name}"


@pytest.mark.parametrize("room", ALLOWED)
def test_the_core_needs_only_its_own_libraries(room: str) -> None:
    used = {name.split(".")[0] for path in (PACKAGE / room).rglob("*.py") for name in imports(path)}
    assert used - ALLOWED[room] - sys.stdlib_module_names - {"lib_instantid"} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_of_a_webui_is_imported_outside_its_rooms(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    if room_of(path) != "webui":
        assert PAGE.isdisjoint(used)
        assert WEBUI.isdisjoint(used) or path.name in HOSTS


SYSTEMS = sorted(path.parent.name for path in (PACKAGE / "adapters").glob("*/__init__.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_system_is_named_in_its_own_folder_and_in_the_list_of_all(path: Path) -> None:
    if path == PACKAGE / "adapters" / "__init__.py":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["lib_instantid", "adapters"] and len(parts) > 2 and parts[2] in SYSTEMS:
            assert path.is_relative_to(PACKAGE / "adapters" / parts[2]), f"{path} imports {name}"


def test_importing_the_package_and_the_command_line_loads_no_heavy_library() -> None:
    code = "import sys, lib_instantid.cli; print(*{'torch', 'diffusers', 'onnxruntime', 'insightface'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == ""


def test_files_stay_short() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}
