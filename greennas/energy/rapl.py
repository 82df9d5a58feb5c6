"""CPU and memory energy from RAPL counters in ``/sys/class/powercap`` (Linux; Intel, and AMD since kernel 5.8).

Zones lie inside each other: psys (the whole platform) holds the packages, a package holds its cores and graphics.
So only package zones are summed, over all sockets; their memory (dram) zones are a component of their own.
See https://docs.kernel.org/power/powercap/powercap.html.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from greennas.energy.cpu_time import busy_cpu_seconds, cpu_model, process_cpu_seconds
from greennas.energy.reading import Kind, Reading

POWERCAP = Path("/sys/class/powercap")
MAX_ZONE_POWER_W = 2000.0
"""More than one zone can draw: a larger step of its counter is a reset, not a wrap-around."""
BACKGROUND_SHARE = 0.05
"""Share of the machine's busy CPU time that others may have before it is said."""
_TICK_S = 1e-3  # the counters are updated about every millisecond (Intel SDM vol. 3B, 15.10)


@dataclass(frozen=True)
class Zone:
    """One RAPL zone.

    Attributes:
        path: its folder.
        name: "package-0", "dram", "psys", ...; "" where it cannot be read.
        parent: name of the folder of the zone that it lies in, or None.
        range_uj: value at which the counter wraps to 0, in microjoules; None where it cannot be read.
        error: why the counter cannot be read, or None.
    """

    path: Path
    name: str
    parent: str | None
    range_uj: int | None
    error: OSError | ValueError | None

    @property
    def is_package(self) -> bool:
        """Whether this is a whole socket (or die); one without a name may be."""
        return self.parent is None and (not self.name or self.name.startswith("package"))

    def read_uj(self) -> int:
        """The counter in microjoules. Raises OSError or ValueError where it cannot be read."""
        return int((self.path / "energy_uj").read_text())


def zones(root: Path = POWERCAP) -> list[Zone]:
    """All RAPL zones of this machine, readable or not; none where the kernel offers none."""
    found = []
    # "intel-rapl-mmio" shows the same packages a second time and is left out here.
    for path in sorted(root.glob("intel-rapl*")):
        if not (address := re.fullmatch(r"(intel-rapl:\d+)(:\d+)?", path.name)):
            continue
        name, range_uj, error = "", None, None
        try:
            name = (path / "name").read_text().strip()
            range_uj = int((path / "max_energy_range_uj").read_text())
            int((path / "energy_uj").read_text())
        except (OSError, ValueError) as problem:
            error = problem
        found.append(Zone(path, name, address[1] if address[2] else None, range_uj, error))
    return found


def counter_difference_uj(before_uj: int, after_uj: int, range_uj: int) -> int:
    """Microjoules between two values of a counter that wraps to 0 after ``range_uj``, at most once in between."""
    return (after_uj - before_uj) % (range_uj + 1)


class RaplCounter:
    """Sum of RAPL zones of one component, with wrap-arounds followed by a thread while a window is open.

    Args:
        component: "cpu" or "dram".
        members: the readable zones to sum.
        poll_s: seconds between looks at the counters; by default half of the time in which the fastest could wrap.
        proc: root of the process file system, for other processes' CPU time.
    """

    backend = "rapl"
    kind = Kind.MEASURED
    uuid: str | None = None
    tick_s = _TICK_S

    def __init__(
        self, component: str, members: Sequence[Zone], *, poll_s: float | None = None, proc: Path = Path("/proc")
    ) -> None:
        self.component = component
        self.device = cpu_model(proc)
        self._zones = [(zone, zone.range_uj) for zone in members if zone.range_uj is not None]
        shortest_s = min(range_uj for _, range_uj in self._zones) * 1e-6 / MAX_ZONE_POWER_W
        self._poll_s = poll_s if poll_s is not None else min(shortest_s / 2, 60.0)
        self._proc = proc
        self._lock = threading.Lock()
        self._values_uj = [0] * len(self._zones)
        self._read_s = 0.0
        self._total_uj = 0
        self._faults: list[str] = []
        self._open_windows = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def resolution(self) -> str:
        """What one reading can resolve, in words."""
        return f"{_TICK_S * 1e3:g} ms of power on either side; sum of {', '.join(zone.name for zone, _ in self._zones)}"

    def begin(self) -> Callable[[], Reading]:
        """Start a window; what is returned ends it and gives the reading.

        Raises:
            OSError: a counter cannot be read any more.
        """
        busy_s, own_s = busy_cpu_seconds(self._proc), process_cpu_seconds()
        with self._lock:
            self._update()  # what was gained since the last window is in no window
            self._open_windows += 1
            total_uj, faults, started_s = self._total_uj, len(self._faults), self._read_s
            self._follow()

        def end() -> Reading:
            with self._lock:
                try:
                    self._update()
                finally:
                    self._open_windows -= 1
                    if self._open_windows == 0:
                        self._wake.set()
                difference_uj, problems = self._total_uj - total_uj, self._faults[faults:]
                seconds = self._read_s - started_s
            background = _background(busy_s, own_s, busy_cpu_seconds(self._proc), process_cpu_seconds())
            return self._reading(difference_uj * 1e-6, seconds, problems, background)

        return end

    def close(self) -> None:
        """Stop following the counters."""
        self._wake.set()

    def _update(self) -> None:
        """Add what the counters gained since the last look."""
        values_uj = [zone.read_uj() for zone, _ in self._zones]
        now_s = time.perf_counter()
        plausible_uj = MAX_ZONE_POWER_W * 1e6 * (now_s - self._read_s + 10 * _TICK_S)
        for (_, range_uj), before_uj, after_uj in zip(self._zones, self._values_uj, values_uj, strict=True):
            gained_uj = counter_difference_uj(before_uj, after_uj, range_uj)
            if gained_uj > plausible_uj:
                self._faults.append("was reset during the window")
            else:
                self._total_uj += gained_uj
        self._values_uj, self._read_s = values_uj, now_s

    def _follow(self) -> None:
        """Have a thread look at the counters as long as a window is open."""
        if self._thread is not None and self._thread.is_alive() and not self._wake.is_set():
            return
        self._wake = wake = threading.Event()

        def follow() -> None:
            while not wake.wait(self._poll_s):
                with self._lock:
                    try:
                        self._update()
                    except (OSError, ValueError):  # it may have wrapped before it answers again
                        self._faults.append("could not be read for a part of the window")

        self._thread = threading.Thread(target=follow, name="rapl-follow", daemon=True)
        self._thread.start()

    def _reading(self, energy_j: float, seconds: float, problems: Sequence[str], background: str) -> Reading:
        if energy_j == 0 and seconds > 100 * _TICK_S:
            problems = [*problems, f"did not move in {seconds:.1f} s"]
        if problems:
            reason = f"The RAPL counter {problems[0]}."
            return Reading.unavailable(self.component, self.backend, reason, seconds=seconds, device=self.device)
        power_w = energy_j / seconds if seconds > 0 else MAX_ZONE_POWER_W
        tick_j = power_w * _TICK_S + 1e-6 * len(self._zones)
        return Reading(
            component=self.component,
            backend=self.backend,
            kind=self.kind,
            energy_j=energy_j,
            low_j=max(energy_j - tick_j, 0.0),
            high_j=energy_j + tick_j,
            seconds=seconds,
            idle_power_w=None,
            device=self.device,
            uuid=None,
            notes=(
                f"Whole machine: sum of {', '.join(zone.name for zone, _ in self._zones)}.",
                *filter(None, [background]),
            ),
            shared=bool(background),
        )


def open_rapl(root: Path = POWERCAP, proc: Path = Path("/proc")) -> list[RaplCounter]:
    """A counter for "cpu" and, where every package has a memory zone, one for "dram".

    None where any package cannot be read: a part of the sockets is not the CPU's energy.
    """
    found = zones(root)
    packages = [zone for zone in found if zone.is_package]
    if not packages or any(zone.error for zone in packages):
        return []
    counters = [RaplCounter("cpu", packages, proc=proc)]
    drams = [zone for zone in found if zone.name == "dram" and not zone.error]
    if {zone.parent for zone in drams} == {zone.path.name for zone in packages}:
        counters.append(RaplCounter("dram", drams, proc=proc))
    return counters


def _background(busy_s: float | None, own_s: float, later_busy_s: float | None, later_own_s: float) -> str:
    """A sentence about what other processes computed in the window; empty if that was little or is not known."""
    if busy_s is None or later_busy_s is None:
        return ""
    machine_s, mine_s = later_busy_s - busy_s, later_own_s - own_s
    others_s = machine_s - mine_s
    # The machine's busy time counts in ticks of 10 ms on each core.
    if others_s < 0.1 or others_s < BACKGROUND_SHARE * machine_s:
        return ""
    return f"Other processes used {others_s:.1f} of the machine's {machine_s:.1f} busy CPU seconds."
