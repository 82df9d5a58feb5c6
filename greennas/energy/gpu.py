"""GPU energy: the energy counter where it ticks, else power sampled by a thread and integrated.

Energy counters of GPUs are updated every 20-100 ms only. A window here begins on an update and is followed past its
end to the next one. Energy never decreases, so the two values around the end bound the truth without any assumption,
and the estimate interpolates between them.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from greennas.energy.cpu_time import descendants_cpu_seconds
from greennas.energy.nvml import Gpu, Nvml, load_nvml
from greennas.energy.reading import Kind, Reading
from greennas.energy.visible import Target, find_target, visible_targets
from greennas.errors import MeterError

POLL_S = 1e-3
"""Seconds between looks at a counter while waiting for its next update."""
LONGEST_TICK_S = 0.25
"""A counter that does not move for this long is taken not to work."""
_STEP_J = 1e-3  # the counter counts millijoules
SAMPLE_S = 0.05
"""Seconds between samples of the power."""


class NoGpuCounter:
    """A GPU whose energy cannot be read: every reading is unavailable and says why."""

    component = "gpu"
    backend = "none"
    kind = Kind.UNAVAILABLE
    resolution = "nothing"
    tick_s: float | None = None

    def __init__(self, device: str, reason: str, uuid: str | None = None) -> None:
        self.device = device
        self.uuid = uuid
        self.reason = reason

    def begin(self) -> Callable[[], Reading]:
        """Start a window; what is returned ends it and gives an unavailable reading."""
        started_s = time.perf_counter()
        return lambda: Reading.unavailable(
            self.component,
            self.backend,
            self.reason,
            seconds=time.perf_counter() - started_s,
            device=self.device,
            uuid=self.uuid,
        )

    def close(self) -> None:
        """Nothing is held."""


class _GpuCounter:
    """What both ways of metering a GPU share: its identity and what else runs on it."""

    component = "gpu"
    kind = Kind.UNAVAILABLE
    backend = ""

    def __init__(self, nvml: Nvml, target: Target, *, proc: Path = Path("/proc")) -> None:
        self._nvml = nvml
        self._target = target
        self._proc = proc
        self.gpu: Gpu = target.gpu
        self.device = target.gpu.name
        self.uuid: str | None = target.gpu.uuid

    def close(self) -> None:
        """Nothing is held."""

    def _failed(self, reason: str, seconds: float) -> Reading:
        return Reading.unavailable(
            self.component, self.backend, reason, seconds=seconds, device=self.device, uuid=self.uuid
        )

    def _notes(self, others_before: str) -> tuple[tuple[str, ...], bool]:
        """What is to be said about sharing, and whether something else was seen on the GPU."""
        others = others_before or foreign_processes(self._nvml, self.gpu, self._proc)
        notes = [others] if others else []
        if mig := self._target.mig:
            count = len(self.gpu.mig)
            notes.append(
                f"The counter belongs to the whole GPU, of which this process sees instance {mig.uuid}, "
                f"one of {max(count, 1)}: the energy of idle parts and of other instances is included."
            )
        return tuple(notes), bool(others)

    def _reading(
        self, energy_j: float, bounds_j: tuple[float, float], seconds: float, others: str, more: tuple[str, ...] = ()
    ) -> Reading:
        """What a window gave; ``others`` ran on the device when it began."""
        notes, shared = self._notes(others)
        return Reading(
            component=self.component,
            backend=self.backend,
            kind=self.kind,
            energy_j=energy_j,
            low_j=max(bounds_j[0], 0.0),
            high_j=bounds_j[1],
            seconds=seconds,
            idle_power_w=None,
            device=self.device,
            uuid=self.uuid,
            notes=notes + more,
            shared=shared,
        )

    def _others(self) -> str:
        return foreign_processes(self._nvml, self.gpu, self._proc)


class GpuEnergyCounter(_GpuCounter):
    """Differences of NVML's total energy counter, kind ``measured``.

    Args:
        nvml: the library.
        target: the device.
        proc: root of the process file system, to tell own processes from others.

    Raises:
        MeterError: there is no such counter, or it does not move.
    """

    kind = Kind.MEASURED
    backend = "nvml.total_energy"

    def __init__(self, nvml: Nvml, target: Target, *, proc: Path = Path("/proc")) -> None:
        super().__init__(nvml, target, proc=proc)
        # Only its limit bounds an unsteady power between two looks at the counter.
        self._limit_w = nvml.power_limit_w(target.gpu) or 0.0
        self.tick_s = LONGEST_TICK_S
        self.tick_s = self._measure_tick()

    @property
    def resolution(self) -> str:
        """What one reading can resolve, in words."""
        return f"1 mJ, updated every {self.tick_s * 1e3:.0f} ms; windows begin on an update"

    def begin(self) -> Callable[[], Reading]:
        """Wait for the counter's next update and start a window; what is returned ends it and gives the reading.

        Raises:
            MeterError: the counter cannot be read any more.
        """
        others = self._others()
        ticked, start_j, start_age_s = self._next_tick()
        started_s = time.perf_counter() if ticked is None else ticked

        def end() -> Reading:
            last_j, ended_s = self._value_and_time()
            seconds = ended_s - started_s
            if last_j < start_j:
                return self._failed("The GPU's energy counter was reset during the window.", seconds)
            next_s, next_j, _ = self._next_tick(last_j)
            if ticked is None or next_s is None:  # how long it had stood still before, nobody knows
                edge = "start" if ticked is None else "end"
                reason = f"The GPU's energy counter stood still for {LONGEST_TICK_S:g} s at the {edge} of the window."
                return self._failed(reason, seconds)
            peak_w = max(self._limit_w, (last_j - start_j) / seconds if seconds > 0 else 0.0)
            share = min(max(1 - (next_s - ended_s) / self.tick_s, 0.0), 1.0)
            estimate_j = last_j + (next_j - last_j) * share
            low_j, high_j = last_j - start_j - peak_w * start_age_s - _STEP_J, next_j - start_j + _STEP_J
            return self._reading(estimate_j - start_j, (low_j, high_j), seconds, others)

        return end

    def _value_and_time(self) -> tuple[float, float]:
        """The counter's value in joules and a moment at which it surely had it: no update lies in between."""
        before_j = self._nvml.energy_j(self.gpu)
        while True:
            now_s = time.perf_counter()
            after_j = self._nvml.energy_j(self.gpu)
            if after_j == before_j:
                return before_j, now_s
            before_j = after_j

    def _next_tick(self, value_j: float | None = None) -> tuple[float | None, float, float]:
        """Wait until the counter changes from a value (by default its present one), as long as the longest tick.

        Returns:
            When it was seen to (None if it was not), its value in joules then, and its greatest age in seconds.
        """
        looked_s = time.perf_counter()
        before_j = self._nvml.energy_j(self.gpu) if value_j is None else value_j
        asked_s = time.perf_counter()
        while True:
            look_s = time.perf_counter()
            after_j = self._nvml.energy_j(self.gpu)
            now_s = time.perf_counter()
            if after_j != before_j:
                return now_s, after_j, now_s - looked_s
            if look_s - asked_s > LONGEST_TICK_S:  # by the time before the look: a late answer is no standstill
                return None, before_j, now_s - looked_s
            looked_s = look_s
            time.sleep(POLL_S)

    def _measure_tick(self, updates: int = 3) -> float:
        """The longest of some intervals between updates, in seconds."""
        times_s = []
        for _ in range(updates):
            ticked_s, _, _ = self._next_tick()
            if ticked_s is None:
                raise MeterError(f"The energy counter of {self.device} does not move; its power is sampled instead.")
            times_s.append(ticked_s)
        return max(later - earlier for earlier, later in itertools.pairwise(times_s))


class GpuPowerSampler(_GpuCounter):
    """Power sampled by a thread and integrated by the trapezoidal rule, kind ``sampled``.

    The bounds are the sums of the smaller and of the larger of neighbouring samples, widened by the sensor's delay
    times the largest power: a mean over the last second shifts up to half a second of power over either edge.

    Args:
        nvml: the library.
        target: the device.
        instant: whether to read the power at this moment (field 186) or its mean.
        sample_s: seconds between samples.
        proc: root of the process file system, to tell own processes from others.

    Raises:
        MeterError: the power cannot be read.
    """

    kind = Kind.SAMPLED

    def __init__(
        self, nvml: Nvml, target: Target, *, instant: bool, sample_s: float = SAMPLE_S, proc: Path = Path("/proc")
    ) -> None:
        super().__init__(nvml, target, proc=proc)
        self.backend = "nvml.power_instant" if instant else "nvml.power_average"
        self._delay_s = 0.1 if instant else 0.5
        self._sample_s = self.tick_s = sample_s
        self._power_w = nvml.power_instant_w if instant else nvml.power_average_w
        if self._power_w(self.gpu) <= 0:
            raise MeterError(f"The power of {self.device} reads 0 W; its sensor does not work.")

    @property
    def resolution(self) -> str:
        """What one reading can resolve, in words."""
        return f"power every {self._sample_s * 1e3:.0f} ms, {self._delay_s * 1e3:.0f} ms of it at the edges uncertain"

    def begin(self) -> Callable[[], Reading]:
        """Start a window and its thread; what is returned ends both and gives the reading.

        Raises:
            MeterError: the power cannot be read any more.
        """
        others = self._others()
        integral = _Integral(lambda: self._power_w(self.gpu))
        started_s = time.perf_counter()
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(self._sample_s):
                integral.add()

        thread = threading.Thread(target=sample, name="gpu-power", daemon=True)
        thread.start()

        def end() -> Reading:
            stop.set()
            thread.join()
            integral.add()
            seconds = time.perf_counter() - started_s
            if integral.error is not None:
                return self._failed(f"The GPU's power could not be read: {integral.error}", seconds)
            delay_j = self._delay_s * integral.peak_w
            bounds_j = integral.low_j - delay_j, integral.high_j + delay_j
            gap_s = integral.longest_gap_s
            late = (f"Up to {gap_s:.1f} s passed between samples of the power.",) if gap_s > 10 * self._sample_s else ()
            return self._reading(integral.energy_j, bounds_j, seconds, others, late)

        return end


class _Integral:
    """Running integral of a power, with its lower and upper sums."""

    def __init__(self, power_w: Callable[[], float]) -> None:
        self._read_w = power_w
        self._last_w = self.peak_w = power_w()
        self._last_s = time.perf_counter()
        self.energy_j = self.low_j = self.high_j = self.longest_gap_s = 0.0
        self.error: MeterError | None = None

    def add(self) -> None:
        """Read the power and add what was drawn since the last time; an error stays in ``error``."""
        try:
            now_w = self._read_w()
        except MeterError as error:
            self.error = error
            return
        now_s = time.perf_counter()
        step_s = now_s - self._last_s
        self.energy_j += step_s * (self._last_w + now_w) / 2
        self.low_j += step_s * min(self._last_w, now_w)
        self.high_j += step_s * max(self._last_w, now_w)
        self.peak_w = max(self.peak_w, now_w)
        self.longest_gap_s = max(self.longest_gap_s, step_s)
        self._last_w, self._last_s = now_w, now_s


GpuCounter = GpuEnergyCounter | GpuPowerSampler | NoGpuCounter


def best_counter(nvml: Nvml, target: Target, *, proc: Path = Path("/proc")) -> GpuCounter:
    """The best way to meter a GPU, found by trying: energy counter, instantaneous power, mean power, none."""
    reasons = []
    try:
        return GpuEnergyCounter(nvml, target, proc=proc)
    except MeterError as error:
        reasons.append(str(error))
    for instant in (True, False):
        try:
            return GpuPowerSampler(nvml, target, instant=instant, proc=proc)
        except MeterError as error:
            reasons.append(str(error))
    return NoGpuCounter(target.gpu.name, " ".join(reasons), target.gpu.uuid)


def open_gpu(index: int | None) -> GpuCounter:
    """The counter of the GPU that CUDA numbers ``index`` in this process; None is the current device.

    Raises:
        MeterError: there are GPUs, but CUDA does not see this one or its number is ambiguous.
    """
    torch = sys.modules.get("torch")
    running = torch is not None and torch.cuda.is_initialized()
    if index is None:
        index = torch.cuda.current_device() if torch is not None and running else 0
    nvml, reason = load_nvml()
    gpus = nvml.gpus() if nvml else []
    if nvml is None or not gpus:
        return NoGpuCounter(f"cuda:{index}", reason or "The NVIDIA driver knows of no GPU; see `nvidia-smi -L`.")
    # Before CUDA runs, the environment tells which device it will be; only an order by speed has to be asked for.
    ask_cuda = running or visible_targets(gpus, os.environ) is None
    return best_counter(nvml, find_target(index, gpus, os.environ, cuda_uuid(index) if ask_cuda else None))


def cuda_uuid(index: int) -> str | None:
    """UUID that CUDA gives for its device ``index``; None where torch does not know it. Initialises CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", "")) or None


def foreign_processes(nvml: Nvml, gpu: Gpu, proc: Path = Path("/proc")) -> str:
    """A sentence about other processes that compute on the GPU; empty if none is seen.

    In a container the ids may be those of another namespace: then one of them is this process, if it uses CUDA.
    """
    seen = nvml.processes(gpu)
    own = {os.getpid(), *descendants_cpu_seconds(os.getpid(), proc)}
    others = seen - own
    count = len(others)
    torch = sys.modules.get("torch")
    if others and not seen & own and torch is not None and torch.cuda.is_initialized():
        count -= 1
        names = "ids of another namespace"
    else:
        names = ", ".join(map(str, sorted(others)[:5]))
    if count <= 0:
        return ""
    return f"{count} other process{'es' if count > 1 else ''} ({names}) ran on this GPU: their energy is included."
