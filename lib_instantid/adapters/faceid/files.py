"""FaceID's weight files: where they were published, and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.adapters.faceid.recognise import (
    FACE_RECOGNISER,
    FACEID_ADAPTER,
    PACKAGE,
    RECOGNISER_FILE,
    by_antelope,
    recognise,
)
from lib_instantid.adapters.tower_files import ENCODER, load_tower
from lib_instantid.weights.system_files import ReleasedFile, SystemFiles

if TYPE_CHECKING:
    from lib_instantid.adapters.faceid.looks import FaceRecogniser
    from lib_instantid.adapters.faceid.networks import FaceAdapter

HUB = "h94/IP-Adapter-FaceID"
RESEARCH_ONLY = "non-commercial research only"


def _adapter(path: Path) -> FaceAdapter:
    from lib_instantid.adapters.faceid.networks import FaceAdapter  # torch: seconds to import

    return FaceAdapter(path)


def _by_antelope(path: Path) -> bool:
    """Of the file, see `by_antelope`."""
    from lib_instantid.weights.reading import read_outline  # torch: seconds to import

    return by_antelope(read_outline(path))


def _recogniser(path: Path) -> FaceRecogniser:
    from lib_instantid.adapters.faceid.looks import FaceRecogniser
    from lib_instantid.encoders.face.sessions import RECOGNISER, open_session

    return FaceRecogniser(open_session(path, RECOGNISER))


def _released(path: str, megabytes: int) -> ReleasedFile:
    return ReleasedFile(
        role=FACEID_ADAPTER,
        repository=HUB,
        path=path,
        subfolder="ip-adapter",
        megabytes=megabytes,
        licence=RESEARCH_ONLY,
        sha256=None,
    )


FILES = SystemFiles(
    released=(
        _released("ip-adapter-faceid-plusv2_sdxl.bin", 1490),
        _released("ip-adapter-faceid_sdxl.bin", 1070),
        _released("ip-adapter-faceid-plusv2_sd15.bin", 157),
        _released("ip-adapter-faceid_sd15.bin", 97),
        ReleasedFile(
            role=FACE_RECOGNISER,
            repository="public-data/insightface",
            path=f"models/{PACKAGE}/{RECOGNISER_FILE}",
            megabytes=174,
            licence=RESEARCH_ONLY,
            sha256=None,
        ),
    ),
    recognise=recognise,
    load={FACEID_ADAPTER: _adapter, FACE_RECOGNISER: _recogniser, ENCODER: load_tower},
    onnx={RECOGNISER_FILE: FACE_RECOGNISER},
    unneeded={FACE_RECOGNISER: _by_antelope},
    wanted=f"a FaceID adapter for your checkpoint (it brings people into SD1.5 too, InstantID into SDXL alone), of {HUB}, and "
    f"{PACKAGE}'s face recogniser {RECOGNISER_FILE}, with which it was trained (antelopev2's would make another face of it)",
)
