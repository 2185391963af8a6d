"""The figures as a table in Markdown, and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measure import Row

COLUMNS = ("", "ms per step", "to plain", "arithmetic", "over it", "before first step", "peak over plain", "noise differs by")


def table(what: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """what: of the run as a whole."""
    lines = [
        f"{what['machine']}. {what['dtype']}, {what['channels']} channels (SDXL has 320), InstantID's weights "
        f"{what['instantid_weights_mb']:.0f} MB."
    ]
    for case, own in _cases(rows).items():
        lines += ["", f"{case}:", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in own]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.ms:.1f}",
        f"{row.ratio_to_plain:.3f}",
        f"{row.arithmetic_ratio:.3f}",
        f"{row.over_limit:.3f}",
        f"{row.before_first_step_ms:.0f} ms",
        f"{row.peak_over_plain_mb:+.0f} MB",
        f"{row.noise_error:.1e}",
    )


def _cases(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row.width}×{row.height}, batch {row.batch}", []).append(row)
    return found


def plot(what: Mapping[str, Any], rows: Sequence[Row], path: Path) -> None:
    """A bar for each row's ratio to plain, with a mark where the arithmetic is."""
    cases = _cases(rows)
    figure = Figure(figsize=(9, 0.6 + 0.4 * len(rows) + 0.5 * len(cases)), layout="constrained")
    for axes, (case, own) in zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases.items(), strict=True):
        names = [row.name for row in own]
        axes.barh(names, [row.ratio_to_plain for row in own], color=["#64748b" if row.exact else "#93c5fd" for row in own])
        axes.plot([row.arithmetic_ratio for row in own], names, "|", color="black", markersize=14, label="arithmetic")
        axes.invert_yaxis()
        axes.set_title(f"{case}: step, as a multiple of a plain one", fontsize=10)
        axes.legend(loc="lower right", fontsize=8)
    figure.suptitle(what["machine"], fontsize=8)
    figure.savefig(path, dpi=110)
