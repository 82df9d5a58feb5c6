from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from greennas.energy import Kind, open_meter
from greennas.energy.cpu_time import DEFAULT_WATTS_PER_CORE, CpuTime, busy_cpu_seconds, descendants_cpu_seconds
from greennas.errors import ConfigError

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n{then}"


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def test_busy_loop_costs_cpu_seconds_times_watts() -> None:
    meter = open_meter("cpu", exclusive=False)
    with meter.window() as window:
        burn(0.2)
    (reading,) = window.readings
    low_w, mid_w, high_w = DEFAULT_WATTS_PER_CORE
    assert reading.kind is Kind.MODELLED
    assert reading.component == "cpu"
    assert reading.energy_j == pytest.approx(0.2 * mid_w, rel=0.15)
    assert reading.low_j is not None
    assert reading.high_j is not None
    assert reading.low_j <= 0.2 * low_w * 1.15
    assert reading.high_j >= 0.2 * high_w
    assert "proportional to CPU time" in reading.notes[0]
    assert window.seconds >= 0.2


def test_sleeping_costs_next_to_nothing() -> None:
    with open_meter("cpu", exclusive=False).window() as window:
        time.sleep(0.3)
    (reading,) = window.readings
    assert reading.energy_j is not None
    assert reading.energy_j < 0.02 * DEFAULT_WATTS_PER_CORE[1]
    assert reading.seconds >= 0.3


def test_all_threads_count() -> None:
    counter = CpuTime((1.0, 1.0, 1.0))
    end = counter.begin()
    threads = [threading.Thread(target=burn, args=(0.1,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert end().energy_j == pytest.approx(0.3, rel=0.2)


def test_child_that_ended_counts_unless_metered_on_its_own() -> None:
    ends = {children: CpuTime((1.0, 1.0, 1.0), children=children).begin() for children in (True, False)}
    subprocess.run([sys.executable, "-S", "-c", BURN.format(seconds=0.3, then="")], check=True)
    with_children, without = ends[True]().energy_j, ends[False]().energy_j
    assert with_children is not None
    assert without is not None
    assert with_children >= 0.3
    assert without < 0.15


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_live_child_counts_what_it_used_inside_the_window_only() -> None:
    then = (
        "print('burnt', flush=True)\ninput()\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    )
    code = BURN.format(seconds=0.3, then=then + "print('done', flush=True)\ninput()")
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        child.stdout.readline()  # 0.3 s are burnt before the window
        end_alive, end_reaped = CpuTime((1.0, 1.0, 1.0)).begin(), CpuTime((1.0, 1.0, 1.0)).begin()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        alive = end_alive()
        child.stdin.write("\n")
        child.stdin.flush()
        child.wait()
        reaped = end_reaped()
    for reading in (alive, reaped):
        assert reading.low_j is not None
        assert reading.high_j is not None
        assert reading.low_j <= 0.2 + 0.05
        assert reading.high_j >= 0.2
        assert reading.energy_j == pytest.approx(0.2, abs=0.08)


def stat(proc: Path, pid: int, parent: int, ticks: tuple[int, int, int, int], name: str = "worker") -> None:
    (proc / str(pid)).mkdir(parents=True)
    numbers = [parent, 0, 0, 0, 0, 0, 0, 0, 0, 0, *ticks, 20, 0]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {' '.join(map(str, numbers))}\n")


def test_descendants_are_found_through_their_parents(tmp_path: Path) -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    stat(tmp_path, 10, 1, (7, 7, 7, 7))
    stat(tmp_path, 11, 10, (100, 50, 0, 0), name="a b) (c")
    stat(tmp_path, 12, 11, (10, 0, 5, 5))
    stat(tmp_path, 13, 1, (1000, 0, 0, 0))
    (tmp_path / "14").mkdir()  # ended between being listed and being read
    found = descendants_cpu_seconds(10, tmp_path)
    assert found == pytest.approx({11: 150 * tick_s, 12: 20 * tick_s})
    assert descendants_cpu_seconds(10, tmp_path / "absent") == {}


def test_lost_children_make_the_reading_unavailable(tmp_path: Path) -> None:
    stat(tmp_path, 77, os.getpid(), (5000, 0, 0, 0))
    end = CpuTime(proc=tmp_path).begin()
    (tmp_path / "77" / "stat").unlink()
    reading = end()
    assert reading.kind is Kind.UNAVAILABLE
    assert "without being waited for" in reading.notes[0]


def test_ticks_of_live_children_widen_the_bounds(tmp_path: Path) -> None:
    empty = CpuTime((1.0, 1.0, 1.0), proc=tmp_path).begin()()
    stat(tmp_path, 77, os.getpid(), (5000, 0, 0, 0))
    full = CpuTime((1.0, 1.0, 1.0), proc=tmp_path).begin()()
    assert empty.high_j is not None
    assert full.high_j is not None
    assert full.high_j - empty.high_j == pytest.approx(2 / os.sysconf("SC_CLK_TCK"), rel=0.2)


def test_busy_seconds_leave_idle_out(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 20 30 99999 500 6 4 0 0 0\ncpu0 1 1 1 1\n")
    assert busy_cpu_seconds(tmp_path) == pytest.approx(160 / os.sysconf("SC_CLK_TCK"))
    assert busy_cpu_seconds(tmp_path / "absent") is None


def test_watts_per_core_are_configurable_and_checked() -> None:
    with open_meter("cpu", exclusive=False, watts_per_core=(10.0, 20.0, 40.0)).window() as window:
        burn(0.05)
    assert window.readings[0].energy_j == pytest.approx(0.05 * 20, rel=0.3)
    for watts in [(0.0, 1.0, 2.0), (3.0, 2.0, 4.0), (1.0, 2.0, float("inf"))]:
        with pytest.raises(ConfigError, match="watts_per_core"):
            open_meter("cpu", watts_per_core=watts)
