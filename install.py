"""Run by the WebUI at each start: sees to it that a working onnxruntime is there, and touches nothing else.

If onnxruntime works, in any flavour and version, nothing happens. If none is installed, the CPU build is, with every
distribution that is already there held at its version. Whatever is installed but broken is left as it is: one line names the
cause and the command that mends it, since a WebUI shares its packages with other extensions. Nothing is upgraded or removed,
no model is downloaded, and whatever happens here, the WebUI starts.

    --skip-install             of the WebUI: nothing is looked at
    INSTANTID_SKIP_INSTALL=1   the same, as an environment variable
    INSTANTID_ORT=<spec>       what to install instead of the CPU build, as "onnxruntime-gpu==1.20.1"

A start at which everything works is remembered, so that the next ones take no time.

Three steps: `look` finds out in a second interpreter, `decide` is a pure function of that, `act` does it.
"""

# A failure here must not stop the WebUI, and its launcher reads what is printed.
# ruff: noqa: BLE001, T201

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROBED = {"numpy": "ndarray", "cv2": "imread", "onnxruntime": "InferenceSession"}
"""Modules that faces need, each with what an emptied package lacks: a folder without files can be imported as well."""
PRINTED = ("numpy", "cv2", "opencv", "onnxruntime", "ort_", "torch-")
"""How the folders begin, in site-packages, that the probe's answer depends on."""
REMEMBERED = Path(__file__).with_name(".install-works")
MARK = "instantid-probe "
PROBE_SECONDS = 120
"""A cold start of torch from a slow disk takes about one minute."""
TORCH_FOR_NUMPY_2 = (2, 5)
"""Before 2.3 it cannot use numpy 2, and 2.3 and 2.4 can on some systems. From here on it is not asked, which takes 1.5 s."""
WEBUI_NUMPY = "1.26.2"
"""The pin of A1111 1.10 and of Forge."""
SYSTEM_CURES = (
    ("DLL load failed", "install https://aka.ms/vs/17/release/vc_redist.x64.exe and start again"),
    ("libGL.so", "sudo apt install libgl1"),
    ("libgthread", "sudo apt install libglib2.0-0"),
)
"""Parts of an import's error that a library of the system answers for, and no package."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """A library that several distributions can bring.

    distributions: how their names begin. others: how names begin that begin so too, but bring something else.
    numpy_2_since: the first release for numpy 2. numpy_2_range: releases for it that need nothing newer of other packages.
    """

    module: str
    distributions: tuple[str, ...]
    others: tuple[str, ...]
    numpy_2_since: tuple[int, int]
    numpy_2_range: str


OPENCV = Package("cv2", ("opencv-",), (), (4, 10), ">=4.10,<6")
RUNTIME = Package(
    "onnxruntime",
    ("onnxruntime", "ort-nightly", "ort-gpu-nightly"),
    ("onnxruntime-extensions", "onnxruntime-genai", "onnxruntime-tools"),
    (1, 19),
    ">=1.19,<1.27",  # 1.27 wants protobuf 4.25, the WebUIs have 3.20
)


@dataclass(frozen=True)
class Found:
    """What a fresh interpreter of the WebUI found.

    errors: module → why it cannot be used, for those that cannot; "torch" is about its work with numpy.
    installed: normalised name → version of every recorded distribution.
    """

    errors: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)

    @property
    def numpy_2(self) -> bool:
        return release(self.installed.get("numpy", "")) >= (2,)

    def recorded(self, package: Package) -> tuple[str, str] | None:
        """Name and version of the distribution that should have brought the package; None if there is none."""
        for name in sorted(self.installed):
            if name.startswith(package.distributions) and not name.startswith(package.others):
                return name, self.installed[name]
        return None


@dataclass(frozen=True)
class Install:
    """To be installed: a requirement, as pip takes it."""

    spec: str


@dataclass(frozen=True)
class Tell:
    """To be told and left alone: the cause, and the command that mends it."""

    line: str


def release(version: str) -> tuple[int, ...]:
    """Major and minor number: "2.1.2+cu121" → (2, 1); () if there is no number."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def one_line(text: object, limit: int = 200) -> str:
    """Without line breaks, and short enough for a console."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def named(error: BaseException) -> str:
    """Kind and text of an error; onnxruntime's has no text when it meets the wrong numpy."""
    return one_line(f"{type(error).__name__}: {error}").rstrip(": ")


def pip(*arguments: str) -> str:
    """A command line for the user, for the interpreter that runs this. Quoted as every shell takes it."""
    words = (sys.executable, "-m", "pip", "install", *arguments)
    return " ".join(f'"{word}"' if set(word) & set(" <>;&()[*") else word for word in words)


# --- decide: pure ---


def decide(found: Found, wanted: str = "") -> Install | Tell | None:
    """What to do; None: nothing, all works.

    wanted: the requirement to install instead of the CPU build, if anything is to be installed.
    """
    line = numpy_trouble(found) or opencv_missing(found) or trouble(found, OPENCV) or trouble(found, RUNTIME)
    if line:
        return Tell(line)
    if "onnxruntime" not in found.errors:
        return None
    return Install(wanted or ("onnxruntime>=1.19" if found.numpy_2 else "onnxruntime>=1.16"))


def numpy_trouble(found: Found) -> str:
    """numpy itself, or a torch that is built for numpy 1; "" if there is none."""
    version = found.installed.get("numpy", "")
    if "numpy" in found.errors:
        if not version:
            return f"numpy is not installed for {sys.executable}. Run install.py with the Python of the WebUI"
        cure = pip("--force-reinstall", "--no-deps", f"numpy=={version}")
        return f"numpy {version} is installed but does not work ({found.errors['numpy']}). To mend it: {cure}"
    if "torch" in found.errors:
        return (
            f"torch {found.installed.get('torch')} cannot use numpy {version} ({found.errors['torch']}): another extension has "
            f"upgraded numpy. To mend it: {pip(f'numpy=={WEBUI_NUMPY}')}"
        )
    return ""


def opencv_missing(found: Found) -> str:
    """OpenCV belongs to the WebUI (facexlib brings it). 4.11 is the last for numpy 1."""
    if "cv2" not in found.errors or found.recorded(OPENCV):
        return ""
    cure = pip("--no-deps", "opencv-python<6" if found.numpy_2 else "opencv-python<=4.11.0.86")
    return f"OpenCV is not installed ({found.errors['cv2']}). To mend it: {cure}"


def trouble(found: Found, package: Package) -> str:
    """Cause and cure of a package that is recorded but cannot be used; "" if it can, or is not recorded."""
    recorded = found.recorded(package)
    if package.module not in found.errors or not recorded:
        return ""
    name, version = recorded
    error = found.errors[package.module]
    if found.numpy_2 and release(version) < package.numpy_2_since:
        cause = f"{name} {version} is built for numpy 1, and numpy {found.installed['numpy']} is installed ({error})"
        return f"{cause}. To mend it: {pip('--no-deps', name + package.numpy_2_range)}"
    cause = f"{name} {version} is installed but does not work ({error})"
    if error.startswith(("AttributeError", "ModuleNotFoundError")):
        cause += ": its files are gone, as after another flavour of it was uninstalled"
    reinstall = pip("--force-reinstall", "--no-deps", f"{name}=={version}")
    return f"{cause}. To mend it: {next((cure for text, cure in SYSTEM_CURES if text in error), reinstall)}"


# --- look: a second interpreter, since an import may crash, and what is imported here could not be replaced on Windows ---


def look() -> Found:
    """Imports what is needed with the WebUI's Python. raises TimeoutExpired; OSError: no interpreter could be started."""
    command = [sys.executable, str(Path(__file__).resolve()), "--probe"]
    child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PROBE_SECONDS)
    errors = {}
    for line in child.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(MARK):
            module, error = json.loads(line[len(MARK) :])
            errors[module] = error
    if not errors:
        raise RuntimeError(f"the probe ended with exit code {child.returncode} and said nothing")
    return Found({module: error for module, error in errors.items() if error}, installed_versions())


def probe() -> None:
    """In the second interpreter: per module one line that says it crashed, then, if it did not, one with what is true."""
    for module in (*PROBED, "torch"):
        report(module, "Python crashed at its import")
        try:
            if module == "torch":
                try_torch_with_numpy()
            else:
                getattr(importlib.import_module(module), PROBED[module])
        except Exception as error:
            report(module, named(error))
        else:
            report(module, "")


def report(module: str, error: str) -> None:
    """Own lines, and flushed: other extensions' packages print at import too, and a crash loses what is buffered."""
    print(f"\n{MARK}{json.dumps([module, error])}", flush=True)


def try_torch_with_numpy() -> None:
    """raises RuntimeError "Numpy is not available": torch is built for numpy 1. Other faults of torch are not ours to judge."""
    try:
        versions = {name: release(importlib.metadata.version(name)) for name in ("numpy", "torch")}
        if versions["numpy"] < (2,) or versions["torch"] >= TORCH_FOR_NUMPY_2:
            return
        torch = importlib.import_module("torch")
    except Exception:
        return
    torch.ones(1).numpy()


def installed_versions() -> dict[str, str]:
    """Normalised name → version of every distribution, also of those from a URL or a folder.

    Asked for by name, because a folder "~umpy-1.26.2.dist-info", pip's leftover on Windows, claims to be numpy too.
    """
    versions = {}
    for distribution in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # metadata that is damaged or not there
            if "Name" in distribution.metadata:
                name = distribution.metadata["Name"]
                versions[re.sub(r"[-_.]+", "-", name).lower()] = importlib.metadata.version(name) or ""
    return versions


# --- act ---


def act(action: Install | Tell | None) -> str:
    """Does it, and returns the line to print; "": none."""
    if isinstance(action, Install):
        return install(action.spec)
    return action.line if action else ""


def install(spec: str) -> str:
    """Installs one requirement and nothing but what it lacks. Returns what came of it, in one line."""
    before = installed_versions()
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{line}\n" for line in frozen(before)), encoding="ascii")
        done = subprocess.run(pip_command(spec, constraints), capture_output=True)
    if done.returncode:
        held = [f"{name}=={before[name]}" for name in ("numpy", "protobuf") if name in before]
        reason = last_error(done.stderr.decode("utf-8", "replace"))
        return f"{spec} could not be installed ({reason}). By hand: {pip('--only-binary=:all:', spec, *held)}"
    after = decide(look())
    if isinstance(after, Tell):
        return after.line
    if after:
        return f"pip has installed {spec}, but this Python does not find it: {sys.executable}"
    name, version = Found(installed=installed_versions()).recorded(RUNTIME) or (spec, "")
    return f"{name} {version} was installed, which finds the faces"


def frozen(versions: Mapping[str, str]) -> Iterator[str]:
    """Lines of a constraints file that hold every distribution, without the few whose version pip would not read."""
    for name, version in sorted(versions.items()):
        if NAME.fullmatch(name) and VERSION.fullmatch(version):
            yield f"{name}=={version}"


def pip_command(spec: str, constraints: Path) -> list[str]:
    """Wheels only, as nobody's first start should compile; INDEX_URL is the WebUI's variable for a mirror."""
    mirror = os.environ.get("INDEX_URL", "")
    options = ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--retries", "1"]
    options += ["--index-url", mirror] if mirror else []
    return [sys.executable, "-m", "pip", "install", *options, "-c", str(constraints), spec]


def last_error(output: str) -> str:
    """The last line of pip's that says ERROR, or else its last line."""
    lines = [line for line in output.splitlines() if line.strip()] or ["pip said nothing"]
    return one_line(next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1]))


# --- the whole ---


def skipped() -> bool:
    """Whether the user wants nothing installed. `launch` is the WebUI's, and not there when run by hand."""
    if os.environ.get("INSTANTID_SKIP_INSTALL", "0") not in ("", "0"):
        return True
    try:
        launch = importlib.import_module("launch")
    except (Exception, SystemExit):  # argparse exits
        return False
    return bool(getattr(getattr(launch, "args", None), "skip_install", False))


def fingerprint() -> str:
    """Of what the probe's answer depends on: this Python, this file, and the recorded packages and their folders."""
    seen = {}
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in os.scandir(place):
            if entry.name.lower().startswith(PRINTED):
                seen[entry.path] = entry.stat().st_mtime_ns
    return json.dumps([sys.executable, sys.version, Path(__file__).stat().st_mtime_ns, sorted(seen.items())])


def run() -> str:
    """The whole of it. Returns the line to print, "" for none, and never raises.

    Once everything works, that is remembered in a file, and the next starts look no further until something changes.
    """
    try:
        if REMEMBERED.is_file() and REMEMBERED.read_text(encoding="utf-8") == fingerprint():
            return ""
        if skipped():
            return ""
        action = decide(look(), os.environ.get("INSTANTID_ORT", "").strip())
        if action is None:
            with contextlib.suppress(OSError):  # a folder that cannot be written to
                REMEMBERED.write_text(fingerprint(), encoding="utf-8")
        return act(action)
    except (Exception, SystemExit) as error:
        return f"install.py gave up, and nothing more was done ({named(error)})"


def main() -> None:
    if sys.argv[1:] == ["--probe"]:
        probe()
        return
    line = run()
    if line:
        with contextlib.suppress(Exception):  # a console that is gone
            if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
                sys.stdout.reconfigure(encoding="utf-8")  # what the launcher reads, on Windows too
            print(f"InstantID: {line}", flush=True)


if __name__ == "__main__":
    main()
