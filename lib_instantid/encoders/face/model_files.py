"""Finds antelopev2's files in every folder layout that other programs and the published archive use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_instantid.errors import MissingModelFile

PACKAGE = "antelopev2"
DETECTOR_FILE = "scrfd_10g_bnkps.onnx"
RECOGNISER_FILE = "glintr100.onnx"
LANDMARKS_FILE = "1k3d68.onnx"

FOLDERS = (
    "",
    "antelopev2",
    "models/antelopev2",
    "models/insightface/models/antelopev2",
    "insightface/models/antelopev2",
)
"""Where the files may lie below the given folder: in itself, in insightface's own layout, or in the one that
sd-webui-controlnet, Forge and ComfyUI share. Unpacking the archive may have added a folder: antelopev2/antelopev2."""

SOURCES = (
    "https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip or "
    "https://huggingface.co/DIAMONIK7777/antelopev2"
)


@dataclass(frozen=True, kw_only=True)
class FaceModelFiles:
    """The files of one folder. landmarks is None where the optional 1k3d68.onnx (head pose) is missing."""

    detector: Path
    recogniser: Path
    landmarks: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder in which the files lie."""
        return self.detector.parent


def find_face_models(folder: Path) -> FaceModelFiles:
    """Find the face models at or below a folder.

    folder: the folder antelopev2, or a WebUI's `models` folder or root.
    raises MissingModelFile: no folder holds both detector and recogniser. The message lists the folders, the files and where
    to get them.
    """
    needed = (DETECTOR_FILE, RECOGNISER_FILE)
    searched = _candidates(Path(folder))
    missing = {place: [name for name in needed if not (place / name).is_file()] for place in searched}
    for place in searched:
        if not missing[place]:
            landmarks = place / LANDMARKS_FILE
            return FaceModelFiles(
                detector=place / DETECTOR_FILE,
                recogniser=place / RECOGNISER_FILE,
                landmarks=landmarks if landmarks.is_file() else None,
            )
    nearest = min(searched, key=lambda place: len(missing[place]))
    raise MissingModelFile(
        f"Face models: {' and '.join(missing[nearest])} not found. Searched: {', '.join(map(str, searched))}. "
        f"Get {PACKAGE} from {SOURCES} and put its .onnx files into {searched[1]}. "
        "They are for non-commercial research only."
    )


def _candidates(folder: Path) -> list[Path]:
    places = []
    for below in FOLDERS:
        places += [folder / below] if below else [folder]
        if below:
            places.append(folder / below / PACKAGE)
    return list(dict.fromkeys(places))
