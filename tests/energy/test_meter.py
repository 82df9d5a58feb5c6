from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from energy_fakes import Clock, FakeGpu, fake_pynvml, set_energy, zone

from greennas.energy import Kind, Meter, Reading, open_meter, rapl
from greennas.energy.cpu_time import CpuTime
from greennas.errors import MeterError


def test_readings_survive_an_exception_of_the_work() -> None:
    with pytest.raises(ZeroDivisionError), open_meter("cpu", exclusive=False).window() as window:
        raise ZeroDivisionError
    assert window.readings[0].energy_j is not None
    assert window.seconds > 0


def test_readings_survive_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), open_meter("cpu", exclusive=False).window() as window:
        raise KeyboardInterrupt
    assert window.readings


def test_window_is_empty_until_it_ends() -> None:
    with open_meter("cpu", exclusive=False).window() as window:
        assert window.readings == ()
        assert window.seconds == 0


class BrokenCounter(CpuTime):
    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def begin(self) -> Callable[[], Reading]:
        def end() -> Reading:
            raise OSError("gone")

        if self._at == "begin":
            raise OSError("gone")
        return end


@pytest.mark.parametrize("at", ["begin", "end"])
def test_counter_that_fails_never_ends_the_work(at: str) -> None:
    meter = Meter([BrokenCounter(at), CpuTime()])
    with meter.window() as window:
        time.sleep(0.01)
    broken, working = window.readings
    assert (broken.kind, broken.energy_j) == (Kind.UNAVAILABLE, None)
    assert broken.seconds >= 0.01
    assert "gone" in broken.notes[0]
    assert working.energy_j is not None


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:0:0", "dram", 0)
    monkeypatch.setattr("greennas.energy.meter.open_rapl", lambda: rapl.open_rapl(tmp_path))
    return package


def test_rapl_is_used_where_the_machine_is_ours(powercap: Path) -> None:
    meter = open_meter("cpu")
    assert [(s.component, s.backend, s.kind) for s in meter.describe()] == [
        ("cpu", "rapl", Kind.MEASURED),
        ("dram", "rapl", Kind.MEASURED),
    ]
    with meter.window() as window:
        set_energy(powercap, 3_000_000)
    assert window.readings[0].energy_j == pytest.approx(3.0)
    meter.close()


def test_machine_wide_counters_are_not_used_beside_other_trainings(powercap: Path) -> None:
    (source,) = open_meter("cpu", exclusive=False).describe()
    assert (source.component, source.kind) == ("cpu", Kind.MODELLED)


def test_all_components_stand_side_by_side(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu()))
    assert [source.component for source in open_meter("cuda").describe()] == ["gpu", "cpu", "dram"]


def test_idle_power_is_measured_for_what_has_a_counter(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setitem(
        sys.modules, "pynvml", fake_pynvml(FakeGpu(tick_s=0.005, power_w=lambda s: 60.0 if s < 0.5 else 160.0))
    )
    meter = open_meter("cuda", exclusive=False)
    assert meter.measure_idle(0.2) == {"gpu": pytest.approx(60, rel=0.02)}
    clock.sleep(0.3)
    with meter.window() as window:
        clock.sleep(0.2)
    gpu, cpu = window.readings
    assert gpu.idle_power_w == pytest.approx(60, rel=0.02)
    assert gpu.active_j == pytest.approx(100 * gpu.seconds, rel=0.05)
    assert cpu.idle_power_w is None


@pytest.mark.parametrize("device", ["gpu", "", "cuda:", "cuda:x", "tpu"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(MeterError, match="use cpu, cuda or cuda:N"):
        open_meter(device)


def test_accelerator_without_a_meter_has_no_joules() -> None:
    with open_meter("mps", exclusive=False).window() as window:
        pass
    assert (window.readings[0].component, window.readings[0].kind) == ("gpu", Kind.UNAVAILABLE)
    assert window.readings[1].component == "cpu"
