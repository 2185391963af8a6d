"""Memory and time of IdentityNet at SDXL's real size, for each way to keep its weights.

    python -m benchmarks.storage [--size 256] [--device cuda] [--dtype float16] [--json FILE]

Writes a file of the released layout and dtype (2.5 GB, random weights) into a temporary folder. Each way gets a new process,
which reads the file and runs the network for one picture with guidance (two rows). The plain UNet is not there: what stands
here is what InstantID's larger part takes beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.__main__ import DTYPES, machine
from benchmarks.measure import forget_peak, now, peak_memory
from benchmarks.networks import SDXL_CHANNELS, make_instantid
from lib_instantid.adapters.instantid.files import load_identitynet
from lib_instantid.networks.controlnet import ControlNet, Residuals
from lib_instantid.networks.packing import place
from lib_instantid.weights.storage import Storage, store

WAYS = {
    "whole": Storage(),
    "fp8": Storage(fp8=True),
    "layer by layer": Storage(streamed=True),
    "fp8, layer by layer": Storage(fp8=True, streamed=True),
}
RUNS = 5
ONE = "--one"


def measure(way: str, folder: Path, size: int, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Seconds; MB over what the process had before; how far the residuals are from those of the network kept whole."""
    forget_peak(device)
    before = peak_memory(device)
    start = time.perf_counter()
    net = load_identitynet(folder / "identitynet.safetensors")
    store(net, WAYS[way])
    loaded = time.perf_counter()
    place(net, device, dtype)
    placed = now(device)
    step = step_of(net, size, device, dtype)
    taken = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        residuals = step()
        found = torch.cat([residual.float().cpu().flatten() for residual in (*residuals.down, residuals.middle)])
        taken.append(time.perf_counter() - begin)
    right = folder / "right.safetensors"
    if WAYS[way] == Storage():
        save_file({"residuals": found}, right)
    exact = load_file(right)["residuals"]
    return {
        "load_s": loaded - start,
        "place_s": placed - loaded,
        "ms": statistics.median(taken) * 1e3,
        "on_device_mb": sum(t.nbytes for t in chain(net.parameters(), net.buffers())) / 1e6,
        "peak_mb": peak_memory(device) - before,
        "residuals_differ_by": float((found - exact).norm() / exact.norm()),
    }


def step_of(net: ControlNet, size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Residuals]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    x, vector = random(2, 4, size // 8, size // 8), random(2, net.shape.vector_size)
    timestep = torch.full((2,), 500.0, device=device)
    hint = net.prepare_hint(random(1, 3, size, size).clamp(0, 1))
    context = net.prepare_context(random(2, 16, net.shape.attending.context_size))

    @torch.no_grad()
    def step() -> Residuals:
        residuals: Residuals = net(x, timestep, vector, hint, context)
        return residuals

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--size", type=int, default=1024 if gpu else 256)
    parser.add_argument("--channels", type=int, default=SDXL_CHANNELS)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float16" if gpu else "float32")
    parser.add_argument("--json", type=Path)
    parser.add_argument(ONE, nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.one:
        way, folder = args.one
        print(json.dumps(measure(way, Path(folder), args.size, device, DTYPES[args.dtype])))
        return
    given = ["--size", str(args.size), "--device", args.device, "--dtype", args.dtype]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        net, _ = make_instantid(args.channels, torch.device("cpu"), torch.float16)
        save_file(net.state_dict(), Path(folder) / "identitynet.safetensors")
        del net
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.storage", *given, ONE, way, folder]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rows.append({"way": way, **json.loads(answer.splitlines()[-1])})
    names = list(rows[0])
    print(f"{machine(device)}. {args.dtype}, {args.size} px\n\n| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for row in rows:
        print("| " + " | ".join(f"{value:.4g}" if isinstance(value, float) else value for value in row.values()) + " |")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(device), **vars(args), "rows": rows}, default=str, indent=2) + "\n")


if __name__ == "__main__":
    main()
