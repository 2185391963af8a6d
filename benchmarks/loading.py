"""Time and memory of loading IdentityNet and the adapter, at SDXL's real size, from a warm disk.

    python -m benchmarks.loading [--folder FOLDER] [--json FILE]

Writes files of the released layouts and dtypes (4.2 GB, random weights) into a temporary folder and reads them in a new
process. Loading maps the files; "touched" adds the time in which every page has been read once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.measure import peak_memory
from benchmarks.networks import SDXL_CHANNELS, make_instantid
from lib_instantid.adapters.instantid.files import load_adapter, load_identitynet

READ = "--read"
PAGE = 4096


def write(folder: Path) -> None:
    """The released files: IdentityNet in float16 safetensors, the adapter as a torch file in float32."""
    net, adapter = make_instantid(SDXL_CHANNELS, torch.device("cpu"), torch.float16)
    save_file(net.state_dict(), folder / "identitynet.safetensors")
    parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in adapter.float().state_dict().items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    torch.save(parts, folder / "ip-adapter.bin")


def read(folder: Path) -> dict[str, float]:
    """Seconds, and MB over what the process had before."""
    cpu, before = torch.device("cpu"), peak_memory(torch.device("cpu"))
    start = time.perf_counter()
    net = load_identitynet(folder / "identitynet.safetensors")
    middle = time.perf_counter()
    adapter = load_adapter(folder / "ip-adapter.bin")
    end = time.perf_counter()
    for part in (net, adapter):
        for parameter in part.parameters():
            parameter.data.view(-1)[:: PAGE // parameter.element_size()].sum()
    touched = time.perf_counter()
    weights = sum(p.numel() * p.element_size() for part in (net, adapter) for p in part.parameters()) / 1e6
    return {
        "identitynet_s": middle - start,
        "adapter_s": end - middle,
        "both_s": end - start,
        "touched_s": touched - start,
        "weights_mb": weights,
        "peak_mb": peak_memory(cpu) - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path)
    parser.add_argument(READ, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write(Path(folder))
        command = [sys.executable, "-m", "benchmarks.loading", READ, folder]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    for name, value in found.items():
        print(f"{name}: {value:.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
