"""Meters: what was drawn between two moments, by each component, from the best counter that this machine has."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from greennas.energy.cpu_time import DEFAULT_WATTS_PER_CORE, CpuTime
from greennas.energy.gpu import NoGpuCounter, open_gpu
from greennas.energy.rapl import open_rapl
from greennas.energy.reading import Kind, Reading
from greennas.errors import MeterError

if TYPE_CHECKING:
    import torch

    from greennas.energy.benchmark import Benchmark


class Counter(Protocol):
    """One source of energy figures for one component; windows may overlap."""

    @property
    def component(self) -> str:
        """The component: "gpu", "cpu" or "dram"."""

    @property
    def backend(self) -> str:
        """Name of the source."""

    @property
    def kind(self) -> Kind:
        """Kind of its readings."""

    @property
    def device(self) -> str:
        """Name of the device."""

    @property
    def uuid(self) -> str | None:
        """Unique id of the device."""

    @property
    def resolution(self) -> str:
        """What a reading can resolve, in words."""

    @property
    def tick_s(self) -> float | None:
        """Seconds between updates of what is read; None where nothing can be."""

    def begin(self) -> Callable[[], Reading]:
        """Start a window; what is returned ends it and gives the reading."""

    def close(self) -> None:
        """Release what is held."""


@dataclass
class Window:
    """A metered stretch of time; filled in when its ``with`` block ends.

    Attributes:
        readings: one for each component.
        seconds: length of the window in seconds.
    """

    readings: tuple[Reading, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Source:
    """What a meter reads one component from."""

    component: str
    backend: str
    kind: Kind
    device: str
    uuid: str | None
    resolution: str
    tick_s: float | None


@dataclass
class Meter:
    """Reads all of its counters over the same window.

    Attributes:
        counters: one for each component, the primary one first.
        synchronize: waits for work that was handed to a device and is not done yet.
        idle_power_w: watts of the idle components, as ``measure_idle`` found them.
    """

    counters: Sequence[Counter]
    synchronize: Callable[[], None] = field(default=lambda: None)
    idle_power_w: dict[str, float] = field(default_factory=dict)

    def measure_idle(self, seconds: float = 2.0) -> dict[str, float]:
        """Meter this process asleep, and give later readings the power found as ``idle_power_w``.

        Modelled energy holds no idle power: such components have no entry.

        Args:
            seconds: length of the window; a GPU needs about two for 1-2%.

        Returns:
            Watts by component, all that runs on the device beside this process included.
        """
        with self.window() as window:
            time.sleep(seconds)
        self.idle_power_w = {
            reading.component: reading.power_w
            for reading in window.readings
            if reading.power_w is not None and reading.kind is not Kind.MODELLED
        }
        return dict(self.idle_power_w)

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Meter a ``with`` block; its readings are there afterwards, also when the block raised.

        A counter that fails gives an unavailable reading; it never ends the work that it meters.
        """
        window = Window()
        self.synchronize()
        ends = [_guarded_begin(counter) for counter in self.counters]
        started_s = time.perf_counter()
        try:
            yield window
        finally:
            failure = ""
            try:
                self.synchronize()
            except Exception as error:  # the block's own exception, if any, still goes on after this
                failure = f"The device could not be synchronized at the end of the window: {error}"
            window.seconds = time.perf_counter() - started_s
            # The last one begun ends first, so that waiting for a counter of the first is in no other window.
            readings = [end() for end in reversed(ends)][::-1]
            window.readings = tuple(
                replace(
                    reading,
                    idle_power_w=self.idle_power_w.get(reading.component),
                    notes=(*reading.notes, failure) if failure else reading.notes,
                )
                for reading in readings
            )

    def describe(self) -> list[Source]:
        """The source of each component."""
        return [Source(c.component, c.backend, c.kind, c.device, c.uuid, c.resolution, c.tick_s) for c in self.counters]

    def benchmark(
        self, functions: Mapping[str, Callable[[], object]] | Callable[[], object], **settings: Any
    ) -> dict[str, Benchmark]:
        """What one call of a function costs, with a confidence interval; several are metered in turns.

        Args:
            functions: one function, or several by name.
            settings: as for ``greennas.energy.benchmark.benchmark``: window_s, repeats, warmup_s, idle_s, confidence.

        Returns:
            Results by name; a function that came without one has its own (``__name__``).

        Raises:
            ConfigError: settings that cannot be measured with.
        """
        from greennas.energy.benchmark import benchmark

        named = functions if isinstance(functions, Mapping) else {_name(functions): functions}
        return benchmark(named, self, **settings)

    def close(self) -> None:
        """Release the counters."""
        for counter in self.counters:
            counter.close()


def open_meter(
    device: torch.device | str = "cpu",
    *,
    exclusive: bool = True,
    watts_per_core: tuple[float, float, float] | None = None,
    children: bool = True,
    backend: Literal["auto", "zeus"] = "auto",
) -> Meter:
    """The best meter of this machine for work on a device.

    Args:
        device: where the work runs, as torch names it ("cpu", "cuda", "cuda:1", "mps").
        exclusive: False says that other trainings run on this machine at the same time: counters of the whole
            machine (RAPL) then cannot be attributed, and the CPU's energy is modelled from CPU time.
        watts_per_core: low, mid and high watts of one busy core for modelled energy; see ``cpu_time``.
        children: False leaves the CPU time of child processes out of modelled energy, for a process whose
            children are metered on their own.
        backend: "zeus" reads the GPU or chip through Zeus (see ``greennas.energy.zeus``) whatever it is; "auto" does so
            only for Apple, Jetson and AMD.

    Raises:
        MeterError: no such device on this machine.
        ConfigError: the watts are not 0 < low <= mid <= high.
    """
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", str(device))
    kind, index = (match[1], int(match[2]) if match[2] else None) if match else ("", None)
    counters: list[Counter] = []
    if kind == "mps":
        counters += _zeus_soc(str(device), exclusive)
    elif kind == "cuda":
        counters += _gpu(index, exclusive, backend)
    elif kind in ("xpu", "hpu", "mtia"):
        counters.append(NoGpuCounter(str(device), f"There is no energy counter for {kind} devices here."))
    elif kind != "cpu":
        raise MeterError(f"There is no device {str(device)!r} to meter; use cpu, cuda or cuda:N.")
    if all(counter.component != "cpu" for counter in counters):
        rapl = open_rapl() if exclusive else []
        counters += rapl or [CpuTime(watts_per_core or DEFAULT_WATTS_PER_CORE, children=children)]
    return Meter(counters, partial(_synchronize, str(device)) if kind in ("cuda", "mps") else _nothing)


def metered_device(device: str) -> str:
    """Name of the GPU or processor whose energy trainings on ``device`` are compared by; no work is put on it.

    Raises:
        MeterError: no such device on this machine.
    """
    meter = open_meter(device)
    try:
        names = {source.component: source.device for source in meter.describe()}
    finally:
        meter.close()
    return names.get("gpu") or names["cpu"]


def _gpu(index: int | None, exclusive: bool, backend: str) -> list[Counter]:
    """The counter of a CUDA (or ROCm) device; on a Jetson those of its chip."""
    from greennas.energy import zeus

    version = getattr(sys.modules.get("torch"), "version", None)
    if backend == "zeus" or getattr(version, "hip", None):  # PyTorch for AMD calls its devices cuda, too
        return [zeus.open_zeus_gpu(index)]
    if zeus.needs_zeus() == "a Jetson":  # its driver has NVML without energy
        return _zeus_soc(f"cuda:{index or 0}", exclusive)
    return [open_gpu(index)]


def _zeus_soc(device: str, exclusive: bool) -> list[Counter]:
    from greennas.energy.zeus import open_zeus_soc

    return [*open_zeus_soc(device, exclusive=exclusive)]


def _name(function: Callable[[], object]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _nothing() -> None:
    """A CPU has nothing to wait for."""


def _synchronize(device: str) -> None:
    """Wait for what was launched on a GPU, if torch runs on one."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if device.startswith("mps"):
        if torch.backends.mps.is_available():
            torch.mps.synchronize()
    elif torch.cuda.is_initialized():
        torch.cuda.synchronize(device)


def _guarded_begin(counter: Counter) -> Callable[[], Reading]:
    """Begin a window whose end never raises."""
    started_s = time.perf_counter()

    def failed(error: Exception) -> Reading:
        return Reading.unavailable(
            counter.component,
            counter.backend,
            f"The counter could not be read: {error}",
            seconds=time.perf_counter() - started_s,
            device=counter.device,
            uuid=counter.uuid,
        )

    try:
        end = counter.begin()
    except Exception as error:
        begin_error = error
        return lambda: failed(begin_error)

    def guarded_end() -> Reading:
        try:
            return end()
        except Exception as error:
            return failed(error)

    return guarded_end
