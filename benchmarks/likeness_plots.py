"""Plots of what `benchmarks.likeness --json FILE` measured: `.venv/bin/python -m benchmarks.likeness_plots FILE OUT.png`.

Each panel is a setting: likeness by the judge to the own reference and to the others' against its values, and what of the
caption is followed or how saturated the pictures are, where that is asked.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANELS = {
    "adapter_strength": {},
    "adapter_strength, without IdentityNet": {},
    "identitynet_strength": {},
    "identitynet_strength, without the adapter": {},
    "every caption, strengths": {"wall": 1.0, "clothes": 1.0, "style": 1.0, "glasses": 1.0},
    "CFG": {"saturation": 1 / 255},
    "steps": {"saturation": 1 / 255},
    "adapter_end": {},
    "identitynet_end": {},
}
"""What is changed → what else is shown, and what it is multiplied with."""

ALONE = {"adapter_strength": "IdentityNet", "identitynet_strength": "the adapter"}
LINE = re.compile(r"(.+) (\d+(?:\.\d+)?)( alone)?")


def curves(found: Mapping[str, Any]) -> dict[str, dict[float, Mapping[str, Any]]]:
    """Panel → value → what was measured there."""
    curves: dict[str, dict[float, Mapping[str, Any]]] = {}
    for name, values in found.items():
        if (line := LINE.fullmatch(name)) is None:
            continue
        panel = line[1] + (f", without {ALONE[line[1]]}" if line[3] else "")
        curves.setdefault(panel, {})[float(line[2])] = values
    return curves


def draw(axes: Axes, panel: str, curve: Mapping[float, Mapping[str, Any]], most: float) -> None:
    """most: the likeness of two drawn pictures."""
    at = sorted(curve)
    for who in ("own", "others"):
        axes.plot(at, [curve[x]["judge"][who] for x in at], "o-" if who == "own" else "o:", color="tab:red", label=who)
    axes.axhline(most, color="tab:red", linewidth=0.6)
    for name, factor in PANELS[panel].items():
        axes.plot(at, [curve[x][name] * factor for x in at], ".--", label=name)
    axes.set_title(panel, fontsize=9)
    axes.set_ylim(-0.1, 1.02)
    axes.legend(fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description="Plot what benchmarks.likeness measured.")
    parser.add_argument("json", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = json.loads(args.json.read_text(encoding="utf-8"))
    measured = curves(found)
    figure = Figure(figsize=(11, 9), layout="constrained")
    for axes, panel in zip(figure.subplots(3, 3).flat, PANELS, strict=True):
        draw(axes, panel, measured[panel], found["two drawn pictures"]["judge"]["own"])
    figure.savefig(args.out, dpi=80)


if __name__ == "__main__":
    main()
