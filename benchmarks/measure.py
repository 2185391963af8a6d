"""Times, memory and arithmetic of contenders, by turns in one process."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders import Case, Contender
from benchmarks.live_bytes import LiveBytes
from benchmarks.networks import Networks

STEADY = 2
"""Steps that are timed after the first one, where the work does not repeat after more."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender in one case.

    ms: of a step, the median. arithmetic_ratio: to a plain step if nothing but arithmetic cost time and constant work were done
    once. over_limit: ratio_to_plain over it. before_first_step_ms: tokens, and what the first step costs more than the next.
    peak_over_plain_mb: of a pass' tensors, the weights not counted. noise_error: of the noise prediction, relative to
    exact InstantID's.
    """

    name: str
    width: int
    height: int
    batch: int
    people: int
    exact: bool
    ms: float
    ratio_to_plain: float
    arithmetic_ratio: float
    over_limit: float
    before_first_step_ms: float
    peak_over_plain_mb: float
    noise_error: float


@dataclass(kw_only=True)
class _Samples:
    """steady, before: seconds. noise: (steps, rows, 4, h, w), predictions."""

    steady: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    noise: Tensor = field(default_factory=lambda: torch.empty(0))


def measure(networks: Networks, case: Case, contenders: Sequence[Contender], rounds: int, counting: Networks) -> list[Row]:
    """Each contender in turn, `rounds` times over; one of them is "plain". counting: the same networks on "meta"."""
    samples = {one.name: _Samples() for one in contenders}
    for _ in range(rounds):
        for one in contenders:
            _sample(networks, case, one, samples[one.name])
    peak = {one.name: peak_of(networks, case, one) for one in contenders}
    limits = {one.limit for one in contenders}
    flops = {one.name: count_flops(counting, case, one) for one in contenders if one.name in limits}
    ms = {name: statistics.median(sample.steady) * 1e3 for name, sample in samples.items()}
    rows = []
    for one in contenders:
        own, ratio, arithmetic = samples[one.name], ms[one.name] / ms["plain"], flops[one.limit] / flops["plain"]
        right = samples[one.reference].noise
        rows.append(
            Row(
                name=one.name,
                width=case.width,
                height=case.height,
                batch=case.batch,
                people=one.people,
                exact=one.exact,
                ms=ms[one.name],
                ratio_to_plain=ratio,
                arithmetic_ratio=arithmetic,
                over_limit=ratio / arithmetic,
                before_first_step_ms=statistics.median(own.before) * 1e3,
                peak_over_plain_mb=peak[one.name] - peak["plain"],
                noise_error=float((own.noise - right).norm() / right.norm()),
            )
        )
    return rows


def _sample(networks: Networks, case: Case, contender: Contender, samples: _Samples) -> None:
    steps = max(STEADY, contender.period)
    gc.collect()
    start = now(networks.device)
    with contender.run(networks, case) as step:
        noise = [step(0)]
        first = now(networks.device)
        noise += [step(number) for number in range(1, steps + 1)]
        end = now(networks.device)
    steady = (end - first) / steps
    samples.steady.append(steady)
    samples.before.append(first - start - steady)
    samples.noise = torch.stack(noise[1 : STEADY + 1]).float().cpu()


def peak_of(networks: Networks, case: Case, contender: Contender) -> float:
    """The most memory that the tensors of a pass take up to the end of its first step, in MB; NaN where none can count it."""
    on_gpu = networks.device.type == "cuda"
    if not on_gpu and not LiveBytes.can_count():
        return math.nan
    gc.collect()
    forget_peak(networks.device)
    before = peak_memory(networks.device)
    with LiveBytes() as live, contender.run(networks, case) as step:
        step(0)
    return peak_memory(networks.device) - before if on_gpu else live.peak / 1e6


def count_flops(counting: Networks, case: Case, contender: Contender) -> float:
    """Of a step, on average, without the first one's constant work. counting: networks on "meta"."""
    with contender.run(counting, case) as step:
        step(0)
        with FlopCounterMode(display=False) as counter:
            for number in range(1, contender.period + 1):
                step(number)
    return counter.get_total_flops() / contender.period


def now(device: torch.device) -> float:
    """Seconds, when all that was begun is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """The most since it was last forgotten, in MB. On a CPU the process's, from Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
