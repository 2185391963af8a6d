"""Whatever is wrong, the error is of its kind, names the field or file, and says how to mend it."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from lib_instantid import errors
from lib_instantid.encoders.face.analyser import open_analyser
from lib_instantid.encoders.face.choose import choose
from lib_instantid.encoders.face.geometry import crop_and_resize
from lib_instantid.encoders.face.identity import Identity, combine
from lib_instantid.encoders.face.identity_files import delete_identity, load_identity, save_identity
from lib_instantid.encoders.face.keypoints import box_from_keypoints, draw_keypoints, fractions_to_pixels
from lib_instantid.encoders.face.model_files import find_face_models
from lib_instantid.encoders.face.picture import read_mask, read_picture
from lib_instantid.encoders.face.report import report
from lib_instantid.hosts.stand_ins.face_models import write_face_models
from tests.encoders.face.scenes import a_face, random_scene, somebody

Case = tuple[str, Callable[[Path], object], type[errors.InstantIDError], tuple[str, ...]]

FIVE = np.array([(20, 20), (40, 20), (30, 30), (22, 40), (38, 40)], dtype=float)
HEADER = {"format": "sd-webui-instantid identity", "version": "1", "model": "antelopev2", "photos": "1", "name": "Ada"}


def png(size: tuple[int, int] = (30, 20)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (*size[::-1], 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def models_with(folder: Path, change: Callable[[Path], object]) -> object:
    """The stand-in models after a change, used once."""
    write_face_models(folder)
    change(folder)
    return open_analyser("builtin", folder).faces(random_scene(1))


def swapped(name: str, other: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / other).read_bytes())


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:3000])


def identity_file(folder: Path, embedding: np.ndarray | None, **header: str) -> Identity:
    tensors = {"weights": np.zeros(3, np.float32)} if embedding is None else {"embedding": embedding}
    written(folder / "Ada.safetensors", save(tensors, HEADER | header))
    return load_identity("Ada", folder)


def bomb() -> bytes:
    """A .safetensors file whose header says that it is longer than any disk."""
    return struct.pack("<Q", 1 << 62) + json.dumps({}).encode()


# fmt: off
PICTURES: list[Case] = [
    ("missing", lambda d: read_picture(d / "no.png"), errors.PictureError, ("photo:", "no.png", "check the path")),
    ("folder", lambda d: read_picture(d, "mask"), errors.PictureError, ("mask:", "is a folder", "a picture file in it")),
    ("empty file", lambda d: read_picture(written(d / "e.png", b"")), errors.PictureError, ("e.png", "0 bytes", "again")),
    ("empty bytes", lambda _: read_picture(b""), errors.PictureError, ("given file", "0 bytes")),
    ("text", lambda d: read_picture(written(d / "t.png", b"Hello!")), errors.PictureError, ("Hello", "PNG, JPEG or WebP")),
    ("cut off", lambda d: read_picture(written(d / "c.png", png()[:-300])), errors.PictureError, ("c.png", "cut off", "again")),
    ("header only", lambda _: read_picture(png()[:40]), errors.PictureError, ("40 bytes", "not a picture")),
    ("no pixels", lambda _: read_picture(Image.new("RGB", (0, 9))), errors.PictureError, ("0 x 9", "not empty")),
    ("nothing", lambda _: read_picture(None), errors.PictureError, ("NoneType", "give a path")),
    ("null in path", lambda _: read_picture("a\0b", "pose_picture"), errors.PictureError, ("pose_picture:", "check the path")),
    ("bad mask", lambda _: read_mask(b"GIF89a"), errors.PictureError, ("mask:",)),
    ("floats", lambda _: report(np.zeros((9, 9, 3)), a_face()), errors.PictureError, ("uint8", "float64", "read_picture")),
    ("grey array", lambda _: report(np.zeros((9, 9), np.uint8), a_face()), errors.PictureError, ("(9, 9)", "read_picture")),
]

MODELS: list[Case] = [
    ("none", lambda d: find_face_models(d / "models"), errors.MissingModelFile, (
        "scrfd_10g_bnkps.onnx and glintr100.onnx", "models/insightface/models/antelopev2", "https://", "non-commercial")),
    ("one missing", lambda d: models_with(d, lambda f: (f / "glintr100.onnx").unlink()), errors.MissingModelFile, (
        "Face models: glintr100.onnx not found", "https://")),
    ("garbage", lambda d: models_with(d, lambda f: written(f / "glintr100.onnx", b"<html>")), errors.BadModelFile, (
        "glintr100.onnx", "damaged", "fetch it again")),
    ("cut off", lambda d: models_with(d, cut("scrfd_10g_bnkps.onnx")), errors.BadModelFile, (
        "scrfd_10g_bnkps.onnx", "fetch it again")),
    ("no bytes", lambda d: models_with(d, lambda f: written(f / "1k3d68.onnx", b"")), errors.BadModelFile, ("1k3d68.onnx",)),
    ("detector as recogniser", lambda d: models_with(d, swapped("glintr100.onnx", "scrfd_10g_bnkps.onnx")),
     errors.BadModelFile, ("is not a face recogniser", "expected", "[512]", "found", "10]", "antelopev2's glintr100.onnx")),
    ("recogniser as detector", lambda d: models_with(d, swapped("scrfd_10g_bnkps.onnx", "glintr100.onnx")),
     errors.BadModelFile, ("is not a face detector", "9 outputs", "[[1, 512]]", "antelopev2's scrfd_10g_bnkps.onnx")),
    ("recogniser as landmarks", lambda d: models_with(d, swapped("1k3d68.onnx", "glintr100.onnx")),
     errors.BadModelFile, ("68 landmarks", "[3309]", "112", "antelopev2's 1k3d68.onnx")),
    ("landmarks as recogniser", lambda d: models_with(d, swapped("glintr100.onnx", "1k3d68.onnx")),
     errors.BadModelFile, ("[512]", "3309")),
    ("backend", lambda d: open_analyser("dlib", d), errors.SettingsError, ("builtin or insightface", "'dlib'")),
    ("provider", lambda d: open_analyser("builtin", written_models(d), "tpu").provider, errors.SettingsError, (
        "expected auto, cuda", "'tpu'")),
]

KEYPOINTS: list[Case] = [
    ("four", lambda _: draw_keypoints(FIVE[:4], 64, 64), errors.SettingsError, ("five points", "(4, 2)")),
    ("in 3D", lambda _: draw_keypoints(np.zeros((5, 3)), 64, 64), errors.SettingsError, ("[x, y]", "(5, 3)")),
    ("words", lambda _: draw_keypoints([["a", "b"]] * 5, 64, 64), errors.SettingsError, ("five points", "ten numbers")),
    ("ragged", lambda _: draw_keypoints([[1, 2], [3]], 64, 64), errors.SettingsError, ("five points",)),
    ("not finite", lambda _: draw_keypoints(FIVE * np.nan, 64, 64), errors.SettingsError, ("finite", "nan")),
    ("infinite", lambda _: fractions_to_pixels(FIVE * np.inf, 64, 64), errors.SettingsError, ("finite", "inf")),
    ("far away", lambda _: draw_keypoints(FIVE * 1e9, 64, 64), errors.SettingsError, ("100000",)),
    ("far fractions", lambda _: fractions_to_pixels(FIVE * 1e3, 900, 900), errors.SettingsError, ("100000",)),
    ("one place", lambda _: box_from_keypoints(np.ones((5, 2))), errors.SettingsError, ("same place", "of one face")),
    ("by hand", lambda d: open_analyser("builtin", written_models(d)).face_at(random_scene(1), FIVE[:3]),
     errors.SettingsError, ("five points", "(3, 2)")),
    ("no size", lambda _: crop_and_resize((0, 5), (64, 64)), errors.SettingsError, ("at least 1", "(0, 5)")),
]

IDENTITIES: list[Case] = [
    ("unknown", lambda d: load_identity("Eve", saved(d)), errors.IdentityFileError, ("'Eve'", "saved identities: Ada")),
    ("delete unknown", lambda d: delete_identity("Eve", d), errors.IdentityFileError, ("'Eve'", "none")),
    ("not safetensors", lambda d: load_identity("Ada", written(d / "Ada.safetensors", png()).parent),
     errors.IdentityFileError, ("Ada.safetensors", "damaged", "from photos")),
    ("empty", lambda d: load_identity("Ada", written(d / "Ada.safetensors", b"").parent),
     errors.IdentityFileError, ("damaged",)),
    ("endless header", lambda d: load_identity("Ada", written(d / "Ada.safetensors", bomb()).parent),
     errors.IdentityFileError, ("damaged",)),
    ("other weights", lambda d: identity_file(d, None), errors.IdentityFileError, ("not a saved identity", "from photos")),
    ("other format", lambda d: identity_file(d, somebody(1), format="pt"), errors.IdentityFileError, ("'pt'", "not a saved")),
    ("half floats", lambda d: identity_file(d, somebody(1).astype(np.float16)), errors.IdentityFileError, ("F32", "F16")),
    ("newer version", lambda d: identity_file(d, somebody(1), version="2"), errors.IdentityFileError, ("'2'", "'1'", "update")),
    ("shape", lambda d: identity_file(d, somebody(1)[:128]), errors.IdentityFileError, ("Ada.safetensors", "512", "(128,)")),
    ("not finite", lambda d: identity_file(d, somebody(1) * np.float32(np.inf)), errors.IdentityFileError, ("not finite",)),
    ("zeros", lambda d: identity_file(d, np.zeros(512, np.float32)), errors.IdentityFileError, ("zeros", "from photos")),
    ("normalised", lambda d: identity_file(d, somebody(1) / np.linalg.norm(somebody(1))), errors.IdentityFileError, (
        "norm 1.00", "raw embeddings", "normed_embedding")),
    ("normalised, not saved", lambda _: combine([a_face(embedding=somebody(1) / 22)]), errors.IdentityFileError, ("raw",)),
    ("no folder", lambda d: save_identity(named("Ada"), written(d / "file", b"")), errors.IdentityFileError, (
        "cannot be written", "permissions")),
]

NAMES: list[Case] = [
    (f"{name!r:.20}", lambda d, name=name: save_identity(named(name), d), errors.SettingsError,
     ("identity:", words, "use 1 to 64"))
    for name, words in [
        ("", "empty"), (" ", "empty"), ("x" * 65, "65 characters"), ("../Ada", "cannot have"), ("a/b", "cannot have"),
        ("a\\b", "cannot have"), ("C:Ada", "cannot have"), ("a\0b", "cannot have"), ("a\nb", "cannot have"),
        (".Ada", "dot"), ("..", "dot"), ("Ada.", "dot"), ("Ada ", "space"), ("NUL", "Windows"), ("con.txt", "Windows"),
        ("LPT1", "Windows"), ("a*", "cannot have"),
    ]
]

CHOICES: list[Case] = [
    ("no face", lambda _: choose((), size=(640, 480)), errors.NoFaceFound, ("640 x 480", "Crop closer", "by hand")),
    ("too few", lambda _: choose([a_face()], "2", size=(9, 9)), errors.NoFaceFound, ("face 2", "has 1")),
    ("word", lambda _: choose([a_face()], "biggest", size=(9, 9)), errors.SettingsError, ("largest, left", "'biggest'")),
]
# fmt: on


def written_models(folder: Path) -> Path:
    write_face_models(folder)
    return folder


def named(name: str) -> Identity:
    return Identity(embedding=somebody(1), name=name)


def saved(folder: Path) -> Path:
    save_identity(named("Ada"), folder)
    return folder


ROWS = {
    f"{table}: {row[0]}": row[1:]
    for table, rows in [
        ("picture", PICTURES),
        ("models", MODELS),
        ("keypoints", KEYPOINTS),
        ("identity", IDENTITIES),
        ("name", NAMES),
        ("choice", CHOICES),
    ]
    for row in rows
}


@pytest.mark.parametrize("row", sorted(ROWS))
def test_bad_input_is_named_with_its_cure(row: str, tmp_path: Path) -> None:
    act, kind, words = ROWS[row]
    with pytest.raises(errors.InstantIDError) as caught:
        act(tmp_path)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
