"""Opens ONNX files, checks that each is the expected model, and runs them on the wanted provider or else on the CPU."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib_instantid.encoders.face.faces import Floats
from lib_instantid.errors import BadModelFile, MissingPackage, SettingsError

PROVIDERS = {
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("ROCMExecutionProvider", "MIGraphXExecutionProvider"),
    "directml": ("DmlExecutionProvider",),
    "coreml": ("CoreMLExecutionProvider",),
    "cpu": ("CPUExecutionProvider",),
}
"""Our names of the providers and onnxruntime's. "auto" takes the first that is available, in this order."""

ERRORS_ONLY = 3
"""onnxruntime's log severity. Its warnings are about graph optimisations, which do not concern a user."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs and outputs of a model.

    role: what messages call it. side: width and height of the input in pixels, None if any size is accepted.
    outputs: the last dimension of every output, in order.
    """

    role: str
    side: int | None
    outputs: tuple[int, ...]


DETECTOR = Signature(role="a face detector with five points (SCRFD)", side=None, outputs=(1,) * 3 + (4,) * 3 + (10,) * 3)
RECOGNISER = Signature(role="a face recogniser with 512 numbers (ArcFace)", side=112, outputs=(512,))
LANDMARKS = Signature(role="a model of 68 landmarks in 3D", side=192, outputs=(3309,))


def import_onnxruntime() -> Any:
    """The module onnxruntime, of any flavour (CPU, GPU, DirectML, ...).

    raises MissingPackage: not installed, emptied by uninstalling another flavour of it, or built for another numpy.
    """
    try:
        import onnxruntime
    except (ImportError, AttributeError, OSError) as error:
        raise MissingPackage(
            f"onnxruntime cannot be imported ({error}; numpy is {np.__version__}). If it is not installed: pip install "
            "onnxruntime. If it is, it may be built for another numpy: pip install --upgrade 'onnxruntime>=1.19'."
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingPackage(
            "onnxruntime is installed but empty: uninstalling onnxruntime or onnxruntime-gpu while both were installed "
            "removes the files of both. pip install --force-reinstall --no-deps onnxruntime."
        )
    return onnxruntime


def runtime_errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """The exceptions that onnxruntime raises for bad files and inputs. They have no common base class but Exception."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = (
        *("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "NotImplemented"),
        *("EPFail", "EngineError", "RuntimeException", "ModelLoaded"),
    )
    return (*(getattr(state, name) for name in names if hasattr(state, name)), RuntimeError, ValueError)


class Network:
    """One open model. `run` computes its outputs; `provider` tells which processor it runs on."""

    def __init__(self, session: Any, path: Path, errors: tuple[type[Exception], ...]) -> None:
        self._session = session
        self._path = path
        self._errors = errors
        self._input = session.get_inputs()[0]

    @property
    def provider(self) -> str:
        """Our name of the provider in use: "cpu", "cuda", ...; onnxruntime's own name if we have none."""
        running = str(self._session.get_providers()[0])
        return next((ours for ours, theirs in PROVIDERS.items() if running in theirs), running)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) of the input in pixels, or None if the model takes any size."""
        height, width = self._input.shape[2:4]
        return (width, height) if isinstance(width, int) and isinstance(height, int) else None

    def run(self, blob: Floats) -> list[npt.NDArray[np.float32]]:
        """blob: (1, 3, H, W) float32, RGB unless the model wants another order -> every output, in the file's order.

        raises BadModelFile: the model does not run.
        """
        try:
            return [np.asarray(output) for output in self._session.run(None, {self._input.name: blob})]
        except self._errors as error:
            raise BadModelFile(
                f"{self._path} was opened but does not run on {self.provider} ({_first_line(error)}); "
                "fetch the file again, or set the provider to cpu."
            ) from error


def open_session(path: Path, signature: Signature, provider: str = "cpu") -> Network:
    """Open a model file and check that it is the expected model.

    signature: of the expected model. provider: "cpu", "auto", "cuda", "directml", "coreml" or "rocm". If it is not available
    the model runs on the CPU, where a photo takes a fraction of a second.
    raises SettingsError: another provider. MissingPackage: no onnxruntime. BadModelFile: damaged, or another kind of
    model.
    """
    onnxruntime = import_onnxruntime()
    errors = runtime_errors(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    session, failure = None, None
    for providers in provider_lists(provider, onnxruntime.get_available_providers()):
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            break
        except errors as error:
            failure = error
    if session is None:
        raise BadModelFile(
            f"{path} cannot be opened as an ONNX model ({_first_line(failure)}); it is damaged or only partly "
            "downloaded, fetch it again."
        ) from failure
    _check(session, signature, path)
    network = Network(session, path, errors)
    if provider != "cpu" and network.provider == "cpu":
        _say_once(_why_cpu(onnxruntime.get_available_providers(), failure))
    return network


def _why_cpu(available: list[str], failure: Exception | None) -> str:
    """Why the wanted GPU is not used. available: onnxruntime's providers. failure: the error of the last provider tried."""
    gpus = [ours for ours, theirs in PROVIDERS.items() if ours != "cpu" and any(name in available for name in theirs)]
    if not gpus:
        return "this onnxruntime is built for the CPU alone"
    reason = f" ({_first_line(failure)})" if failure else "; its own message, above, says which library it lacks"
    return f"onnxruntime has {', '.join(gpus)}, which did not start{reason}"


@functools.cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning("Faces are looked at on the CPU, a third of a second for each photo: %s.", reason)


def provider_lists(provider: str, available: list[str]) -> list[list[str]]:
    """Lists of onnxruntime's provider names, to be tried in this order; the last list is the CPU alone.

    provider: see `open_session`. available: onnxruntime's providers. raises SettingsError: another provider.
    """
    if provider != "auto" and provider not in PROVIDERS:
        raise SettingsError(f"provider: expected auto, {', '.join(PROVIDERS)}, found {provider!r}.")
    wanted = [name for names in PROVIDERS.values() for name in names] if provider == "auto" else PROVIDERS[provider]
    cpu = PROVIDERS["cpu"][0]
    accelerators = [name for name in wanted if name in available and name != cpu]
    return [[name, cpu] for name in accelerators] + [[cpu]]


def _check(session: Any, signature: Signature, path: Path) -> None:
    inputs = [list(entry.shape) for entry in session.get_inputs()]
    outputs = [list(entry.shape) for entry in session.get_outputs()]
    if _fits(inputs, outputs, signature):
        return
    side = signature.side or "any"
    raise BadModelFile(
        f"{path} is not {signature.role}: expected one input [1, 3, {side}, {side}] and "
        f"{len(signature.outputs)} outputs of {list(signature.outputs)} numbers, found inputs {inputs} and outputs "
        f"{outputs}. Put antelopev2's {path.name} there."
    )


def _fits(inputs: list[list[Any]], outputs: list[list[Any]], signature: Signature) -> bool:
    """Whether inputs and outputs have the signature's dimensions. Open dimensions (a name or None) match any number."""
    if len(inputs) != 1 or len(inputs[0]) != 4 or len(outputs) != len(signature.outputs):
        return False
    found = [*inputs[0][1:], *(shape[-1] if shape else 0 for shape in outputs)]
    expected = [3, signature.side, signature.side, *signature.outputs]
    return all(not isinstance(a, int) or b is None or a == b for a, b in zip(found, expected, strict=True))


def _first_line(error: Exception | None) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
