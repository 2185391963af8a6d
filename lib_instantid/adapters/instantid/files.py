"""InstantID's two weight files: where they were published, and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET, recognise
from lib_instantid.weights.system_files import ReleasedFile, SystemFiles

if TYPE_CHECKING:
    from lib_instantid.networks.adapter import Adapter, FaceTokenMaker
    from lib_instantid.networks.controlnet import ControlNet

INSTANTID = "InstantX/InstantID"
NET = "ControlNetModel"
APACHE = "Apache-2.0"


def load_adapter(path: Path) -> Adapter:
    """Read `ip-adapter.bin` or a conversion of it, by content. The layers keep the file's dtype.

    Raises MissingModelFile or BadModelFile.
    """
    import torch

    from lib_instantid.errors import BadModelFile
    from lib_instantid.networks.adapter import Adapter
    from lib_instantid.weights.kinds import expect
    from lib_instantid.weights.reading import load_strictly, read_weights

    weights = read_weights(path)
    expect(weights, ADAPTER, FILES, f"InstantID's adapter (ip-adapter.bin of {INSTANTID})", f"adapter {weights.path}")
    try:
        with torch.device("meta"):
            adapter = Adapter(weights.tensors)
    except (LookupError, ValueError) as error:
        raise BadModelFile(f"adapter {path}: not a complete InstantID adapter ({error}). Fetch the file again.") from error
    load_strictly(adapter, weights, weights.tensors, "InstantID adapter")
    return adapter


def load_identitynet(path: Path) -> ControlNet:
    """Read IdentityNet from a file or folder, in diffusers' or ldm's names. Raises MissingModelFile or BadModelFile."""
    from lib_instantid.weights.controlnets import load_controlnet
    from lib_instantid.weights.kinds import expect
    from lib_instantid.weights.reading import read_weights

    weights = read_weights(path)
    expected = f"InstantID's IdentityNet ({NET}/diffusion_pytorch_model.safetensors of {INSTANTID})"
    expect(weights, IDENTITYNET, FILES, expected, f"identitynet {weights.path}")
    return load_controlnet(weights, "IdentityNet", f"identitynet {path}")


def _adapter_when_needed(path: Path) -> FaceTokenMaker:
    """An adapter that opens the file for each new face and keeps only the tokens of the last faces."""
    from lib_instantid.adapters.instantid.tokens import RememberingAdapter

    return RememberingAdapter(lambda: load_adapter(path))


FILES = SystemFiles(
    released=(
        ReleasedFile(
            role=ADAPTER,
            repository=INSTANTID,
            path="ip-adapter.bin",
            megabytes=1690,
            licence=APACHE,
            sha256="02b3618e36d803784166660520098089a81388e61a93ef8002aa79a5b1c546e1",
        ),
        ReleasedFile(
            role=IDENTITYNET,
            repository=INSTANTID,
            path=f"{NET}/config.json",
            megabytes=0,
            licence=APACHE,
            sha256="2480c42f363d712faae8d0e17cb850a5d1e4cafc232fbd022b1d43eee45234eb",
        ),
        ReleasedFile(
            role=IDENTITYNET,
            repository=INSTANTID,
            path=f"{NET}/diffusion_pytorch_model.safetensors",
            megabytes=2500,
            licence=APACHE,
            sha256="c8127be9f174101ebdafee9964d856b49b634435cf6daa396d3f593cf0bbbb05",
        ),
    ),
    recognise=recognise,
    load={ADAPTER: _adapter_when_needed, IDENTITYNET: load_identitynet},
    wanted=f"ip-adapter.bin and {NET} of {INSTANTID}",
)
