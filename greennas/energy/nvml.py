"""The NVIDIA driver's management library (NVML): which GPUs there are and what can be asked of them.

Everything is probed by calling it, never by the GPU's name. No library, no driver: no GPU.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from greennas.errors import MeterError

POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT: power at this moment, in milliwatts, of the GPU (scope 0)."""


@dataclass(frozen=True)
class MigInstance:
    """A part of a GPU in multi-instance mode."""

    uuid: str
    name: str


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine, whether or not this process may use it.

    Attributes:
        index: its place in NVML's order.
        pci: its PCI address, which orders GPUs under ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.
        handle: NVML's handle.
        mig: its instances; empty where multi-instance mode is off.
    """

    index: int
    name: str
    uuid: str
    pci: str
    handle: Any
    mig: tuple[MigInstance, ...] = ()


class Nvml:
    """NVML with one kind of error.

    Args:
        module: ``pynvml`` (of nvidia-ml-py), initialised.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def call(self, function: str, *args: Any) -> Any:
        """Result of a function of NVML.

        Raises:
            MeterError: the library, the driver or the device does not have it.
        """
        try:
            return getattr(self._module, function)(*args)
        except AttributeError as error:
            raise MeterError(f"{function} is missing in this version of nvidia-ml-py; install a newer one.") from error
        except self._module.NVMLError as error:
            raise MeterError(f"{function} failed: {error}; see what `nvidia-smi -q` says about this GPU.") from error

    def ask(self, function: str, *args: Any) -> Any:
        """Result of a function of NVML as ``call`` gives it, or None where it cannot be had."""
        try:
            return self.call(function, *args)
        except MeterError:
            return None

    def gpus(self) -> list[Gpu]:
        """All GPUs of this machine, ordered by PCI address."""
        found = []
        for index in range(self.ask("nvmlDeviceGetCount") or 0):
            handle = self.ask("nvmlDeviceGetHandleByIndex", index)
            if handle is None:
                continue  # a GPU that fell off the bus
            pci = self.ask("nvmlDeviceGetPciInfo", handle)
            found.append(
                Gpu(
                    index=index,
                    name=_text(self.ask("nvmlDeviceGetName", handle)),
                    uuid=_text(self.ask("nvmlDeviceGetUUID", handle)),
                    pci=_text(getattr(pci, "busId", "")).lower(),
                    handle=handle,
                    mig=tuple(self._mig_instances(handle)),
                )
            )
        return sorted(found, key=lambda gpu: (gpu.pci, gpu.index))

    def energy_j(self, gpu: Gpu) -> float:
        """The energy counter in joules since the driver was loaded. Raises MeterError where there is none."""
        return float(self.call("nvmlDeviceGetTotalEnergyConsumption", gpu.handle)) / 1e3

    def power_instant_w(self, gpu: Gpu) -> float:
        """Power at this moment in watts. Raises MeterError where it cannot be read."""
        (field,) = self.call("nvmlDeviceGetFieldValues", gpu.handle, [POWER_INSTANT])
        if field.nvmlReturn != 0:
            raise MeterError(f"Field 186 (instantaneous power) failed with NVML error {field.nvmlReturn}.")
        return float(field.value.uiVal) / 1e3

    def power_average_w(self, gpu: Gpu) -> float:
        """Power in watts: the mean of the last second on Ampere (not GA100) and later, else at this moment.

        Raises:
            MeterError: it cannot be read.
        """
        return float(self.call("nvmlDeviceGetPowerUsage", gpu.handle)) / 1e3

    def power_limit_w(self, gpu: Gpu) -> float | None:
        """The power limit in force in watts; None where it cannot be read."""
        limit_mw = self.ask("nvmlDeviceGetEnforcedPowerLimit", gpu.handle)
        return None if limit_mw is None else float(limit_mw) / 1e3

    def processes(self, gpu: Gpu) -> set[int]:
        """Ids of the processes that compute on the GPU (any instance, MPS included); empty where hidden."""
        found: set[int] = set()
        for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses"):
            found.update(int(process.pid) for process in self.ask(function, gpu.handle) or ())
        return found

    def driver(self) -> str:
        """Version of the driver; empty where it does not tell."""
        return _text(self.ask("nvmlSystemGetDriverVersion"))

    def _mig_instances(self, handle: Any) -> list[MigInstance]:
        mode = self.ask("nvmlDeviceGetMigMode", handle)
        if not mode or mode[0] != 1:
            return []
        found = []
        for index in range(self.ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            instance = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
            if instance is not None:
                uuid, name = self.ask("nvmlDeviceGetUUID", instance), self.ask("nvmlDeviceGetName", instance)
                found.append(MigInstance(_text(uuid), _text(name)))
        return found


def load_nvml() -> tuple[Nvml | None, str]:
    """NVML, or None and the sentence that says why there is none."""
    try:
        module = importlib.import_module("pynvml")
    except ImportError:
        return None, "The Python package nvidia-ml-py is not installed; install it with `pip install nvidia-ml-py`."
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        return None, f"The NVIDIA driver does not answer ({error}); see whether `nvidia-smi` runs."
    return Nvml(module), ""


def _text(value: Any) -> str:
    """Text of what some versions of pynvml return as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value or "")
