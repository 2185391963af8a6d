"""Run by the WebUI at each start: installs onnxruntime if there is none, and touches nothing else.

If onnxruntime works, in any flavour and version, nothing happens. If none is installed, the CPU build is, with every
distribution that is already there held at its version. Whatever is installed but broken is left as it is: one line names the
cause and the command that mends it, since a WebUI shares its packages with other extensions. Nothing is upgraded or removed,
no model is downloaded, and whatever happens here, the WebUI starts.

    --skip-install             of the WebUI: nothing is looked at
    INSTANTID_SKIP_INSTALL=1   the same, as an environment variable
    INSTANTID_ONNXRUNTIME=gpu  if none is installed: the GPU build that fits torch's CUDA, in the place of the CPU build
"""

# A failure here must not stop the WebUI, and its launcher reads what is printed.
# ruff: noqa: BLE001, T201

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CHECKS = {
    "numpy": "import numpy; numpy.ndarray",
    "torch": "import torch; torch.ones(1).numpy()",
    "cv2": "import cv2; cv2.imread",
    "onnxruntime": "import onnxruntime; onnxruntime.InferenceSession",
}
"""What faces need, the deepest cause first. Each reads a name, since a folder without files can be imported as well."""
RECORDED_AS = {
    "numpy": r"numpy",
    "torch": r"torch",
    "cv2": r"opencv-.*",
    "onnxruntime": r"onnxruntime(?!-(extensions|genai|tools)).*|ort-nightly.*|ort-gpu-nightly.*",
}
"""Names of the distributions that bring a module."""
NUMPY_2 = {"cv2": ((4, 10), ">=4.10,<6"), "onnxruntime": ((1, 19), ">=1.19,<1.27")}
"""The first release for numpy 2, and those that need nothing newer of other packages (1.27 wants protobuf 4.25)."""
GPU_BUILDS = {("11", "8"): ((1, 16), (1, 19)), ("12", "9"): ((1, 19), (1, 27))}
"""Releases of onnxruntime-gpu on PyPI, from and below, by the major numbers of CUDA and cuDNN that they need."""
TORCH_FOR_NUMPY_2 = (2, 5)
"""Earlier ones may be built for numpy 1. From here on torch is not asked, which takes 1.5 s."""
SYSTEM_CURES = {
    "DLL load failed": "install https://aka.ms/vs/17/release/vc_redist.x64.exe and start again",
    "libGL.so": "sudo apt install libgl1",
    "libgthread": "sudo apt install libglib2.0-0",
}
"""By a part of an import's error: the cure where a library of the system is missing, and no package."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?", re.IGNORECASE)
MARK = "instantid: "
ASK = f"""
import sys
try:
    exec(sys.argv[1])
except Exception as error:
    sys.exit(f"{MARK}{{type(error).__name__}}: {{error}}")
"""
"""A program that does what it is told. Other packages write to stderr too, so its own error begins with a mark."""
SECONDS = 120
"""A cold start of torch from a slow disk takes about one minute."""


def run() -> str:
    """The whole of it. Returns the line to print, "" for none, and never raises."""
    try:
        if skipped():
            return ""
        installed = installed_versions()
        module, error = first_fault(installed)
        if module == "onnxruntime" and not recorded(module, installed):
            return install(installed, os.environ.get("INSTANTID_ONNXRUNTIME", ""))
        return advice(module, error, installed) if error else ""
    except (Exception, SystemExit) as error:
        return f"install.py gave up, and nothing more was done ({one_line(f'{type(error).__name__}: {error}')})"


def skipped() -> bool:
    """Whether the user wants nothing installed. `launch` is the WebUI's, and not there when run by hand."""
    if os.environ.get("INSTANTID_SKIP_INSTALL", "0") not in ("", "0"):
        return True
    try:
        launch = importlib.import_module("launch")
    except (Exception, SystemExit):  # argparse exits
        return False
    return bool(getattr(getattr(launch, "args", None), "skip_install", False))


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


def recorded(module: str, installed: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and version of the distribution that should have brought a module; None if there is none."""
    return next(((name, installed[name]) for name in sorted(installed) if re.fullmatch(RECORDED_AS[module], name)), None)


def first_fault(installed: Mapping[str, str]) -> tuple[str, str]:
    """The first module that faces cannot use, and why; two empty texts if all work."""
    checks = dict(CHECKS)
    if release(installed.get("numpy")) < (2,) or release(installed.get("torch")) >= TORCH_FOR_NUMPY_2:
        del checks["torch"]
    if not ask("; ".join(checks.values()))[1]:
        return "", ""
    for module, check in checks.items():
        error = ask(check)[1]
        if error and (module != "torch" or re.search("numpy|crashed", error, re.IGNORECASE)):  # the rest of torch is not ours
            return module, error
    return "", ""


def ask(code: str) -> tuple[str, str]:
    """What a second interpreter prints and the error it ends with, "" for none.

    A second one, because an import may crash it, and because Windows could not replace what is imported here.
    raises TimeoutExpired; OSError: no interpreter could be started.
    """
    done = subprocess.run([sys.executable, "-c", ASK, code], capture_output=True, timeout=SECONDS)
    if not done.returncode:
        return done.stdout.decode("utf-8", "replace"), ""
    _, mark, error = done.stderr.decode("utf-8", "replace").rpartition(MARK)
    return "", one_line(error) if mark else f"Python crashed at its import with exit code {done.returncode}"


def advice(module: str, error: str, installed: Mapping[str, str]) -> str:
    """Cause and cure of what is broken, in one line."""
    name, version = recorded(module, installed) or ("", "")
    numpy = installed.get("numpy")
    first, releases = NUMPY_2.get(module, ((), ""))
    if module == "torch":
        cause = f"torch {version} cannot use numpy {numpy} ({error}): another extension has upgraded numpy"
        return f"{cause}. To mend it: {pip('numpy<2')}"
    if not name and module == "cv2":
        cure = pip("--no-deps", "opencv-python<6" if release(numpy) >= (2,) else "opencv-python<=4.11.0.86")
        return f"OpenCV is not installed ({error}). To mend it: {cure}"
    if not name:
        return f"{module} is not installed for {sys.executable}. Run install.py with the Python of the WebUI"
    if release(numpy) >= (2,) and release(version) < first:
        cause = f"{name} {version} is built for numpy 1, and numpy {numpy} is installed ({error})"
        return f"{cause}. To mend it: {pip('--no-deps', name + releases)}"
    gone = error.startswith(("AttributeError", "ModuleNotFoundError"))
    cause = f"{name} {version} is installed but does not work ({error})"
    cause += ": its files are gone, as after another flavour of it was uninstalled" if gone else ""
    reinstall = pip("--force-reinstall", "--no-deps", f"{name}=={version}")
    return f"{cause}. To mend it: {next((cure for text, cure in SYSTEM_CURES.items() if text in error), reinstall)}"


def requirement(installed: Mapping[str, str], flavour: str) -> tuple[str, str]:
    """What to install, and why it is not what was asked for, "" if it is. flavour: "gpu", or "" for the CPU build."""
    lowest = NUMPY_2["onnxruntime"][0] if release(installed.get("numpy")) >= (2,) else (1, 16)
    cpu = "onnxruntime>={}.{}".format(*lowest)
    if flavour not in ("", "gpu"):
        return cpu, f'INSTANTID_ONNXRUNTIME is "{flavour}", and only "gpu" is known'
    if not flavour:
        return cpu, ""
    answer, error = ask("import torch; print(torch.version.cuda, torch.backends.cudnn.version())")
    cuda, cudnn = (answer.split() or ["None", "None"])[-2:]
    if "None" in (cuda, cudnn):
        return cpu, f"torch has no CUDA{f' ({error})' if error else ''}, so the GPU build would not run"
    first, limit = GPU_BUILDS.get((cuda.split(".")[0], cudnn[0]), (lowest, lowest))  # cuDNN: 8902 is 8.9.2, 90100 is 9.1.0
    if lowest >= limit:
        return cpu, f"PyPI has no GPU build for torch's CUDA {cuda} with cuDNN {cudnn[0]} and numpy {installed.get('numpy')}"
    return "onnxruntime-gpu>={}.{},<{}.{}".format(*max(first, lowest), *limit), ""


def install(installed: Mapping[str, str], flavour: str) -> str:
    """Installs onnxruntime and nothing but what it lacks. Returns what came of it, in one line."""
    spec, otherwise = requirement(installed, flavour)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{line}\n" for line in frozen(installed)), encoding="ascii")
        done = subprocess.run(pip_command(spec, constraints), capture_output=True)
    if done.returncode:
        held = [f"{name}=={installed[name]}" for name in ("numpy", "protobuf") if name in installed]
        reason = last_error(done.stderr.decode("utf-8", "replace"))
        return f"{spec} could not be installed ({reason}). By hand: {pip('--only-binary=:all:', spec, *held)}"
    now = installed_versions()
    module, error = first_fault(now)
    found = recorded("onnxruntime", now)
    if not found:
        return f"pip has installed {spec}, but this Python does not find it: {sys.executable}"
    if error:
        return advice(module, error, now)
    return f"{' '.join(found)} was installed, which finds the faces{f' ({otherwise})' if otherwise else ''}"


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


def pip(*arguments: str) -> str:
    """A command line for the user, for the interpreter that runs this. Quoted as every shell takes it."""
    words = (sys.executable, "-m", "pip", "install", *arguments)
    return " ".join(f'"{word}"' if set(word) & set(" <>;&()[*") else word for word in words)


def last_error(output: str) -> str:
    """The last line of pip's that says ERROR, or else its last line."""
    lines = [line for line in output.splitlines() if line.strip()] or ["pip said nothing"]
    return one_line(next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1]))


def release(version: str | None) -> tuple[int, ...]:
    """Major and minor number: "2.1.2+cu121" → (2, 1); () if there is no number."""
    return tuple(int(number) for number in re.findall(r"\d+", version or "")[:2])


def one_line(text: str, limit: int = 200) -> str:
    """Without line breaks, and short enough for a console."""
    line = " ".join(text.split()).rstrip(": ")
    return line if len(line) <= limit else f"{line[:limit]}…"


def main() -> None:
    line = run()
    if line:
        with contextlib.suppress(Exception):  # a console that is gone
            if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
                sys.stdout.reconfigure(encoding="utf-8")  # what the launcher reads, on Windows too
            print(f"InstantID: {line}", flush=True)


if __name__ == "__main__":
    main()
