from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from energy_fakes import only_root_reads_energy, set_energy, zone
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy import Kind
from greennas.energy.rapl import RaplCounter, counter_difference_uj, open_rapl, zones


@pytest.fixture
def quiet_proc(tmp_path: Path) -> Path:
    """A machine on which nobody else computes."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cpuinfo").write_text("model name\t: Test CPU\n")
    return proc


@given(st.integers(1, 2**40), st.data())
def test_difference_survives_a_wrap(range_uj: int, data: st.DataObject) -> None:
    before_uj = data.draw(st.integers(0, range_uj))
    gained_uj = data.draw(st.integers(0, range_uj))
    after_uj = (before_uj + gained_uj) % (range_uj + 1)
    assert counter_difference_uj(before_uj, after_uj, range_uj) == gained_uj


def test_packages_are_summed_and_nothing_inside_or_around_them(tmp_path: Path, quiet_proc: Path) -> None:
    root = tmp_path / "powercap"
    first = zone(root, "intel-rapl:0", "package-0", 1_000_000)
    core = zone(root, "intel-rapl:0:0", "core", 500_000)
    zone(root, "intel-rapl:0:1", "dram", 0)
    second = zone(root, "intel-rapl:1", "package-1", 2_000_000)
    zone(root, "intel-rapl:1:1", "dram", 0)
    psys = zone(root, "intel-rapl:2", "psys", 9_000_000)
    mmio = zone(root, "intel-rapl-mmio:0", "package-0", 1_000_000)
    cpu, dram = open_rapl(root, quiet_proc)
    end_cpu, end_dram = cpu.begin(), dram.begin()
    time.sleep(0.01)
    set_energy(first, 4_000_000)
    set_energy(second, 3_000_000)
    for inside, energy_uj in ((core, 3_400_000), (psys, 20_000_000), (mmio, 4_000_000)):
        set_energy(inside, energy_uj)
    set_energy(root / "intel-rapl:0:1", 250_000)
    set_energy(root / "intel-rapl:1:1", 500_000)
    reading, memory = end_cpu(), end_dram()
    assert reading.energy_j == pytest.approx(4.0)
    assert (reading.component, reading.kind, reading.device, reading.shared) == (
        "cpu",
        Kind.MEASURED,
        "Test CPU",
        False,
    )
    assert memory.energy_j == pytest.approx(0.75)
    assert memory.component == "dram"
    assert reading.low_j is not None
    assert reading.high_j is not None
    assert reading.low_j < 4.0 < reading.high_j


def test_bounds_are_a_millisecond_of_power(tmp_path: Path, quiet_proc: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    end = open_rapl(tmp_path, quiet_proc)[0].begin()
    time.sleep(0.2)
    set_energy(package, 10_000_000)
    reading = end()
    assert reading.power_w is not None
    assert reading.high_j is not None
    assert reading.high_j - 10.0 == pytest.approx(reading.power_w * 1e-3, rel=0.01)


def test_psys_alone_is_not_a_cpu(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "psys", 0)
    assert open_rapl(tmp_path) == []
    assert open_rapl(tmp_path / "absent") == []


def test_a_socket_that_may_not_be_read_makes_rapl_unavailable(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (zone(tmp_path, "intel-rapl:1", "package-1", 0) / "energy_uj").unlink()
    assert open_rapl(tmp_path) == []
    assert [bool(found.error) for found in zones(tmp_path)] == [False, True]


def test_permission_denied_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    only_root_reads_energy(monkeypatch)
    (found,) = zones(tmp_path)
    assert isinstance(found.error, PermissionError)
    assert open_rapl(tmp_path) == []


def test_several_wraps_in_one_window_are_followed(tmp_path: Path, quiet_proc: Path) -> None:
    range_uj = 10_000_000
    package = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, range_uj)
    counter = RaplCounter("cpu", zones(tmp_path), poll_s=0.005, proc=quiet_proc)
    end = counter.begin()
    total_uj = 0
    for _ in range(8):  # 32 J in all: three wraps
        total_uj += 4_000_000
        set_energy(package, (9_000_000 + total_uj) % (range_uj + 1))
        time.sleep(0.03)
    reading = end()
    assert reading.energy_j == pytest.approx(32.0)
    assert not any(thread.name == "rapl-follow" and thread.is_alive() for thread in threads_after(0.1))


def test_a_counter_that_could_not_be_read_on_the_way_may_have_wrapped(tmp_path: Path, quiet_proc: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0, 10_000_000)
    counter = RaplCounter("cpu", zones(tmp_path), poll_s=0.005, proc=quiet_proc)
    end = counter.begin()
    (package / "energy_uj").unlink()
    time.sleep(0.1)
    set_energy(package, 1_000_000)
    reading = end()
    assert (reading.kind, reading.energy_j) == (Kind.UNAVAILABLE, None)
    assert "could not be read for a part" in reading.notes[0]
    end = counter.begin()
    for step in range(1, 5):  # followed again, a wrap on the way
        set_energy(package, (1_000_000 + step * 4_000_000) % 10_000_001)
        time.sleep(0.03)
    assert end().energy_j == pytest.approx(16.0)


@pytest.mark.parametrize("missing", ["name", "energy_uj", "max_energy_range_uj"])
def test_a_part_of_the_sockets_is_not_the_cpu(tmp_path: Path, missing: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (zone(tmp_path, "intel-rapl:1", "package-1", 0) / missing).unlink()
    assert open_rapl(tmp_path) == []


def threads_after(seconds: float) -> list[threading.Thread]:
    time.sleep(seconds)
    return threading.enumerate()


def test_windows_may_overlap(tmp_path: Path, quiet_proc: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (counter,) = open_rapl(tmp_path, quiet_proc)
    outer = counter.begin()
    set_energy(package, 1_000_000)
    inner = counter.begin()
    set_energy(package, 3_000_000)
    assert inner().energy_j == pytest.approx(2.0)
    set_energy(package, 6_000_000)
    assert outer().energy_j == pytest.approx(6.0)
    set_energy(package, 7_000_000)  # nobody looks
    last = counter.begin()
    set_energy(package, 9_000_000)
    assert last().energy_j == pytest.approx(2.0)


def test_reset_and_standstill_are_unavailable_not_zero(tmp_path: Path, quiet_proc: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 200_000_000_000)
    (counter,) = open_rapl(tmp_path, quiet_proc)
    end = counter.begin()
    set_energy(package, 5)  # as a wrap this would be 62 kJ in no time
    reset = end()
    end = counter.begin()
    time.sleep(0.15)
    still = end()
    assert (reset.kind, reset.energy_j) == (Kind.UNAVAILABLE, None)
    assert "reset" in reset.notes[0]
    assert (still.kind, still.energy_j) == (Kind.UNAVAILABLE, None)
    assert "did not move" in still.notes[0]


def test_counter_that_vanishes_raises_and_then_works_again(tmp_path: Path, quiet_proc: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (counter,) = open_rapl(tmp_path, quiet_proc)
    end = counter.begin()
    (package / "energy_uj").unlink()
    with pytest.raises(OSError, match="energy_uj"):
        end()
    set_energy(package, 1_000_000)
    end = counter.begin()
    set_energy(package, 2_000_000)
    assert end().energy_j == pytest.approx(1.0)


@contextmanager
def busy(proc: Path, others_s: float) -> Iterator[None]:
    """The machine's busy seconds rise by those of others and this process's own."""
    hertz = os.sysconf("SC_CLK_TCK")
    (proc / "stat").write_text("cpu  1000 0 0 5000 0 0 0 0 0 0\n")
    started_s = time.process_time()
    yield
    spent_s = time.process_time() - started_s + others_s
    (proc / "stat").write_text(f"cpu  {1000 + round(spent_s * hertz)} 0 0 5000 0 0 0 0 0 0\n")


@pytest.mark.parametrize(("others_s", "shared"), [(0.0, False), (3.0, True)])
def test_background_load_is_said(tmp_path: Path, quiet_proc: Path, others_s: float, shared: bool) -> None:
    package = zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 0)
    (counter,) = open_rapl(tmp_path / "powercap", quiet_proc)
    with busy(quiet_proc, others_s):
        end = counter.begin()
        set_energy(package, 1_000_000)
    reading = end()
    assert reading.shared is shared
    assert any("Other processes used 3.0" in note for note in reading.notes) is shared
