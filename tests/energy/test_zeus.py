from __future__ import annotations

import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from energy_fakes import Clock, FakeGpu

from greennas.energy import Kind, open_meter
from greennas.energy.doctor import Status, diagnose
from greennas.energy.zeus import load_zeus, needs_zeus
from greennas.errors import MeterError


class Gpus:
    """What zeus 0.16 gives for AMD GPUs, as far as it is used; figures in mJ and mW."""

    def __init__(self, gpus: Sequence[FakeGpu]) -> None:
        self._gpus = gpus

    def __len__(self) -> int:
        return len(self._gpus)

    def _get(self, index: int, name: str) -> FakeGpu:
        gpu = self._gpus[index]
        if name in gpu.unsupported:
            raise RuntimeError(f"{name} is not supported")
        return gpu

    def get_name(self, index: int) -> str:
        return self._get(index, "name").name

    def supports_get_total_energy_consumption(self, index: int) -> bool:
        return "energy" not in self._gpus[index].unsupported

    def get_total_energy_consumption(self, index: int) -> int:
        return self._get(index, "energy").energy_mj()

    def get_instant_power_usage(self, index: int) -> int:
        gpu = self._get(index, "instant")
        return round(1e3 * gpu.power_w(gpu.age_s()))

    def get_average_power_usage(self, index: int) -> int:
        gpu = self._get(index, "average")
        return round(1e3 * gpu.power_w(gpu.age_s()))

    def get_power_management_limit(self, index: int) -> int:
        return round(1e3 * self._get(index, "limit").limit_w)


class AppleSilicon:
    """A chip whose parts draw steady power; what it cannot read is None."""

    def __init__(self, **powers_w: float | None) -> None:
        self.powers_w = powers_w
        self.started_s = time.perf_counter()
        self.offset_mj = 1000.0

    def get_total_energy_consumption(self) -> Any:
        age_s = time.perf_counter() - self.started_s
        return SimpleNamespace(
            **{name: None if w is None else 1e3 * w * age_s + self.offset_mj for name, w in self.powers_w.items()}
        )


class Jetson(AppleSilicon):
    pass


def install(
    monkeypatch: pytest.MonkeyPatch, *, gpus: Sequence[FakeGpu] | None = None, soc: AppleSilicon | None = None
) -> None:
    """Put a package of the name zeus in place, which finds these devices."""

    def get(found: Any) -> Any:
        if found is None:
            raise RuntimeError("No observable device was found.")
        return found

    module: Any = types.ModuleType("zeus.device")
    module.get_gpus = lambda: get(None if gpus is None else Gpus(gpus))
    module.get_soc = lambda: get(soc)
    monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.device", module)


def rocm(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: False, is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(hip="6.2"), cuda=cuda))


def test_amd_is_read_through_zeus_with_the_bounds_of_its_counter(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    install(monkeypatch, gpus=[FakeGpu("AMD Instinct A"), FakeGpu("AMD Instinct B", power_w=lambda s: 250.0)])
    rocm(monkeypatch)
    meter = open_meter("cuda:1", exclusive=False)
    assert (meter.describe()[0].backend, meter.describe()[0].device) == ("zeus.total_energy", "AMD Instinct B")
    with meter.window() as window:
        clock.sleep(1.0)
    gpu, cpu = window.readings
    assert (gpu.component, gpu.kind, cpu.component) == ("gpu", Kind.MEASURED, "cpu")
    assert gpu.energy_j == pytest.approx(250, rel=0.02)
    assert gpu.low_j is not None
    assert gpu.high_j is not None
    assert gpu.low_j <= 250 * gpu.seconds <= gpu.high_j


def test_amd_without_an_energy_counter_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, gpus=[FakeGpu("AMD Radeon", unsupported=("energy",))])
    rocm(monkeypatch)
    meter = open_meter("cuda", exclusive=False)
    assert (meter.describe()[0].backend, meter.describe()[0].kind) == ("zeus.power_instant", Kind.SAMPLED)
    with meter.window() as window:
        time.sleep(0.2)
    assert window.readings[0].energy_j == pytest.approx(20, rel=0.2)


def test_nvidia_goes_through_zeus_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    install(monkeypatch, gpus=[FakeGpu()])
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_meter("cuda", exclusive=False).describe()[0].kind is Kind.UNAVAILABLE
    assert open_meter("cuda", exclusive=False, backend="zeus").describe()[0].backend == "zeus.total_energy"


@pytest.mark.parametrize(
    ("unsupported", "count", "words"),
    [
        (("energy", "instant", "average"), 1, "not supported"),
        ((), 0, "Zeus sees 0"),
    ],
)
def test_amd_that_cannot_be_read_has_no_joules(
    monkeypatch: pytest.MonkeyPatch, unsupported: tuple[str, ...], count: int, words: str
) -> None:
    install(monkeypatch, gpus=[FakeGpu(unsupported=unsupported)] * count)
    rocm(monkeypatch)
    with open_meter("cuda", exclusive=False).window() as window:
        pass
    assert (window.readings[0].kind, window.readings[0].energy_j) == (Kind.UNAVAILABLE, None)
    assert words in window.readings[0].notes[0]


def test_where_zeus_finds_nothing_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    for device, words in (("mps", "no chip that it can read: No obs"), ("cuda", "no GPU that it can read: No obs")):
        if device == "cuda":
            rocm(monkeypatch)
        with open_meter(device, exclusive=False).window() as window:
            pass
        assert (window.readings[0].kind, window.readings[0].energy_j) == (Kind.UNAVAILABLE, None)
        assert words in window.readings[0].notes[0]


def test_apple_silicon_has_gpu_cpu_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, soc=AppleSilicon(gpu_mj=20.0, cpu_total_mj=10.0, dram_mj=2.0))
    meter = open_meter("mps")
    assert [(s.component, s.kind, s.device) for s in meter.describe()] == [
        ("gpu", Kind.MEASURED, "AppleSilicon"),
        ("cpu", Kind.MEASURED, "AppleSilicon"),
        ("dram", Kind.MEASURED, "AppleSilicon"),
    ]
    with meter.window() as window:
        time.sleep(0.3)
    for reading, power_w in zip(window.readings, (20, 10, 2), strict=True):
        assert reading.energy_j == pytest.approx(power_w * reading.seconds, rel=0.05)
        assert reading.low_j is not None
        assert reading.high_j is not None
        assert reading.low_j < power_w * reading.seconds < reading.high_j
    shared = open_meter("mps", exclusive=False).describe()
    assert [(s.component, s.kind) for s in shared] == [("gpu", Kind.MEASURED), ("cpu", Kind.MODELLED)]


def test_jetson_is_sampled_and_a_rail_that_is_not_there_is_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, soc=Jetson(gpu_energy_mj=5.0, cpu_energy_mj=None, total_energy_mj=9.0))
    monkeypatch.setattr("greennas.energy.zeus.needs_zeus", lambda: "a Jetson")
    monkeypatch.setattr("greennas.energy.meter.open_rapl", list)
    gpu, cpu = open_meter("cuda").describe()
    assert (gpu.kind, gpu.device, cpu.kind) == (Kind.SAMPLED, "Jetson", Kind.MODELLED)
    install(monkeypatch, soc=Jetson(gpu_energy_mj=None, cpu_energy_mj=3.0))
    with open_meter("cuda").window() as window:
        pass
    assert (window.readings[0].kind, window.readings[0].energy_j) == (Kind.UNAVAILABLE, None)


def test_reset_and_loss_of_the_chips_counter_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = AppleSilicon(gpu_mj=1.0)
    install(monkeypatch, soc=chip)
    meter = open_meter("mps", exclusive=False)
    with meter.window() as window:
        chip.offset_mj = -1e6
    assert "reset" in window.readings[0].notes[0]
    with meter.window() as window:
        chip.powers_w["gpu_mj"] = None
    assert "any more" in window.readings[0].notes[0]


def broken(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "absent":
        monkeypatch.setitem(sys.modules, "zeus", None)
        monkeypatch.setitem(sys.modules, "zeus.device", None)
    elif how == "another package":
        monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
        monkeypatch.setitem(sys.modules, "zeus.device", types.ModuleType("zeus.device"))
    else:

        def fail(name: str) -> Any:
            raise TypeError("a validator of another pydantic")

        monkeypatch.setattr("greennas.energy.zeus.importlib", SimpleNamespace(import_module=fail))


@pytest.mark.parametrize("how", ["absent", "another package", "conflict"])
def test_zeus_that_cannot_be_loaded_is_a_sentence_and_no_crash(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    broken(monkeypatch, how)
    with pytest.raises(MeterError, match="greennas\\[zeus\\]"):
        load_zeus()
    with open_meter("mps", exclusive=False).window() as window:
        pass
    gpu, cpu = window.readings
    assert (gpu.kind, gpu.energy_j, cpu.kind) == (Kind.UNAVAILABLE, None, Kind.MODELLED)
    assert "greennas[zeus]" in gpu.notes[0]


def test_zeus_is_not_loaded_where_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("greennas.energy.zeus.importlib", SimpleNamespace(import_module=asked.append))
    monkeypatch.setattr("greennas.energy.zeus.needs_zeus", lambda: "")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for device in ("cpu", "cuda"):
        assert open_meter(device).describe()
    assert asked == []
    open_meter("mps")
    assert asked == ["zeus.device"]


def test_doctor_says_what_zeus_is_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert needs_zeus(tmp_path, tmp_path) == ""
    (tmp_path / "kfd").touch()
    assert needs_zeus(tmp_path, tmp_path) == "an AMD GPU"
    (tmp_path / "nv_tegra_release").touch()
    assert needs_zeus(tmp_path, tmp_path) == "a Jetson"
    monkeypatch.setattr("greennas.energy.doctor.needs_zeus", lambda: "an AMD GPU")
    broken(monkeypatch, "absent")
    (finding,) = [each for each in diagnose(powercap=tmp_path, environ={}) if each.counter == "zeus"]
    assert (finding.status, finding.command) == (Status.MISSING, 'pip install "greennas[zeus]"')
    install(monkeypatch)
    (finding,) = [each for each in diagnose(powercap=tmp_path, environ={}) if each.counter == "zeus"]
    assert finding.status is Status.OK
