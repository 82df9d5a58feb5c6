from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from energy_fakes import Clock, FakeGpu, fake_pynvml
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy import Kind, Meter, Reading, open_meter
from greennas.energy.benchmark import LEAST_TICKS, benchmark
from greennas.energy.cpu_time import CpuTime
from greennas.energy.intervals import letters, mean_interval, overlap, overlapping_pairs
from greennas.errors import ConfigError


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def test_twice_the_work_costs_twice_the_energy() -> None:
    order: list[str] = []
    functions = {
        "short": lambda: (order.append("s"), burn(0.002)),
        "long": lambda: (order.append("l"), burn(0.004)),
    }
    meter = Meter([CpuTime((1.0, 2.0, 4.0))])
    found = benchmark(functions, meter, window_s=0.08, repeats=3, warmup_s=0.02, idle_s=0)
    short, long = found["short"], found["long"]
    assert short.energy_j is not None
    assert long.energy_j is not None
    assert short.energy_j == pytest.approx(0.004, rel=0.2)
    assert long.energy_j / short.energy_j == pytest.approx(2, rel=0.2)
    for one in (short, long):
        assert one.kind is Kind.MODELLED
        assert one.interval_j is not None
        assert one.bounds_j is not None
        assert one.energy_j is not None
        assert one.interval_j[0] <= one.energy_j <= one.interval_j[1]
        assert one.bounds_j[0] < one.energy_j < one.bounds_j[1]
        assert one.active_j is None
        assert len(one.readings) == 3
    # Once each; warm-up short, long; then in turns, each begun by another: short long, long short, short long.
    assert sum(a != b for a, b in itertools.pairwise(order)) == 7


@pytest.fixture
def gpu_meter(monkeypatch: pytest.MonkeyPatch, clock: Clock, request: pytest.FixtureRequest) -> Meter:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu(**request.param)))
    return open_meter("cuda", exclusive=False)


@pytest.mark.parametrize("gpu_meter", [{}], indirect=True)
def test_idle_energy_is_shown_with_and_without(gpu_meter: Meter, clock: Clock) -> None:
    (one,) = benchmark(
        {"wait": lambda: clock.sleep(0.02)}, gpu_meter, window_s=0.2, repeats=3, warmup_s=0.05, idle_s=0.2
    ).values()
    assert (one.component, one.kind) == ("gpu", Kind.MEASURED)
    assert one.energy_j == pytest.approx(100 * one.latency_ms / 1e3, rel=0.02)
    assert one.active_j == pytest.approx(0, abs=0.02 * 2)  # nothing above idle: the device draws 100 W always
    assert (one.tick_s, one.confidence) == (pytest.approx(0.01, rel=0.2), 0.95)
    assert all(reading.seconds >= 0.2 for reading in one.readings)
    assert all(reading.idle_power_w == pytest.approx(100, rel=0.02) for reading in one.readings)


@pytest.mark.parametrize("gpu_meter", [{"tick_s": 0.1}], indirect=True)
def test_windows_span_many_updates_of_a_slow_counter(gpu_meter: Meter, clock: Clock) -> None:
    (one,) = gpu_meter.benchmark(
        {"wait": lambda: clock.sleep(0.05)}, window_s=0.2, repeats=2, warmup_s=0.1, idle_s=0
    ).values()
    assert one.tick_s == pytest.approx(0.1, rel=0.05)
    assert all(reading.seconds >= LEAST_TICKS * 0.1 for reading in one.readings)
    assert one.energy_j == pytest.approx(100 * one.latency_ms / 1e3, rel=0.02)


@pytest.mark.parametrize("gpu_meter", [{}], indirect=True)
def test_a_function_that_speeds_up_still_fills_its_windows(gpu_meter: Meter, clock: Clock) -> None:
    calls = 0

    def compiled_late() -> None:
        nonlocal calls
        calls += 1
        clock.sleep(0.05 if calls <= 8 else 0.005)

    (one,) = gpu_meter.benchmark(compiled_late, window_s=0.5, repeats=3, warmup_s=0.2, idle_s=0).values()
    assert all(reading.seconds >= 0.5 for reading in one.readings)
    assert one.energy_j == pytest.approx(0.5, rel=0.05)  # 100 W for 5 ms


@pytest.mark.parametrize("gpu_meter", [{}], indirect=True)
def test_defaults_are_five_windows_of_five_seconds_and_idle_power(gpu_meter: Meter, clock: Clock) -> None:
    def work() -> None:
        clock.sleep(0.5)

    (found,) = gpu_meter.benchmark(work).items()
    assert found[0] == "work"
    assert len(found[1].readings) == 5
    assert all(reading.seconds >= 5 for reading in found[1].readings)
    assert found[1].active_j is not None
    assert found[1].active_interval_j is not None


@pytest.mark.parametrize("gpu_meter", [{"counter_moves": False, "power_w": lambda s: 0.0}], indirect=True)
def test_without_joules_there_is_no_figure(gpu_meter: Meter, clock: Clock) -> None:
    (one,) = benchmark(
        {"wait": lambda: clock.sleep(0.01)}, gpu_meter, window_s=0.02, repeats=2, warmup_s=0, idle_s=0
    ).values()
    assert (one.kind, one.energy_j, one.interval_j, one.bounds_j) == (Kind.UNAVAILABLE, None, None, None)
    assert one.latency_ms >= 10


def test_interval_is_students() -> None:
    assert mean_interval([0.1, 9.0], 0.95, 0.0)[1] == 0 > mean_interval([0.1, 9.0], 0.95)[1]
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0], 0.95)
    assert mean == pytest.approx(2.5)
    assert high - mean == pytest.approx(3.182446 * 1.2909944 / 2, rel=1e-5)  # table value, 3 degrees of freedom
    assert mean - low == pytest.approx(high - mean)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_more_confidence_is_a_wider_interval(values: list[float]) -> None:
    mean, low, high = mean_interval(values, 0.9)
    wide = mean_interval(values, 0.99)
    assert wide[1] <= low <= mean <= high <= wide[2]


def test_letters_are_shared_by_what_cannot_be_told_apart() -> None:
    intervals = {"d": (30.0, 31.0), "a": (1.0, 10.0), "b": (8.0, 20.0), "c": (15.0, 22.0)}
    assert letters(intervals) == {"a": "a", "b": "ab", "c": "b", "d": "c"}
    assert overlapping_pairs(intervals) == [("a", "b"), ("b", "c")]
    assert letters({}) == {}


spans = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(lambda ends: (min(ends), max(ends)))


@given(st.lists(spans, max_size=60))
def test_two_share_a_letter_if_and_only_if_they_overlap(found: list[tuple[float, float]]) -> None:
    intervals = dict(enumerate(found))
    named = {key: set(re.findall(r"[a-z]\d*", text)) for key, text in letters(intervals).items()}
    pairs = set(overlapping_pairs(intervals))
    for one, other in itertools.combinations(intervals, 2):
        assert bool(named[one] & named[other]) == overlap(intervals[one], intervals[other])
        assert ((one, other) in pairs) == overlap(intervals[one], intervals[other])


@pytest.mark.parametrize("options", [{"repeats": 1}, {"confidence": 1.0}, {"window_s": 0.0}, {"functions": {}}])
def test_impossible_settings_are_refused(options: dict[str, object]) -> None:
    settings: dict[str, object] = {"functions": {"a": lambda: None}, **options}
    functions = settings.pop("functions")
    with pytest.raises(ConfigError, match="A benchmark needs"):
        benchmark(functions, Meter([CpuTime()]), **settings)  # type: ignore[arg-type]


class Scripted:
    """A counter that reads what it is told, window by window."""

    component, backend, kind, device, uuid, resolution, tick_s = "cpu", "fake", Kind.MEASURED, "fake", None, "", 1e-6

    def __init__(self, *joules: float) -> None:
        self.joules = itertools.cycle(joules)

    def begin(self) -> Callable[[], Reading]:
        energy_j = next(self.joules)
        return lambda: Reading("cpu", "fake", self.kind, energy_j, energy_j, energy_j, 0.1, None, "fake", None)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("joules", "windows"), [((1.0, 1.0), 2), ((1.0, 5.0), 6)])
def test_windows_are_repeated_until_the_interval_is_narrow(joules: tuple[float, float], windows: int) -> None:
    turns: list[tuple[int, int]] = []
    settings: dict[str, Any] = {"window_s": 1e-5, "repeats": 2, "warmup_s": 0.0, "idle_s": 0.0}
    (one,) = benchmark(
        {"burn": lambda: burn(1e-4)},
        Meter([Scripted(*joules)]),
        max_repeats=6,
        narrow=0.05,
        on_turn=lambda done, most: turns.append((done, most)),
        **settings,
    ).values()
    assert len(one.readings) == windows
    assert turns == [(turn + 1, 6) for turn in range(windows)]
    assert one.each_j == pytest.approx([joules[turn % 2] / one.calls[turn] for turn in range(windows)])
    assert (one.spread <= 0.05) == (windows == 2)


def test_without_a_limit_the_repeats_are_fixed() -> None:
    (one,) = benchmark(
        {"burn": lambda: burn(1e-4)}, Meter([Scripted(1.0, 5.0)]), window_s=1e-5, repeats=3, warmup_s=0, idle_s=0
    ).values()
    assert len(one.readings) == 3
