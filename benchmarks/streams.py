"""Whether IdentityNet and the UNet's encoder gain from running at the same time, on two CUDA streams.

    python -m benchmarks.streams [--size 1024] [--dtype float16] [--rounds 10] [--json FILE]

The encoder does not depend on IdentityNet: its residuals are needed from the middle block on. Needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.__main__ import DTYPES, machine
from benchmarks.contenders import Case, inputs
from benchmarks.measure import now
from benchmarks.networks import SDXL_CHANNELS, Networks, make_networks
from benchmarks.storage import step_of


class Reached(Exception):
    """The UNet's encoder is done."""


def encoder_of(networks: Networks, case: Case) -> Callable[[], None]:
    """Runs the UNet up to its middle block."""
    given = inputs(networks, case)

    def stop(_: nn.Module, __: object) -> None:
        raise Reached

    @torch.no_grad()
    def run() -> None:
        handle = networks.unet.mid_block.register_forward_pre_hook(stop)
        try:
            networks.unet(given.x(0), given.timestep(0), given.text, added_cond_kwargs=given.added)
        except Reached:
            pass
        finally:
            handle.remove()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--channels", type=int, default=SDXL_CHANNELS)
    parser.add_argument("--dtype", choices=DTYPES, default="float16")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("streams are CUDA's, and there is no GPU here.")
    device, dtype = torch.device("cuda"), DTYPES[args.dtype]
    networks = make_networks(args.channels, device, dtype)
    encoder = encoder_of(networks, Case(width=args.size, height=args.size, batch=1))
    net = step_of(networks.identitynet, args.size, device, dtype)
    beside = torch.cuda.Stream()

    def one_after_the_other() -> None:
        net()
        encoder()

    def at_the_same_time() -> None:
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            net()
        encoder()
        torch.cuda.current_stream().wait_stream(beside)

    taken: dict[str, list[float]] = {}
    for _ in range(args.rounds + 1):
        for way in (one_after_the_other, at_the_same_time):
            start = now(device)
            way()
            taken.setdefault(way.__name__, []).append(now(device) - start)
    ms = {name: statistics.median(own[1:]) * 1e3 for name, own in taken.items()}
    found = {"machine": machine(device), **ms, "ratio": ms["at_the_same_time"] / ms["one_after_the_other"]}
    print(*(f"{name}: {value}" for name, value in found.items()), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
