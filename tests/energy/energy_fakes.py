"""A stand-in for pynvml and for the RAPL folders of the kernel, with faults to switch on."""

from __future__ import annotations

import random
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest


class NVMLError(Exception):
    pass


class Clock:
    """Time that passes only when somebody sleeps or looks, with delays as on a busy machine.

    Args:
        late_s: a sleep, and every look at the clock or a counter, lasts up to so much longer.
    """

    def __init__(self, late_s: float = 0.0, seed: int = 0) -> None:
        self.now_s = 0.0
        self.late_s = late_s
        self._random = random.Random(seed)

    def perf_counter(self) -> float:
        self.delay()
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.delay()

    def delay(self) -> None:
        # Mostly quick, sometimes descheduled.
        self.now_s += 1e-6 + self.late_s * self._random.random() ** 8


NOT_SUPPORTED = "Not Supported"


@dataclass
class FakeGpu:
    """A GPU that draws ``power_w`` of the time since it was made and whose counter ticks in real time."""

    name: str = "NVIDIA Test GPU"
    uuid: str = "GPU-00000000-aaaa"
    pci: str = "00000000:01:00.0"
    power_w: Callable[[float], float] = lambda seconds: 100.0
    integral_j: Callable[[float], float] | None = None  # of the power, where it is known in closed form
    limit_w: float = 300.0
    default_limit_w: float = 300.0
    tick_s: float = 0.01
    unsupported: tuple[str, ...] = ()  # functions that answer "Not Supported"
    instant: bool = True  # field 186 works
    counter_moves: bool = True
    mig: tuple[tuple[str, str], ...] = ()
    mig_mode: bool = False
    pids: Sequence[int] = ()
    throttle: int = 0
    reset_at_s: float | None = None
    stands_s: tuple[float, float] | None = None  # from and until when the counter is not updated
    born_s: float = 0.0
    clock: Any = field(default_factory=lambda: FakeGpu.default_clock)

    default_clock: ClassVar[Any] = time

    def __post_init__(self) -> None:
        self.born_s = self.clock.perf_counter()

    def age_s(self) -> float:
        now_s = self.clock.now_s if isinstance(self.clock, Clock) else self.clock.perf_counter()
        return float(now_s - self.born_s)

    def true_energy_j(self, until_s: float, steps: int = 400) -> float:
        """Integral of the power, by the midpoint rule if not in closed form."""
        if self.integral_j is not None:
            return self.integral_j(until_s)
        step_s = until_s / steps
        return sum(self.power_w((i + 0.5) * step_s) for i in range(steps)) * step_s

    def energy_mj(self) -> int:
        if not self.counter_moves:
            return 5000
        age_s = self.age_s()
        ticked_s = age_s // self.tick_s * self.tick_s
        if self.stands_s is not None and self.stands_s[0] < age_s < self.stands_s[1]:
            ticked_s = self.stands_s[0]
        if self.reset_at_s is not None and age_s > self.reset_at_s:
            return round(1e3 * (self.true_energy_j(ticked_s) - self.true_energy_j(self.reset_at_s)))
        return round(1e3 * (1000 + self.true_energy_j(ticked_s)))


def fake_pynvml(*gpus: FakeGpu, driver: bool = True, missing: Sequence[str] = ()) -> types.ModuleType:
    """A module with the functions of pynvml; ``missing`` ones are not there, as in an older version."""
    module: Any = types.ModuleType("pynvml")

    def supported(function: Callable[[Any], Any], name: str) -> Callable[..., Any]:
        def call(handle: Any, *args: Any) -> Any:
            if isinstance(handle, FakeGpu) and name in handle.unsupported:
                raise NVMLError(NOT_SUPPORTED)
            if not isinstance(handle, FakeGpu) or not isinstance(handle.clock, Clock):
                return function(handle, *args)
            handle.clock.delay()
            try:
                return function(handle, *args)
            finally:
                handle.clock.delay()

        return call

    def init() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def fields(gpu: FakeGpu, ids: list[int]) -> list[Any]:
        assert ids == [186]
        value = SimpleNamespace(uiVal=round(1e3 * gpu.power_w(gpu.age_s())))
        return [SimpleNamespace(nvmlReturn=0 if gpu.instant else 3, value=value)]

    def instance(gpu: FakeGpu, index: int) -> Any:
        if index >= len(gpu.mig):
            raise NVMLError("Not Found")
        return SimpleNamespace(uuid=gpu.mig[index][0], name=gpu.mig[index][1])

    def mode(gpu: FakeGpu) -> tuple[int, int]:
        if not (gpu.mig or gpu.mig_mode):
            raise NVMLError(NOT_SUPPORTED)
        return (1, 1)

    module.NVMLError = NVMLError
    module.nvmlInit = init
    module.nvmlDeviceGetCount = lambda: len(gpus)
    module.nvmlDeviceGetHandleByIndex = lambda index: gpus[index]
    module.nvmlSystemGetDriverVersion = lambda: "570.00"
    for name, function in {
        "nvmlDeviceGetName": lambda device: device.name,
        "nvmlDeviceGetUUID": lambda device: device.uuid,
        "nvmlDeviceGetPciInfo": lambda gpu: SimpleNamespace(busId=gpu.pci),
        "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: gpu.energy_mj(),
        "nvmlDeviceGetFieldValues": fields,
        "nvmlDeviceGetPowerUsage": lambda gpu: round(1e3 * gpu.power_w(gpu.age_s())),
        "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: round(1e3 * gpu.limit_w),
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda gpu: round(1e3 * gpu.default_limit_w),
        "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [SimpleNamespace(pid=pid) for pid in gpu.pids],
        "nvmlDeviceGetMPSComputeRunningProcesses": lambda gpu: [],
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: gpu.throttle,
        "nvmlDeviceGetMigMode": mode,
        "nvmlDeviceGetMaxMigDeviceCount": lambda gpu: 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": instance,
    }.items():
        setattr(module, name, supported(function, name))
    for name in missing:
        delattr(module, name)
    return module


def zone(root: Path, address: str, name: str, energy_uj: int, range_uj: int = 262_143_328_850) -> Path:
    """One RAPL zone's folder, as /sys/class/powercap shows it."""
    path = root / address
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    set_energy(path, energy_uj)
    return path


def set_energy(path: Path, energy_uj: int) -> None:
    """Move a zone's counter, without a moment in which the file is empty."""
    (path / "new").write_text(f"{energy_uj}\n")
    (path / "new").rename(path / "energy_uj")


def only_root_reads_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel has it since CVE-2020-8694; tests may run as root, whom no file mode stops."""
    read = Path.read_text

    def denied(path: Path, *args: Any, **options: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", denied)
