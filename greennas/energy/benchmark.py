"""Energy of one call of a function, with a confidence interval; several functions are compared by taking turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greennas.energy.meter import Meter
from greennas.energy.reading import Kind, Reading, primary
from greennas.errors import ConfigError


@dataclass(frozen=True)
class Benchmark:
    """What one call of a function costs, from several windows of many calls.

    ``interval_j`` is how well the figure repeats (Student's t over the windows); ``bounds_j`` is what the counter or
    the model leaves open, which more windows do not narrow. Both hold for the mean.

    Attributes:
        component: "gpu" or "cpu".
        kind: kind of all joules here.
        energy_j: mean joules of a call, idle power included; None where a window had none.
        interval_j: its confidence interval, likewise.
        bounds_j: mean lower and upper bound of the readings, likewise.
        active_j: mean joules of a call above idle; None where the idle power is not known. May be negative by noise.
        active_interval_j: its confidence interval, likewise.
        latency_ms: mean milliseconds of a call.
        calls: calls in each window.
        readings: one for each window.
    """

    component: str
    kind: Kind
    energy_j: float | None
    interval_j: tuple[float, float] | None
    bounds_j: tuple[float, float] | None
    active_j: float | None
    active_interval_j: tuple[float, float] | None
    latency_ms: float
    calls: int
    readings: tuple[Reading, ...]


def benchmark(
    functions: Mapping[str, Callable[[], object]],
    meter: Meter,
    *,
    window_s: float = 2.0,
    repeats: int = 5,
    warmup_s: float = 0.5,
    idle_s: float = 2.0,
    confidence: float = 0.95,
) -> dict[str, Benchmark]:
    """Meter functions in turns, so that a drift of temperature or load falls on all of them alike.

    Args:
        functions: what to compare, by name. Give realistic inputs: a GPU can draw 40% less on zeros (arXiv 2409.18324).
        meter: what to read; it may have measured its idle power before, else that is done here.
        window_s: least length of a window in seconds. A counter that ticks every 100 ms needs about two for 1%.
        repeats: windows of each function, two or more.
        warmup_s: seconds for which each function runs before, for compilation, caches and clocks.
        idle_s: seconds for which idle power is measured, if it was not; 0 leaves it out.
        confidence: of the intervals.

    Raises:
        ConfigError: fewer than two repeats, no function, or a confidence that is not between 0 and 1.
    """
    if repeats < 2 or not functions or not 0 < confidence < 1 or window_s <= 0:
        raise ConfigError(
            f"A benchmark needs a function, two repeats, a window and a confidence below 1, but got "
            f"{len(functions)} functions, {repeats} repeats, {window_s} s and {confidence}."
        )
    if not meter.idle_power_w and idle_s > 0:
        meter.measure_idle(idle_s)
    calls = {name: _calibrate(function, meter, warmup_s, window_s) for name, function in functions.items()}
    readings: dict[str, list[Reading]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(repeats):
        # Another one begins each turn: what follows a hot one is not always the same.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with meter.window() as window:
                for _ in range(calls[name]):
                    functions[name]()
            readings[name].append(primary(window.readings))
    return {name: _summary(readings[name], calls[name], confidence) for name in names}


def mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Mean of two or more values and its confidence interval by Student's t: (mean, low, high)."""
    from scipy.stats import t  # loading it takes a second, which only benchmarks need

    count = len(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * deviation / math.sqrt(count)
    return mean, mean - half, mean + half


def _calibrate(function: Callable[[], object], meter: Meter, warmup_s: float, window_s: float) -> int:
    """Warm a function up and find how many calls fill a window."""
    function()
    calls, fastest_s = 1, math.inf
    while True:
        meter.synchronize()
        started_s = time.perf_counter()
        for _ in range(calls):
            function()
        meter.synchronize()
        spent_s = time.perf_counter() - started_s
        fastest_s = min(fastest_s, spent_s / calls)
        if spent_s >= max(warmup_s, window_s / 10):
            return max(math.ceil(window_s / fastest_s), 1)
        calls *= 2


def _summary(readings: Sequence[Reading], calls: int, confidence: float) -> Benchmark:
    first = readings[0]
    energies_j = [reading.energy_j for reading in readings if reading.energy_j is not None]
    complete = len(energies_j) == len(readings) and len({reading.kind for reading in readings}) == 1
    energy = interval = bounds = active = active_interval = None
    if complete:
        energy, *ends = mean_interval([energy_j / calls for energy_j in energies_j], confidence)
        interval = (ends[0], ends[1])
        count = len(readings) * calls
        bounds = (sum(r.low_j or 0.0 for r in readings) / count, sum(r.high_j or 0.0 for r in readings) / count)
        if first.idle_power_w is not None:
            # Not cut at 0 as Reading.active_j is: that would shift the mean of small figures.
            idle_w = first.idle_power_w
            above_j = [(e - idle_w * r.seconds) / calls for e, r in zip(energies_j, readings, strict=True)]
            active, *ends = mean_interval(above_j, confidence)
            active_interval = (ends[0], ends[1])
    return Benchmark(
        component=first.component,
        kind=first.kind if complete else Kind.UNAVAILABLE,
        energy_j=energy,
        interval_j=interval,
        bounds_j=bounds,
        active_j=active,
        active_interval_j=active_interval,
        latency_ms=1e3 * sum(reading.seconds for reading in readings) / (len(readings) * calls),
        calls=calls,
        readings=tuple(readings),
    )
