"""Energy of one call of a function, with a confidence interval; several functions are compared by taking turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greennas.energy.intervals import mean_interval
from greennas.energy.reading import Kind, Reading, primary
from greennas.errors import ConfigError

if TYPE_CHECKING:
    from greennas.energy.meter import Meter

LEAST_TICKS = 20
"""Updates of the counter that a window spans at least: both of its ends together are then uncertain by 5% at most."""
_SHARE_AGAIN = 20  # a window that the calibration made too short is filled up in parts of so many


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
        confidence: of the intervals.
        latency_ms: mean milliseconds of a call.
        tick_s: seconds between updates of the counter, as calibrated; None where nothing can be read.
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
    confidence: float
    latency_ms: float
    tick_s: float | None
    calls: tuple[int, ...]
    readings: tuple[Reading, ...]

    @property
    def each_j(self) -> tuple[float, ...]:
        """Joules of a call in each window, in the order of the turns; empty where they are not known."""
        if self.energy_j is None:
            return ()
        return tuple((reading.energy_j or 0.0) / n for n, reading in zip(self.calls, self.readings, strict=True))

    @property
    def spread(self) -> float:
        """Half of the confidence interval as a share of the mean; infinite where the mean is 0 or unknown."""
        if not self.energy_j or self.interval_j is None:
            return math.inf
        return (self.interval_j[1] - self.interval_j[0]) / 2 / self.energy_j


def benchmark(
    functions: Mapping[str, Callable[[], object]],
    meter: Meter,
    *,
    window_s: float = 5.0,
    repeats: int = 5,
    warmup_s: float = 1.0,
    idle_s: float = 2.0,
    confidence: float = 0.95,
    max_repeats: int | None = None,
    narrow: float = 0.0,
    on_turn: Callable[[int, int], None] | None = None,
) -> dict[str, Benchmark]:
    """Meter functions in turns, so that a drift of temperature or load falls on all of them alike.

    Windows begin on an update of the counter where it ticks slowly (see ``greennas.energy.gpu``), and their ends are
    interpolated between two updates.

    Args:
        functions: what to compare, by name. Give realistic inputs: a GPU can draw 40% less on zeros (arXiv 2409.18324).
        meter: what to read; it may have measured its idle power before, else that is done here.
        window_s: least length of a window in seconds; windows are also at least ``LEAST_TICKS`` updates of the counter
            long. A counter that ticks every 100 ms needs about 5 s for 1%.
        repeats: windows of each function, two or more.
        warmup_s: seconds for which each function runs before, for compilation, caches and clocks.
        idle_s: seconds for which idle power is measured, if it was not, with all functions called once, so that what
            they keep on the device is there; 0 leaves it out.
        confidence: of the intervals.
        max_repeats: most windows of each function (default: ``repeats``); further turns are taken while an interval
            is wider than ``narrow``. All functions take part in them, so that each turn compares all.
        narrow: half of an interval, as a share of its mean, that is narrow enough.
        on_turn: told after each turn how many are done, and how many there are at most.

    Raises:
        ConfigError: fewer than two repeats, no function, or a confidence that is not between 0 and 1.
    """
    if repeats < 2 or not functions or not 0 < confidence < 1 or window_s <= 0:
        raise ConfigError(
            f"A benchmark needs a function, two repeats, a window and a confidence below 1, but got "
            f"{len(functions)} functions, {repeats} repeats, {window_s} s and {confidence}."
        )
    tick_s = meter.describe()[0].tick_s
    window_s = max(window_s, LEAST_TICKS * (tick_s or 0.0))
    for function in functions.values():
        function()
    meter.synchronize()
    if not meter.idle_power_w and idle_s > 0:
        meter.measure_idle(idle_s)
    sizes = {name: _calibrate(function, meter, warmup_s, window_s) for name, function in functions.items()}
    found: dict[str, list[tuple[int, Reading]]] = {name: [] for name in functions}
    names = list(functions)
    most = max(repeats, max_repeats or repeats)
    for turn in range(most):
        if turn >= repeats and all(_summary(found[name], confidence, tick_s).spread <= narrow for name in names):
            break
        # Another one begins each turn: what follows a hot one is not always the same.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(_window(functions[name], meter, sizes[name], window_s))
        if on_turn is not None:
            on_turn(turn + 1, most)
    return {name: _summary(found[name], confidence, tick_s) for name in names}


def _window(function: Callable[[], object], meter: Meter, size: int, window_s: float) -> tuple[int, Reading]:
    """One window of ``size`` calls, and of more if they take less than ``window_s``: (calls, reading)."""
    calls = 0
    with meter.window() as window:
        started_s = time.perf_counter()
        while True:
            for _ in range(size):
                function()
            calls += size
            meter.synchronize()
            if time.perf_counter() - started_s >= window_s:
                break
            size = max(size // _SHARE_AGAIN, 1)
    return calls, primary(window.readings)


def _calibrate(function: Callable[[], object], meter: Meter, warmup_s: float, window_s: float) -> int:
    """Warm a function up and find how many calls fill a window."""
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


def _summary(found: Sequence[tuple[int, Reading]], confidence: float, tick_s: float | None) -> Benchmark:
    calls, readings = zip(*found, strict=True)
    first: Reading = readings[0]
    energies_j = [reading.energy_j for reading in readings if reading.energy_j is not None]
    complete = len(energies_j) == len(readings) and len({reading.kind for reading in readings}) == 1
    energy = interval = bounds = active = active_interval = None
    if complete:
        energy, *ends = mean_interval(
            [joules / n for joules, n in zip(energies_j, calls, strict=True)], confidence, 0.0
        )
        interval = (ends[0], ends[1])
        each = [(r.low_j or 0.0, r.high_j or 0.0, n) for n, r in found]
        bounds = (sum(low / n for low, _, n in each) / len(each), sum(high / n for _, high, n in each) / len(each))
        if first.idle_power_w is not None:
            # Not cut at 0 as Reading.active_j is: that would shift the mean of small figures.
            idle_w = first.idle_power_w
            above_j = [(e - idle_w * r.seconds) / n for e, (n, r) in zip(energies_j, found, strict=True)]
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
        confidence=confidence,
        latency_ms=1e3 * sum(reading.seconds for reading in readings) / sum(calls),
        tick_s=tick_s,
        calls=tuple(calls),
        readings=tuple(readings),
    )
