from __future__ import annotations

import itertools
import sys
import time

import pytest
from energy_fakes import Clock, FakeGpu, fake_pynvml
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy import Kind, Meter, open_meter
from greennas.energy.benchmark import benchmark, mean_interval
from greennas.energy.cpu_time import CpuTime
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
    # Warm-up short, long; then in turns, each begun by another: short long, long short, short long.
    assert sum(a != b for a, b in itertools.pairwise(order)) == 5


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
    assert one.calls * one.latency_ms >= 200


@pytest.mark.parametrize("gpu_meter", [{"counter_moves": False, "power_w": lambda s: 0.0}], indirect=True)
def test_without_joules_there_is_no_figure(gpu_meter: Meter, clock: Clock) -> None:
    (one,) = benchmark(
        {"wait": lambda: clock.sleep(0.01)}, gpu_meter, window_s=0.02, repeats=2, warmup_s=0, idle_s=0
    ).values()
    assert (one.kind, one.energy_j, one.interval_j, one.bounds_j) == (Kind.UNAVAILABLE, None, None, None)
    assert one.latency_ms >= 10


def test_interval_is_students() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0], 0.95)
    assert mean == pytest.approx(2.5)
    assert high - mean == pytest.approx(3.182446 * 1.2909944 / 2, rel=1e-5)  # table value, 3 degrees of freedom
    assert mean - low == pytest.approx(high - mean)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_more_confidence_is_a_wider_interval(values: list[float]) -> None:
    mean, low, high = mean_interval(values, 0.9)
    wide = mean_interval(values, 0.99)
    assert wide[1] <= low <= mean <= high <= wide[2]


@pytest.mark.parametrize("options", [{"repeats": 1}, {"confidence": 1.0}, {"window_s": 0.0}, {"functions": {}}])
def test_impossible_settings_are_refused(options: dict[str, object]) -> None:
    settings: dict[str, object] = {"functions": {"a": lambda: None}, **options}
    functions = settings.pop("functions")
    with pytest.raises(ConfigError, match="A benchmark needs"):
        benchmark(functions, Meter([CpuTime()]), **settings)  # type: ignore[arg-type]
