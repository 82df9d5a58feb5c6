"""Apple, Jetson and AMD through Zeus (https://ml.energy/zeus), which is optional and loaded only where it is needed.

Checked against zeus 0.16: ``zeus.device.get_gpus`` (AMD, and NVIDIA on request) with energy and power in mJ and mW;
``zeus.device.get_soc`` (Apple, Jetson) with cumulative energy in mJ, where what cannot be read is None.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greennas.energy.gpu import GpuCounter, NoGpuCounter, best_counter
from greennas.energy.nvml import Gpu, Nvml
from greennas.energy.reading import Kind, Reading
from greennas.energy.visible import Target
from greennas.errors import MeterError

INSTALL = 'pip install "greennas[zeus]"'
_SOC_FIELDS = {
    "gpu": ("gpu_mj", "gpu_energy_mj"),
    "cpu": ("cpu_total_mj", "cpu_energy_mj"),
    "dram": ("dram_mj",),
}
_SOC_DELAY_S = 0.1
"""Seconds by which a chip's figures may lag behind: taken as uncertain at either end of a window."""
_STEP_J = 1e-3


def needs_zeus(dev: Path = Path("/dev"), etc: Path = Path("/etc")) -> str:
    """What this machine has that only Zeus reads: "Apple silicon", "a Jetson", "an AMD GPU"; empty for none."""
    if sys.platform == "darwin":
        return "Apple silicon"
    if (etc / "nv_tegra_release").exists():
        return "a Jetson"
    return "an AMD GPU" if (dev / "kfd").exists() else ""


def load_zeus() -> Any:
    """The module ``zeus.device``.

    Raises:
        MeterError: it is not installed, another package has its name, or it cannot be loaded beside what is installed.
    """
    try:
        module = importlib.import_module("zeus.device")
    except ImportError as error:
        raise MeterError(f"The package zeus is needed to read this device ({error}); run {INSTALL}.") from error
    except Exception as error:  # its own imports break in many ways beside other packages
        raise MeterError(f"The package zeus cannot be loaded here ({error!r}); run {INSTALL} afresh.") from error
    if not (hasattr(module, "get_gpus") and hasattr(module, "get_soc")):
        raise MeterError(f"Another package has the name zeus, or it is older than 0.16; run {INSTALL}.")
    return module


def open_zeus_gpu(index: int | None) -> GpuCounter:
    """The counter of a GPU, numbered as PyTorch numbers it; unavailable, with the reason, where there is none."""
    number = index or 0
    try:
        gpus = _ZeusGpus(load_zeus())
        counter = best_counter(gpus, Target(gpus.gpu(number)))
    except MeterError as error:
        return NoGpuCounter(f"cuda:{number}", str(error))
    counter.backend = counter.backend.replace("nvml.", "zeus.")
    return counter


def open_zeus_soc(device: str, *, exclusive: bool) -> list[NoGpuCounter | SocCounter]:
    """Counters of a system on a chip: its GPU first, then CPU and memory; the GPU is unavailable where it has none.

    Args:
        device: as torch names it, for the record.
        exclusive: whether the chip's CPU and memory count for this process alone; they are left out otherwise.
    """
    try:
        zeus = load_zeus()
        try:
            soc = zeus.get_soc()
            has = soc.get_total_energy_consumption()
        except Exception as error:
            raise MeterError(f"Zeus finds no chip that it can read: {error}") from error
    except MeterError as error:
        return [NoGpuCounter(device, str(error))]
    found: list[NoGpuCounter | SocCounter] = []
    for component in ("gpu", "cpu", "dram") if exclusive else ("gpu",):
        if (field := _field(has, component)) is not None:
            found.append(SocCounter(component, field, soc))
        elif component == "gpu":
            found.append(NoGpuCounter(device, f"Zeus reads no energy of the GPU of this {type(soc).__name__}."))
    return found


class SocCounter:
    """One part of a system on a chip: differences of a cumulative energy.

    Args:
        component: "gpu", "cpu" or "dram".
        field: name of the energy in Zeus's measurement, in millijoules.
        soc: Zeus's chip.
    """

    uuid: str | None = None
    tick_s = _SOC_DELAY_S

    def __init__(self, component: str, field: str, soc: Any) -> None:
        self.component = component
        self.device = type(soc).__name__
        self.backend = f"zeus.{field}"
        # On a Jetson Zeus integrates power readings; Apple's chips count energy.
        self.kind = Kind.SAMPLED if self.device == "Jetson" else Kind.MEASURED
        self._field = field
        self._soc = soc

    @property
    def resolution(self) -> str:
        """What one reading can resolve, in words."""
        return f"1 mJ, {_SOC_DELAY_S * 1e3:.0f} ms of power uncertain at either end"

    def begin(self) -> Callable[[], Reading]:
        """Start a window; what is returned ends it and gives the reading."""
        start_j = self._joules()
        started_s = time.perf_counter()

        def end() -> Reading:
            energy_j = self._joules() - start_j
            seconds = time.perf_counter() - started_s
            if energy_j < 0:
                return Reading.unavailable(
                    self.component,
                    self.backend,
                    "The chip's energy counter was reset during the window.",
                    seconds=seconds,
                    device=self.device,
                )
            edge_j = 2 * _SOC_DELAY_S * energy_j / seconds + _STEP_J if seconds > 0 else energy_j + _STEP_J
            return Reading(
                component=self.component,
                backend=self.backend,
                kind=self.kind,
                energy_j=energy_j,
                low_j=max(energy_j - edge_j, 0.0),
                high_j=energy_j + edge_j,
                seconds=seconds,
                idle_power_w=None,
                device=self.device,
                uuid=None,
                notes=("Whole chip part, whatever runs on it; read through Zeus.",),
            )

        return end

    def close(self) -> None:
        """Nothing is held."""

    def _joules(self) -> float:
        value = getattr(self._soc.get_total_energy_consumption(), self._field)
        if value is None:
            raise MeterError(f"Zeus does not read {self._field} of this {self.device} any more.")
        return float(value) / 1e3


class _ZeusGpus(Nvml):
    """Zeus's GPUs with the part of NVML's face that counters use; other processes are not seen."""

    def __init__(self, zeus: Any) -> None:
        super().__init__(None)
        try:
            self._gpus = zeus.get_gpus()
        except Exception as error:
            raise MeterError(f"Zeus finds no GPU that it can read: {error}") from error

    def call(self, function: str, *args: Any) -> Any:
        """Result of a function of Zeus's GPUs.

        Raises:
            MeterError: it fails.
        """
        try:
            return getattr(self._gpus, function)(*args)
        except Exception as error:
            raise MeterError(f"Zeus's {function} failed: {error}") from error

    def gpu(self, index: int) -> Gpu:
        """The GPU that PyTorch numbers ``index``.

        Raises:
            MeterError: there is none.
        """
        count = len(self._gpus)
        if index >= count:
            raise MeterError(f"There is no GPU {index}: Zeus sees {count}; use another device.")
        return Gpu(index, str(self.call("get_name", index)), "", "", index)

    def energy_j(self, gpu: Gpu) -> float:
        """The energy counter in joules."""
        if not self.call("supports_get_total_energy_consumption", gpu.index):
            raise MeterError(f"{gpu.name} has no energy counter; its power is sampled instead.")
        return float(self.call("get_total_energy_consumption", gpu.index)) / 1e3

    def power_instant_w(self, gpu: Gpu) -> float:
        """Power at this moment in watts."""
        return float(self.call("get_instant_power_usage", gpu.index)) / 1e3

    def power_average_w(self, gpu: Gpu) -> float:
        """Mean power in watts."""
        return float(self.call("get_average_power_usage", gpu.index)) / 1e3

    def power_limit_w(self, gpu: Gpu) -> float | None:
        """The power limit in watts; None where it cannot be read."""
        limit_mw = self.ask("get_power_management_limit", gpu.index)
        return None if limit_mw is None else float(limit_mw) / 1e3

    def processes(self, gpu: Gpu) -> set[int]:
        """Zeus does not tell."""
        return set()


def _field(measurement: Any, component: str) -> str | None:
    """Name of a component's energy in a measurement; None where it cannot be read."""
    for name in _SOC_FIELDS[component]:
        if getattr(measurement, name, None) is not None:
            return name
    return None
