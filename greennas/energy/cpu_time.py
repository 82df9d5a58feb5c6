"""Modelled CPU energy: CPU seconds of this process and its children times a band of watts per core.

The band ``DEFAULT_WATTS_PER_CORE`` = (2, 6, 15) W is for one fully busy core: thermal design power divided by cores.

- low, 2 W: dense servers and virtual CPUs. Ampere Altra 250 W / 128 cores = 2.0 W, AMD EPYC 9754 360 W / 128 = 2.8 W.
  A virtual CPU is usually one of two hardware threads of a core.
- mid, 6 W: common servers. Intel Xeon 8380 270 W / 40 = 6.8 W, Xeon 8480+ 350 W / 56 = 6.3 W,
  AMD EPYC 7763 280 W / 64 = 4.4 W.
- high, 15 W: desktops that boost. AMD Ryzen 7950X 230 W package limit / 16 = 14.4 W,
  Intel i9-13900K 253 W / 24 = 10.5 W.

(Vendors' data sheets.) The model leaves out memory, power supply and idle power, and knows nothing of clock or
instruction mix: such energy is proportional to CPU time and says nothing that CPU time does not say.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

from greennas.energy.reading import Kind, Reading
from greennas.errors import ConfigError

DEFAULT_WATTS_PER_CORE = (2.0, 6.0, 15.0)
"""Low, mid and high watts of one fully busy core; see the module's docstring."""

_CLOCK_S = max(time.get_clock_info("process_time").resolution, 1e-6)  # getrusage counts microseconds


class CpuTime:
    """CPU seconds x watts per core: works everywhere, kind ``modelled``.

    Counted are all threads of this process, children that were waited for, and (on Linux) live descendants.

    Args:
        watts_per_core: low, mid and high watts of one busy core.
        children: False leaves descendants out, for a process whose children are metered on their own.
        proc: root of the process file system.

    Raises:
        ConfigError: the watts are not 0 < low <= mid <= high.
    """

    component = "cpu"
    backend = "cpu_time"
    kind = Kind.MODELLED
    tick_s = _CLOCK_S

    def __init__(
        self,
        watts_per_core: tuple[float, float, float] = DEFAULT_WATTS_PER_CORE,
        *,
        children: bool = True,
        proc: Path = Path("/proc"),
    ) -> None:
        low_w, mid_w, high_w = watts_per_core
        if not (0 < low_w <= mid_w <= high_w and math.isfinite(high_w)):
            raise ConfigError(
                f"watts_per_core must be 0 < low <= mid <= high, but is {watts_per_core}; default: 2 6 15."
            )
        self.watts_per_core = (low_w, mid_w, high_w)
        self.device = cpu_model(proc)
        self.uuid: str | None = None
        self._children = children
        self._proc = proc
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")

    @property
    def resolution(self) -> str:
        """What one reading can resolve, in words."""
        return f"{_CLOCK_S:.0e} s of CPU time; {self._tick_s:g} s for children that still run"

    def begin(self) -> Callable[[], Reading]:
        """Start a window; what is returned ends it and gives the reading."""
        children = self._children_seconds()
        started_s = time.perf_counter()
        own_s = time.process_time()

        def end() -> Reading:
            # Own time first, as it was last at the start: looking at the children is then in no window.
            cpu_s = time.process_time() - own_s
            seconds = time.perf_counter() - started_s
            return self._reading(cpu_s, children, self._children_seconds(), seconds)

        return end

    def close(self) -> None:
        """Nothing is held."""

    def _children_seconds(self) -> tuple[float, float]:
        """CPU seconds of all descendants so far, and by how much they may be too few (ticks not yet counted)."""
        if not self._children:
            return 0.0, 0.0
        # Live ones first: a child reaped in between is then seen twice, which the next reading mends, and never lost.
        live_s = descendants_cpu_seconds(os.getpid(), self._proc).values()
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        # User and system time are each cut to whole ticks.
        return waited.ru_utime + waited.ru_stime + sum(live_s), 2 * self._tick_s * len(live_s)

    def _reading(self, own_s: float, start: tuple[float, float], stop: tuple[float, float], seconds: float) -> Reading:
        children_s = stop[0] - start[0]
        if children_s < -(start[1] + _CLOCK_S):
            return Reading.unavailable(
                self.component,
                self.backend,
                "CPU time of child processes was lost: they ended without being waited for.",
                seconds=seconds,
                device=self.device,
            )
        return self.reading(own_s + max(children_s, 0.0), seconds, early_s=start[1], late_s=stop[1])

    def reading(
        self, cpu_s: float, seconds: float, *, early_s: float = 0.0, late_s: float = 0.0, notes: tuple[str, ...] = ()
    ) -> Reading:
        """The energy of ``cpu_s`` CPU seconds in a window of ``seconds``.

        Args:
            cpu_s: CPU seconds counted.
            seconds: length of the window.
            early_s: how many of them may have been spent before the window.
            late_s: how many may not have been counted yet.
            notes: further sentences on the figure.
        """
        low_w, mid_w, high_w = self.watts_per_core
        basis = f"{cpu_s:.3f} CPU seconds x {low_w:g}-{mid_w:g}-{high_w:g} W per core: proportional to CPU time."
        return Reading(
            component=self.component,
            backend=self.backend,
            kind=self.kind,
            energy_j=cpu_s * mid_w,
            low_j=max(cpu_s - early_s - _CLOCK_S, 0.0) * low_w,
            high_j=(cpu_s + late_s + _CLOCK_S) * high_w,
            seconds=seconds,
            idle_power_w=None,
            device=self.device,
            uuid=None,
            notes=(basis, *notes),
        )


def descendants_cpu_seconds(pid: int, proc: Path = Path("/proc")) -> dict[int, float]:
    """CPU seconds of each live descendant of a process by its id, with the children that it waited for.

    Reads the parent, utime, stime, cutime and cstime of every process (``man 5 proc_pid_stat``).
    Empty where there is no such file system.
    """
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    children: dict[int, list[tuple[int, float]]] = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            # The command in parentheses may hold spaces and parentheses; all else is numbers.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            times = sum(int(ticks) for ticks in fields[11:15])
            children.setdefault(int(fields[1]), []).append((int(path.parent.name), times * tick_s))
        except (OSError, ValueError, IndexError):
            continue  # the process ended meanwhile
    found: dict[int, float] = {}
    waiting = [pid]
    while waiting:
        for child, seconds in children.pop(waiting.pop(), ()):
            found[child] = seconds
            waiting.append(child)
    return found


def process_cpu_seconds(proc: Path = Path("/proc")) -> float:
    """CPU seconds of this process and its descendants so far."""
    live_s = sum(descendants_cpu_seconds(os.getpid(), proc).values())
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime + live_s


def busy_cpu_seconds(proc: Path = Path("/proc")) -> float | None:
    """CPU seconds that the machine's cores were busy since it started; None where the system does not tell.

    The first line of ``/proc/stat``: user, nice, system, irq and softirq (guests are part of user).
    """
    try:
        ticks = [int(value) for value in (proc / "stat").read_text().split("\n", 1)[0].split()[1:8]]
        return (sum(ticks[:3]) + sum(ticks[5:7])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def cpu_model(proc: Path = Path("/proc")) -> str:
    """Name of the processor, or of the architecture where the system does not tell."""
    try:
        for line in (proc / "cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
