"""Steady-state windows: several functions metered in turns until their intervals are narrow, and figures from them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greennas.energy import Kind, Meter
from greennas.energy.benchmark import Benchmark
from greennas.energy.intervals import mean_interval, ratio_interval
from greennas.errors import ConfigError


@dataclass(frozen=True)
class WindowPlan:
    """How long and how often to meter.

    Attributes:
        window_s: least seconds of a window.
        repeats: windows of everything, two or more.
        max_repeats: most windows, where intervals stay wide.
        narrow: half of an interval, as a share of its mean, at which no more windows are taken.
        warmup_s: seconds that each function runs before, not metered.
        confidence: of the intervals.
    """

    window_s: float = 0.5
    repeats: int = 5
    max_repeats: int = 10
    narrow: float = 0.05
    warmup_s: float = 0.3
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (0 < self.window_s < math.inf and self.repeats >= 2 and self.max_repeats >= self.repeats):
            raise ConfigError(
                f"Windows of {self.window_s} s, {self.repeats} to {self.max_repeats} times, cannot be taken; "
                "give a length above 0, two repeats or more, and no fewer at most."
            )
        if not (0 < self.narrow < 1 and 0 < self.confidence < 1 and self.warmup_s >= 0):
            raise ConfigError(
                f"The interval's width ({self.narrow}) and confidence ({self.confidence}) must lie between 0 and 1, "
                f"and the warm-up ({self.warmup_s} s) must not be negative."
            )


@dataclass(frozen=True)
class Figure:
    """A mean with its confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, each: Sequence[float], confidence: float) -> Figure | None:
        """The mean of a figure, never negative, that was had once a turn; None with fewer than two."""
        return cls(*mean_interval(each, confidence, 0.0)) if len(each) >= 2 else None

    @classmethod
    def ratio(cls, each: Sequence[float], baseline: Sequence[float], confidence: float) -> Figure | None:
        """The ratio of two figures of the same turns; None where they cannot be divided."""
        found = ratio_interval(each, baseline, confidence)
        return cls(*found) if found else None

    @classmethod
    def from_json(cls, data: Mapping[str, float] | None) -> Figure | None:
        """Read what ``dataclasses.asdict`` made of one, or None."""
        return cls(**data) if data is not None else None


class Timed:
    """A function whose calls are timed until their result is there, as one who waits for it sees it.

    Args:
        function: what is called.
        synchronize: waits for the device.
    """

    def __init__(self, function: Callable[[], object], synchronize: Callable[[], None]) -> None:
        self._function = function
        self._synchronize = synchronize
        self._seconds: deque[float] = deque(maxlen=100_000)

    def __call__(self) -> None:
        """Call it and wait."""
        started_s = time.perf_counter()
        self._function()
        self._synchronize()
        self._seconds.append(time.perf_counter() - started_s)

    def last_ms(self, calls: int) -> list[float]:
        """Milliseconds of the last ``calls`` calls (those in the windows come last), shortest first."""
        return sorted(1e3 * seconds for seconds in list(self._seconds)[-calls:])


def in_turns(
    functions: Mapping[str, Callable[[], object]],
    meter: Meter,
    plan: WindowPlan,
    on_turn: Callable[[int, int], None] | None = None,
) -> dict[str, Benchmark]:
    """Meter functions in turns as ``plan`` says; see ``greennas.energy.benchmark``."""
    return meter.benchmark(
        functions,
        window_s=plan.window_s,
        repeats=plan.repeats,
        max_repeats=plan.max_repeats,
        narrow=plan.narrow,
        warmup_s=plan.warmup_s,
        confidence=plan.confidence,
        # Modelled energy holds no idle power: nothing is lost by not waiting for it.
        idle_s=0.0 if all(source.kind is Kind.MODELLED for source in meter.describe()) else 2.0,
        on_turn=on_turn,
    )


def quantile(ordered: Sequence[float], share: float, least: int = 1) -> float | None:
    """The value that ``share`` of the ``ordered`` ones do not exceed (nearest rank); None with fewer than ``least``."""
    if len(ordered) < max(least, 1):
        return None
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]
