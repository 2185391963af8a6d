"""What InstantID and image prompts cost over plain SDXL, beside what the arithmetic says and beside diffusers' own parts.

    python -m benchmarks [--size 1024] [--size 832x1216] [--batch 1 4] [--people 1 3] [--prompts 1 3]
        [--json FILE] [--plot FILE]

Runs anywhere: on a GPU at SDXL's real size, on a CPU at the real size where the memory holds it and narrower where not. All
networks have random weights. `benchmarks.webui` measures whole pictures in a running WebUI.

With --webui FOLDER the UNet is that of the WebUI in the folder, and beside InstantID on it runs the WebUI's other
implementation: Forge's own units, or sd-webui-controlnet's in AUTOMATIC1111. Call it with the Python of the WebUI's
environment, in which diffusers must be installed (0.31 fits both).
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.competitors import open_webui
from benchmarks.contenders import Case, Contender, diffusers, diffusers_prompt, image_prompts, instantid, plain
from benchmarks.measure import Row, measure
from benchmarks.networks import SDXL_CHANNELS, make_networks
from benchmarks.report import plot, table

ON_GPU, IN_MEMORY, OTHER = 3.9e9, 5.5e9, 1.7e9
"""Parameters at the real size: SDXL's UNet 2.57 and IdentityNet 1.25; on a CPU the adapter 0.42, and IdentityNet again for
diffusers, beside the packed one; another implementation's own copy of both."""

ROOM = 2e9
NARROW = 128
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def contenders_for(people: int, beside: Contender) -> list[Contender]:
    if people == 1:
        return [
            instantid(),
            beside,
            instantid(faster="every 2nd step", identitynet_every=2),
        ]
    return [instantid(people), instantid(people, faster="one run", identitynet_people="together")]


def channels_for(device: torch.device, dtype: torch.dtype, other: bool) -> int:
    """other: whether another implementation is there too."""
    gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if gpu else psutil.virtual_memory().available
    parameters = (ON_GPU if gpu else IN_MEMORY) + (OTHER if other else 0)
    return SDXL_CHANNELS if free > parameters * dtype.itemsize + ROOM else NARROW


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = psutil.virtual_memory().total / 2**30
    return f"{name}, {psutil.cpu_count()} cores, {memory:.0f} GB, no GPU, PyTorch {torch.__version__}"


def size_of(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    gpu = torch.cuda.is_available()
    parser.add_argument("--size", type=size_of, action="append", help="N or WIDTHxHEIGHT in pixels; may be repeated")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4] if gpu else [1])
    parser.add_argument("--people", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--prompts", type=int, nargs="*", default=[1], help="numbers of image prompts")
    parser.add_argument("--rounds", type=int, default=10 if gpu else 3)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float16" if gpu else "float32")
    parser.add_argument("--channels", type=int, help="of the first level; SDXL has 320, which is the default where it fits")
    parser.add_argument("--webui", type=Path, metavar="FOLDER", help="compare with the other implementation in this WebUI")
    parser.add_argument("--json", type=Path, help="write all figures")
    parser.add_argument("--plot", type=Path, help="write a PNG")
    args = parser.parse_args(given)
    args.size = args.size or ([(1024, 1024), (832, 1216)] if gpu else [(256, 256)])
    return args


def main(given: Sequence[str] | None = None) -> None:
    args = arguments(given)
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    channels = args.channels or channels_for(device, dtype, args.webui is not None)
    other = open_webui(args.webui, device.type == "cpu") if args.webui else None
    networks = make_networks(channels, device, dtype, other and other.unet)
    counting = make_networks(channels, torch.device("meta"), dtype)
    beside = other.contender(networks) if other else diffusers()
    contenders = [plain(), *(one for people in args.people for one in contenders_for(people, beside))]
    if args.prompts:
        beside_prompt = other.prompt_contender(networks) if other else diffusers_prompt()
        contenders += [beside_prompt, *(image_prompts(count) for count in args.prompts)]
    rows: list[Row] = []
    for width, height in args.size:
        for batch in args.batch:
            case = Case(width=width, height=height, batch=batch)
            rows += measure(networks, case, contenders, args.rounds, counting)
    what: dict[str, Any] = {
        "machine": machine(device),
        "dtype": args.dtype,
        "channels": channels,
        "instantid_weights_mb": networks.own_bytes / 1e6,
    }
    print(table(what, rows))
    if args.json:
        args.json.write_text(json.dumps({**what, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    if args.plot:
        plot(what, rows, args.plot)


if __name__ == "__main__":
    main()
