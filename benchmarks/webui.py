"""Time and memory of a picture in a running WebUI, with InstantID and without, by turns.

    python -m benchmarks.webui http://127.0.0.1:7860 PHOTO [--size 512] [--steps 10] [--rounds 5] [--beside FILE] [--json FILE]

Prints the medians, their ratio, and the server process's peak memory over that of plain pictures before the first with
InstantID; then how far the memory at rest grows over pictures without a face, of one face, and of different faces. Start the
WebUI anew before; it must run on this machine (Linux: its memory is read from /proc).

--beside: another implementation in the same WebUI, timed by turns with InstantID and the plain picture. The file has its
request's `alwayson_scripts` as JSON, with "PHOTO" where the photo goes, as for the two units of ControlNet:
{"ControlNet": {"args": [{"module": "…", "model": "…", "image": "PHOTO"}, {"module": "…", "model": "…", "image": "PHOTO"}]}}
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import platform
import statistics
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from PIL import Image

FACES, REPEATS = 20, 10
WARM_UP = 2
"""Pictures before the memory at rest counts."""


class Webui:
    """A running WebUI, asked for pictures of one size and number of steps."""

    def __init__(self, url: str, size: int, steps: int) -> None:
        self._url = url.rstrip("/") + "/sdapi/v1/txt2img"
        self._job = {"prompt": "a person", "seed": 1, "sampler_name": "Euler", "cfg_scale": 5, "steps": steps}
        self._job |= {"width": size, "height": size}
        port = urlsplit(url).port
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port)
        self._proc = Path("/proc") / str(next(listening).pid)

    def picture(self, scripts: dict[str, Any] | None = None) -> float:
        """Make one picture. scripts: the request's `alwayson_scripts`. Returns seconds."""
        body = json.dumps({**self._job, "alwayson_scripts": scripts or {}}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        start = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            answer.read()
        return time.perf_counter() - start

    def memory(self, name: str) -> float:
        """MB of VmRSS (now) or VmHWM (the most since `forget_peak`)."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")


def measure(webui: Webui, photo: Image.Image, rounds: int) -> dict[str, float]:
    """Medians in seconds and their ratio, memory in MB."""
    ours = of(photo)
    for _ in range(WARM_UP):
        webui.picture()
    webui.forget_peak()
    webui.picture()
    before = webui.memory("VmHWM")
    first = webui.picture(ours)
    webui.picture(ours)
    plain, instantid, after = [], [], 0.0
    for _ in range(rounds):
        plain.append(webui.picture())
        webui.forget_peak()
        instantid.append(webui.picture(ours))
        after = max(after, webui.memory("VmHWM"))
    return {
        "first_instantid_s": first,
        "plain_s": statistics.median(plain),
        "instantid_s": statistics.median(instantid),
        "ratio": statistics.median(instantid) / statistics.median(plain),
        "plain_peak_mb": before,
        "instantid_peak_mb": after,
        "peak_over_plain_mb": after - before,
    }


def against(webui: Webui, photo: Image.Image, other: dict[str, Any], rounds: int) -> dict[str, float]:
    """Another implementation by turns: medians in seconds, and how much memory it took on top at its peak."""
    before = webui.memory("VmHWM")
    webui.picture(other)
    times: dict[str, list[float]] = {"plain": [], "instantid": [], "other": []}
    ways = {"plain": {}, "instantid": of(photo), "other": other}
    for _ in range(rounds):
        for name, scripts in ways.items():
            times[name].append(webui.picture(scripts))
    median = {name: statistics.median(own) for name, own in times.items()}
    return {
        "other_s": median["other"],
        "other_ratio": median["other"] / median["plain"],
        "instantid_ratio_beside_it": median["instantid"] / median["plain"],
        "other_peak_on_top_mb": webui.memory("VmHWM") - before,
    }


def growth(webui: Webui, requests: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    """MB at rest after the second picture, and how far it has grown after the last one. requests: their `alwayson_scripts`."""
    at_rest = []
    for scripts in requests:
        webui.picture(scripts)
        at_rest.append(webui.memory("VmRSS"))
    start = at_rest[WARM_UP - 1]
    return {f"{name}_rest_mb": start, f"{name}_growth_mb": at_rest[-1] - start, f"{name}_growth": at_rest[-1] / start - 1}


def of(photo: Image.Image) -> dict[str, Any]:
    """The request's `alwayson_scripts` for InstantID."""
    return {"InstantID": {"args": [{"people": [{"photos": [encoded(photo)]}]}]}}


def encoded(photo: Image.Image) -> str:
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    webui, photo = Webui(args.url, args.size, args.steps), Image.open(args.photo).convert("RGB")
    turned = [photo.rotate(i, fillcolor=photo.getpixel((0, 0))) for i in range(FACES)]
    result = measure(webui, photo, args.rounds)
    result |= growth(webui, [{}] * REPEATS, "without")
    result |= growth(webui, [of(photo)] * REPEATS, "same_face")
    result |= growth(webui, [of(one) for one in turned], "different_faces")
    if args.beside:
        other = json.loads(args.beside.read_text().replace('"PHOTO"', json.dumps(encoded(photo))))
        result |= against(webui, photo, other, args.rounds)
    whole = {"machine": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores", **vars(args), **result}
    for name, value in whole.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if args.json:
        args.json.write_text(json.dumps(whole, default=str, indent=2) + "\n")


if __name__ == "__main__":
    main()
