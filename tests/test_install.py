"""install.py: what it decides, and what it does as a subprocess in real virtual environments with small packages in them.

The environments have no pip but a recorder in its place, so that no test can install anything, and none needs a network.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import install

SCRIPT = Path(install.__file__).resolve()
HOST = {"numpy": "1.26.2", "protobuf": "3.20.0", "opencv-python": "4.11.0.86", "torch": "2.1.2+cu121"}
NUMPY_2 = HOST | {"numpy": "2.2.6", "torch": "2.7.1"}
EMPTY = "AttributeError: module 'onnxruntime' has no attribute 'InferenceSession'"
ABSENT = "ModuleNotFoundError: No module named 'onnxruntime'"
DLL = "ImportError: DLL load failed while importing onnxruntime_pybind11_state: the routine failed."
NO_CV2 = "ModuleNotFoundError: No module named 'cv2'"
LIB_GL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"

# --- the decision ---


@pytest.mark.parametrize(
    ("module", "error", "installed", "parts"),
    [
        (
            "onnxruntime",
            EMPTY,
            HOST | {"onnxruntime-gpu": "1.20.1"},
            ("onnxruntime-gpu 1.20.1", EMPTY, "uninstalled", "--force-reinstall --no-deps onnxruntime-gpu==1.20.1"),
        ),
        (
            "onnxruntime",
            ABSENT,
            HOST | {"onnxruntime": "1.23.2", "onnxruntime-extensions": "0.12"},
            ("onnxruntime 1.23.2", "uninstalled", "--force-reinstall --no-deps onnxruntime==1.23.2"),
        ),
        (
            "onnxruntime",
            "ImportError",
            NUMPY_2 | {"onnxruntime": "1.17.1"},
            ("onnxruntime 1.17.1 is built for numpy 1", "numpy 2.2.6", '--no-deps "onnxruntime>=1.19,<1.27"'),
        ),
        ("onnxruntime", DLL, HOST | {"onnxruntime": "1.23.2"}, ("DLL load failed", "vc_redist.x64.exe")),
        ("cv2", NO_CV2, {"numpy": "1.26.2"}, ("OpenCV is not installed", '--no-deps "opencv-python<=4.11.0.86"')),
        ("cv2", NO_CV2, {"numpy": "2.2.6"}, ("OpenCV is not installed", '--no-deps "opencv-python<6"')),
        (
            "cv2",
            "AttributeError: module 'cv2' has no attribute 'imread'",
            HOST,
            ("opencv-python 4.11.0.86", "uninstalled", "--force-reinstall --no-deps opencv-python==4.11.0.86"),
        ),
        ("cv2", LIB_GL, HOST, ("libGL.so.1", "apt install libgl1")),
        (
            "cv2",
            "ImportError: numpy.core.multiarray failed to import",
            NUMPY_2 | {"opencv-python": "4.8.1.78"},
            ("opencv-python 4.8.1.78 is built for numpy 1", '--no-deps "opencv-python>=4.10,<6"'),
        ),
        (
            "torch",
            "RuntimeError: Numpy is not available",
            NUMPY_2 | {"torch": "2.1.2+cu121"},
            ("torch 2.1.2+cu121 cannot use numpy 2.2.6", "another extension", 'pip install "numpy<2"'),
        ),
        ("numpy", "ImportError: x", HOST, ("numpy 1.26.2", "--force-reinstall --no-deps numpy==1.26.2")),
        ("numpy", "ModuleNotFoundError: x", {}, (sys.executable, "Python of the WebUI")),
    ],
)
def test_what_is_broken_is_explained_in_one_line_with_the_cure(
    module: str, error: str, installed: dict[str, str], parts: tuple[str, ...]
) -> None:
    line = install.advice(module, error, installed)
    assert [part for part in parts if part not in line] == []
    assert "\n" not in line


@pytest.mark.parametrize(
    ("installed", "spec"),
    [
        (HOST, "onnxruntime>=1.16"),
        (NUMPY_2, "onnxruntime>=1.19"),
        (HOST | {"onnxruntime-extensions": "0.12"}, "onnxruntime>=1.16"),
    ],
)
def test_the_cpu_build_that_fits_numpy(installed: dict[str, str], spec: str) -> None:
    assert install.requirement(installed, "") == (spec, "")
    assert install.recorded("onnxruntime", installed) is None


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "ort-nightly", "ort-gpu-nightly"])
def test_every_flavour_is_onnxruntime(name: str) -> None:
    assert install.recorded("onnxruntime", HOST | {name: "1.20.1"}) == (name, "1.20.1")


# --- the script, run as the WebUI runs it ---

WORKING = "class InferenceSession: pass"
NUMPY_1_TORCH = """
class ones:
    def __init__(self, size): pass
    def numpy(self): raise RuntimeError('Numpy is not available')
"""
RECORDER = """
import json, sys
from pathlib import Path
folder = Path(__file__).parent
arguments = sys.argv[1:]
constraints = Path(arguments[arguments.index("-c") + 1]).read_text()
calls = folder / "calls.json"
calls.write_text(json.dumps([*json.loads(calls.read_text()), [arguments, constraints]]))
"""
BRINGS = """
name = "onnxruntime"
module, info = folder.parent / name, folder.parent / (name + "-1.23.2.dist-info")
module.mkdir()
info.mkdir()
(module / "__init__.py").write_text({body!r})
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: onnxruntime\\nVersion: 1.23.2\\n")
"""
"""The rest of a pip that succeeds. body: of the module that it installs."""
FAILS = "sys.exit('Looking in indexes\\nERROR: No matching distribution found for it\\n')"


class Environment:
    """A virtual environment of nothing but small packages, and a WebUI's folder beside it.

    A working host at first: numpy 1, OpenCV, torch that nobody may import, and no onnxruntime.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        (self.site,) = (folder / "venv").glob("lib/*/site-packages")
        self.webui = folder / "webui"
        self.webui.mkdir()
        self.package("numpy", "ndarray = list", "1.26.2")
        self.package("cv2", "imread = open")
        self.record("opencv-python", "4.11.0.86")
        self.package("torch", "import os; os.abort()", "2.1.2+cu121")
        self.package("pip", "")
        self.pip("")

    def package(self, module: str, body: str, version: str = "") -> None:
        folder = self.site / module
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(body)
        if version:
            self.record(module, version)

    def record(self, name: str, version: str, folder: str = "", **files: str) -> None:
        """In place of the version that is there. folder: of the metadata, if it is an odd one. files: further ones, in JSON."""
        stem = name.replace("-", "_")
        for old in [] if folder else self.site.glob(f"{stem}-*.dist-info"):
            shutil.rmtree(old)
        info = self.site / (folder or f"{stem}-{version}.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for file, text in files.items():
            (info / f"{file}.json").write_text(text)

    def emptied(self, module: str) -> None:
        """A folder without files in it, which Python imports as a namespace."""
        (self.site / module / "capi").mkdir(parents=True)

    def pip(self, then: str) -> None:
        """then: what the recorder does after it has recorded."""
        (self.site / "pip" / "calls.json").write_text("[]")
        (self.site / "pip" / "__main__.py").write_text(RECORDER + then)

    @property
    def pip_calls(self) -> list[tuple[list[str], str]]:
        """Arguments and constraints of each."""
        return [tuple(call) for call in json.loads((self.site / "pip" / "calls.json").read_text())]

    def start(self, **variables: str) -> list[str]:
        """Runs install.py, which must succeed and say nothing to stderr. Returns the lines it prints."""
        surroundings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.webui)} | variables
        done = subprocess.run([self.python, SCRIPT], cwd=self.webui, env=surroundings, capture_output=True)
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout.decode("utf-8").splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_nothing_is_said_and_done_if_all_works(host: Environment) -> None:
    host.package("onnxruntime", WORKING, "1.23.2")
    assert host.start() == []
    assert host.start(INSTANTID_ONNXRUNTIME="gpu") == []
    assert host.pip_calls == []


def test_nothing_is_said_in_the_environment_of_these_tests() -> None:
    """Real numpy, OpenCV, torch and onnxruntime."""
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_a_missing_onnxruntime_is_installed_once_with_everything_else_held(host: Environment) -> None:
    host.pip(BRINGS.format(body=WORKING))
    assert host.start() == ["InstantID: onnxruntime 1.23.2 was installed, which finds the faces"]
    assert host.start() == []
    ((arguments, constraints),) = host.pip_calls
    assert arguments[0] == "install"
    assert arguments[-1] == "onnxruntime>=1.16"
    assert "--only-binary=:all:" in arguments
    assert not {"-U", "--upgrade", "--force-reinstall", "uninstall"} & set(arguments)
    assert constraints.splitlines() == ["numpy==1.26.2", "opencv-python==4.11.0.86", "torch==2.1.2+cu121"]


def test_constraints_are_names_and_versions_also_for_folders_and_urls(host: Environment) -> None:
    """`pip freeze` would give lines that pip refuses in a constraints file."""
    url = json.dumps({"url": "https://github.com/openai/CLIP/archive/d50d76d.zip", "archive_info": {}})
    editable = json.dumps({"url": "file:///home/me/taming", "dir_info": {"editable": True}})
    host.record("clip", "1.0", direct_url=url)
    host.record("Taming_Transformers", "0.0.1", direct_url=editable)
    host.record("odd", "2004d-unknown version")
    host.record("numpy", "1.24.0", folder="~umpy-1.24.0.dist-info")  # what pip on Windows may leave
    (host.site / "empty-1.0.dist-info").mkdir()
    (host.site / "old.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 3.1.post1\n")
    host.pip(BRINGS.format(body=WORKING))
    host.start()
    ((_, constraints),) = host.pip_calls
    assert constraints.splitlines() == [
        "clip==1.0",
        "numpy==1.26.2",
        "old==3.1.post1",
        "opencv-python==4.11.0.86",
        "taming-transformers==0.0.1",
        "torch==2.1.2+cu121",
    ]


@pytest.mark.parametrize(
    "version", ["1.0", "2.1.2+cu121", "1!2.0rc1", "1.0.post2.dev3", "0.1.dev4+g12ab.d2024", "4.0.0a1", "2026.11.22"]
)
def test_versions_of_the_standard_are_held_and_pip_can_read_them(version: str) -> None:
    (line,) = install.frozen({"a-name": version})
    assert str(Requirement(line)) == line == f"a-name=={version}"


@pytest.mark.parametrize("version", ["", "unknown", "2004d", "1.0 beta", "1.0\n-e .", "1.0; python_version<'3'"])
def test_versions_that_pip_cannot_read_are_left_out(version: str) -> None:
    assert list(install.frozen({"a-name": version})) == []


def test_a_mirror_is_used(host: Environment) -> None:
    host.start(INDEX_URL="https://mirror.example/simple")
    ((arguments, _),) = host.pip_calls
    assert arguments[arguments.index("--index-url") + 1] == "https://mirror.example/simple"


CUDA = """
class version: cuda = {cuda!r}
class backends:
    class cudnn: version = staticmethod(lambda: {cudnn})
"""
"""What a torch says of itself."""


@pytest.mark.parametrize(
    ("cuda", "cudnn", "numpy", "spec", "said"),
    [
        ("11.8", 8700, "1.26.2", "onnxruntime-gpu>=1.16,<1.19", ""),
        ("12.1", 90100, "1.26.2", "onnxruntime-gpu>=1.19,<1.27", ""),
        ("12.8", 90701, "2.2.6", "onnxruntime-gpu>=1.19,<1.27", ""),
        ("12.1", 8902, "1.26.2", "onnxruntime>=1.16", "no GPU build for torch's CUDA 12.1 with cuDNN 8"),
        ("11.8", 8700, "2.2.6", "onnxruntime>=1.19", "no GPU build for torch's CUDA 11.8 with cuDNN 8 and numpy 2.2.6"),
        ("13.0", 91200, "2.2.6", "onnxruntime>=1.19", "no GPU build for torch's CUDA 13.0 with cuDNN 9"),
        (None, None, "1.26.2", "onnxruntime>=1.16", "torch has no CUDA"),
    ],
)
def test_the_gpu_build_fits_torch_or_it_is_said_why_not(
    host: Environment, cuda: str | None, cudnn: int | None, numpy: str, spec: str, said: str
) -> None:
    host.package("numpy", "ndarray = list", numpy)
    host.package("torch", CUDA.format(cuda=cuda, cudnn=cudnn), "2.5.0")
    host.pip(BRINGS.format(body=WORKING))
    (line,) = host.start(INSTANTID_ONNXRUNTIME="gpu")
    assert said in line
    assert ("(" in line) == bool(said)
    ((arguments, constraints),) = host.pip_calls
    assert arguments[-1] == spec
    assert f"numpy=={numpy}" in constraints.splitlines()


def test_another_word_than_gpu_is_told(host: Environment) -> None:
    host.pip(BRINGS.format(body=WORKING))
    (line,) = host.start(INSTANTID_ONNXRUNTIME="cuda")
    assert 'INSTANTID_ONNXRUNTIME is "cuda", and only "gpu" is known' in line


def onnxruntime_emptied(host: Environment) -> None:
    host.emptied("onnxruntime")
    host.record("onnxruntime-gpu", "1.20.1")


def onnxruntime_gone(host: Environment) -> None:
    host.record("onnxruntime", "1.23.2")


def onnxruntime_of_numpy_1(host: Environment) -> None:
    host.package("numpy", "ndarray = list", "2.2.6")
    host.record("torch", "2.7.1")
    host.package("onnxruntime", "raise ImportError", "1.17.1")


def onnxruntime_crashes(host: Environment) -> None:
    host.package("onnxruntime", "import os; os.abort()", "1.23.2")


def torch_of_numpy_1(host: Environment) -> None:
    host.package("numpy", "ndarray = list", "2.2.6")
    host.package("onnxruntime", WORKING, "1.23.2")
    host.package("torch", NUMPY_1_TORCH)


def opencv_missing(host: Environment) -> None:
    shutil.rmtree(host.site / "cv2")
    shutil.rmtree(host.site / "opencv_python-4.11.0.86.dist-info")


def opencv_without_libgl(host: Environment) -> None:
    host.package("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")


def noisy_and_broken(host: Environment) -> None:
    noise = "import sys; print('a banner', end=''); print('a warning', file=sys.stderr)"
    host.package("onnxruntime", f"{noise}; raise OSError('several\\nlines\\n' + 'long ' * 200)", "1.23.2")


BROKEN: dict[Callable[[Environment], None], str] = {
    onnxruntime_emptied: "has no attribute 'InferenceSession'",
    onnxruntime_gone: "No module named 'onnxruntime'",
    onnxruntime_of_numpy_1: "onnxruntime 1.17.1 is built for numpy 1, and numpy 2.2.6 is installed (ImportError)",
    onnxruntime_crashes: "Python crashed at its import",
    torch_of_numpy_1: "cannot use numpy 2.2.6 (RuntimeError: Numpy is not available)",
    opencv_missing: "OpenCV is not installed",
    opencv_without_libgl: "apt install libgl1",
    noisy_and_broken: "several lines long long",
}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
def test_what_is_broken_gets_one_line_and_is_not_touched(host: Environment, breaks: Callable[[Environment], None]) -> None:
    breaks(host)
    (line,) = host.start(INSTANTID_ONNXRUNTIME="gpu")
    assert line.startswith("InstantID: ")
    assert BROKEN[breaks] in line
    assert "To mend it: " in line
    assert len(line) < 600
    assert host.pip_calls == []


def test_torch_is_asked_only_if_it_may_be_built_for_another_numpy(host: Environment) -> None:
    """The host's torch crashes whoever imports it."""
    host.package("onnxruntime", WORKING, "1.23.2")
    assert host.start() == []
    host.package("numpy", "ndarray = list", "2.2.6")
    assert "torch 2.1.2+cu121 cannot use numpy 2.2.6 (Python crashed" in host.start()[0]
    host.record("torch", "2.7.1")
    assert host.start() == []


@pytest.mark.parametrize(
    ("then", "part"),
    [
        (FAILS, "could not be installed (ERROR: No matching distribution found for it). By hand: "),
        (BRINGS.format(body="raise ImportError('DLL load failed')"), "vc_redist.x64.exe"),
        ("", "pip has installed onnxruntime>=1.16, but this Python does not find it"),
    ],
    ids=["pip fails", "what it brought does not work", "it went elsewhere"],
)
def test_an_installation_that_does_not_work_is_explained(host: Environment, then: str, part: str) -> None:
    host.pip(then)
    (line,) = host.start()
    assert part in line
    assert len(host.pip_calls) == 1


def test_the_command_by_hand_holds_what_a_newer_onnxruntime_would_upgrade(host: Environment) -> None:
    host.record("protobuf", "3.20.0")
    host.pip(FAILS)
    assert host.start()[0].endswith('pip install --only-binary=:all: "onnxruntime>=1.16" numpy==1.26.2 protobuf==3.20.0')


def test_an_environment_without_pip_gets_one_line(host: Environment) -> None:
    """As uv makes them."""
    (host.site / "pip" / "__main__.py").unlink()
    assert "could not be installed" in host.start()[0]


@pytest.mark.parametrize("breaks", [lambda _: None, onnxruntime_emptied], ids=["missing", "broken"])
def test_who_wants_nothing_installed_is_left_in_peace(host: Environment, breaks: Callable[[Environment], None]) -> None:
    breaks(host)
    assert host.start(INSTANTID_SKIP_INSTALL="1") == []
    (host.webui / "launch.py").write_text("class args: skip_install = True")
    assert host.start() == []
    assert host.pip_calls == []


@pytest.mark.parametrize("launch", ["class args: skip_install = False", "", "raise SystemExit(2)", "1 / 0"])
def test_any_other_launch_does_not_stop_it(host: Environment, launch: str) -> None:
    (host.webui / "launch.py").write_text(launch)
    host.start(INSTANTID_SKIP_INSTALL="0")
    assert len(host.pip_calls) == 1


def test_an_interpreter_that_does_not_answer_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "SECONDS", 0.001)
    assert "gave up, and nothing more was done (TimeoutExpired" in install.run()


def test_the_command_is_right_for_a_folder_with_spaces_and_any_letters(tmp_path: Path) -> None:
    """The launcher reads UTF-8, whatever the console's letters are."""
    (tmp_path / "Zoë Ü").mkdir()
    host = Environment(tmp_path / "Zoë Ü")
    onnxruntime_gone(host)
    (line,) = host.start(PYTHONIOENCODING="latin-1")
    assert f'To mend it: "{host.python}" -m pip install' in line


def test_it_needs_nothing_but_the_standard_library() -> None:
    """At import; what it probes is imported by name, in the second interpreter."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
