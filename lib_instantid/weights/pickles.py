"""Checks torch files before they are unpickled: reads off the bytes of their pickle which functions it would call.

`torch.load` with `weights_only` alone is not safe. Before torch 2.6 a file that is not in the zip format could run code
(CVE-2025-32434), and a TorchScript archive is run even with `weights_only`. So this check accepts only the zip format, and in
its pickle only what tensors in plain containers need.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path

import torch

from lib_instantid.errors import BadModelFile

ZIP_START = b"PK\x03\x04"
"""The first bytes of torch's zip format, by which torch itself recognises it."""

CURE = "Get it as .safetensors from its publisher, or convert it on a machine you can lose."

ALLOWED = frozenset(
    (
        *("collections OrderedDict", "torch.storage UntypedStorage"),
        *(f"torch._utils {name}" for name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter")),
        *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double")),
        *(f"torch {kind}Storage" for kind in ("Long", "Int", "Short", "Char", "Byte", "Bool")),
        *("torch float8_e4m3fn", "torch float8_e5m2"),
    )
)
"""The functions and classes that rebuild tensors, as a pickle names them: module and name."""

PLAIN = frozenset(
    (
        *("PROTO", "STOP", "MARK", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET"),
        *("REDUCE", "BUILD"),  # they call only what GLOBAL has loaded, which is in ALLOWED
    )
)
"""Opcodes that load no code. Those that load code in other ways than GLOBAL (STACK_GLOBAL, INST, OBJ, EXT1, …) are left out."""


def is_torch_file(start: bytes) -> bool:
    """Whether a file's first bytes are those of torch's zip format, or of a pickle, which is torch's old format."""
    return start[:2] == ZIP_START[:2] or start[:1] == b"\x80"


def check_torch_file(path: Path) -> None:
    """Raise BadModelFile unless the file is in torch's zip format and holds only tensors and plain values.

    For a damaged archive, torch's own errors are raised: RuntimeError, OSError, ValueError.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            raise BadModelFile(
                f"{path}: a torch file of the old format, or another kind of file of that name. It is refused, because "
                f"PyTorch before 2.6 may run code from it; expected torch's zip format. {CURE}"
            )
    # torch's own reader, not zipfile: an archive could be made so that the two readers see different content.
    archive = torch._C.PyTorchFileReader(str(path))
    if "constants.pkl" in archive.get_all_records():
        raise BadModelFile(f"{path}: this is a TorchScript program, not weights. It is refused: opening it runs it. {CURE}")
    found = next(_other_than_tensors(archive.get_record("data.pkl")), None)
    if found is not None:
        raise BadModelFile(
            f"{path}: this pickle holds more than tensors ({found}). It is refused: loading it could run its code. {CURE}"
        )


def _other_than_tensors(content: bytes) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL":
            if argument not in ALLOWED:
                yield str(argument).replace(" ", ".")[:80]
        elif opcode.name not in PLAIN:
            yield f"opcode {opcode.name}"
