"""Whether `torch.compile` pays for IdentityNet: time of the first run and of the next ones, beside the network as it is.

    python -m benchmarks.compiling [--size 256] [--channels 320] [--device cuda] [--dtype float16] [--json FILE]

Needs a C++ compiler, on a GPU Triton too. On a GPU "reduce-overhead" runs it as CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import DTYPES, machine
from benchmarks.measure import now
from benchmarks.networks import SDXL_CHANNELS, identitynet_of, make_instantid
from benchmarks.storage import step_of
from lib_instantid.nets.identitynet import Residuals
from lib_instantid.nets.packing import place

RUNS = 5


def measure(step: Callable[[], Residuals], device: torch.device, rounds: int = RUNS) -> list[float]:
    """Seconds of each run."""
    taken = []
    for _ in range(rounds):
        start = now(device)
        step()
        taken.append(now(device) - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--size", type=int, default=1024 if gpu else 256)
    parser.add_argument("--channels", type=int, default=SDXL_CHANNELS)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float16" if gpu else "float32")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    weights, _ = make_instantid(args.channels, torch.device("cpu"), dtype)
    as_it_is = step_of(place(identitynet_of(weights), device, dtype), args.size, device, dtype)
    measure(as_it_is, device)
    eager = statistics.median(measure(as_it_is, device))
    rows: list[dict[str, Any]] = [{"name": "as it is", "ms": eager * 1e3, "ratio": 1.0, "first_s": 0.0}]
    net = identitynet_of(weights).to(device)
    for mode in ("default", "reduce-overhead") if gpu else ("default",):
        torch._dynamo.reset()
        net.compile(mode=mode)
        first, *rest = measure(step_of(net, args.size, device, dtype), device, RUNS + 2)
        ratio = statistics.median(rest[1:]) / statistics.median(measure(as_it_is, device))
        rows.append({"name": mode, "ms": statistics.median(rest[1:]) * 1e3, "ratio": ratio, "first_s": first})
    print(f"{machine(device)}. {args.dtype}, {args.size} px, {args.channels} channels")
    for row in rows:
        print(f"{row['name']}: {row['ms']:.0f} ms, ×{row['ratio']:.3f}, first run {row['first_s']:.1f} s")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(device), **vars(args), "rows": rows}, default=str, indent=2) + "\n")


if __name__ == "__main__":
    main()
