from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from energy_fakes import Clock, FakeGpu, fake_pynvml
from hypothesis import given, settings
from hypothesis import strategies as st

from greennas.energy import Kind, Reading, open_meter, primary
from greennas.energy.gpu import GpuEnergyCounter
from greennas.energy.nvml import Gpu, Nvml, load_nvml
from greennas.energy.visible import Target
from greennas.errors import MeterError

COUNTER = "nvmlDeviceGetTotalEnergyConsumption"


def install(monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu, **options: Any) -> ModuleType:
    module = fake_pynvml(*gpus, **options)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def meter_sleep(
    seconds: float, device: str = "cuda", sleep: Callable[[float], None] = time.sleep
) -> tuple[Reading, ...]:
    with open_meter(device, exclusive=False).window() as window:
        sleep(seconds)
    return window.readings


def within(reading: Reading, truth_j: float) -> bool:
    assert reading.low_j is not None
    assert reading.high_j is not None
    return reading.low_j <= truth_j <= reading.high_j


def test_energy_counter_is_preferred_and_stands_beside_the_cpu(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    install(monkeypatch, FakeGpu())
    gpu, cpu = meter_sleep(0.2, sleep=clock.sleep)
    assert (gpu.component, gpu.kind, gpu.backend) == ("gpu", Kind.MEASURED, "nvml.total_energy")
    assert (gpu.device, gpu.uuid, gpu.shared, gpu.notes) == ("NVIDIA Test GPU", "GPU-00000000-aaaa", False, ())
    assert (cpu.component, cpu.kind) == ("cpu", Kind.MODELLED)
    assert primary((gpu, cpu)) is gpu
    assert gpu.energy_j == pytest.approx(20, abs=0.2)


@given(
    seconds=st.floats(0, 0.5),
    tick_s=st.floats(0.02, 0.1),
    late_s=st.sampled_from([0.0, 0.02, 0.3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_bounds_hold_the_truth(seconds: float, tick_s: float, late_s: float, seed: int) -> None:
    """Also in windows shorter than an update, at a power that swings 20-380 W within 60 ms, on a busy machine."""
    turn_s = 0.06 / (2 * math.pi)
    clock = Clock(late_s, seed)
    gpu = FakeGpu(
        clock=clock,
        tick_s=tick_s,
        limit_w=400,
        power_w=lambda s: 200 + 180 * math.sin(s / turn_s),
        integral_j=lambda s: 200 * s + 180 * turn_s * (1 - math.cos(s / turn_s)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("greennas.energy.gpu.time", clock)
        counter = GpuEnergyCounter(Nvml(fake_pynvml(gpu)), Target(Gpu(0, "", "", "", gpu)))
        end = counter.begin()
        begun_s = gpu.age_s()
        clock.sleep(seconds)
        reading = end()
    truth_j = gpu.true_energy_j(begun_s + reading.seconds) - gpu.true_energy_j(begun_s)
    assert within(reading, truth_j)
    if not late_s:  # one update is uncertain at the end, and a millisecond at the start
        assert reading.low_j is not None
        assert reading.high_j is not None
        assert reading.high_j - reading.low_j <= 400 * (tick_s + 0.002)


@pytest.mark.parametrize("pause_s", [0.0, 0.03, 0.07])
def test_windows_are_cut_on_updates(monkeypatch: pytest.MonkeyPatch, clock: Clock, pause_s: float) -> None:
    install(monkeypatch, FakeGpu(tick_s=0.1))
    meter = open_meter("cuda", exclusive=False)
    clock.sleep(pause_s)
    with meter.window() as window:
        clock.sleep(0.15)
    assert window.readings[0].energy_j == pytest.approx(15, rel=0.02)  # 60% off at worst without


@pytest.mark.parametrize(
    ("change", "kind", "backend"),
    [
        ({"unsupported": (COUNTER,)}, Kind.SAMPLED, "nvml.power_instant"),
        ({"counter_moves": False}, Kind.SAMPLED, "nvml.power_instant"),
        ({"unsupported": (COUNTER,), "instant": False}, Kind.SAMPLED, "nvml.power_average"),
        ({"unsupported": (COUNTER, "nvmlDeviceGetFieldValues")}, Kind.SAMPLED, "nvml.power_average"),
        (
            {"unsupported": (COUNTER, "nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage")},
            Kind.UNAVAILABLE,
            "none",
        ),
        ({"unsupported": (COUNTER,), "power_w": lambda s: 0.0}, Kind.UNAVAILABLE, "none"),
    ],
)
def test_falls_back_to_what_answers(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], kind: Kind, backend: str
) -> None:
    install(monkeypatch, FakeGpu(**change))
    gpu, cpu = meter_sleep(0.12)
    assert (gpu.kind, gpu.backend) == (kind, backend)
    assert gpu.uuid == "GPU-00000000-aaaa"
    if kind is Kind.UNAVAILABLE:
        assert gpu.energy_j is None
        assert gpu.notes
    else:
        assert within(gpu, 100 * gpu.seconds)
        assert gpu.energy_j == pytest.approx(100 * gpu.seconds, rel=0.3)
    assert cpu.energy_j is not None


def test_sampled_bounds_hold_the_truth_of_a_changing_power(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(power_w=lambda s: 100 + 200 * (int(s / 0.15) % 2), unsupported=(COUNTER,))
    install(monkeypatch, gpu)
    meter = open_meter("cuda", exclusive=False)
    with meter.window() as window:
        begun_s = gpu.age_s()
        time.sleep(0.5)
        ended_s = gpu.age_s()
    assert within(window.readings[0], gpu.true_energy_j(ended_s, 5000) - gpu.true_energy_j(begun_s, 5000))


def test_mean_power_is_uncertain_by_half_a_second_at_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeGpu(unsupported=(COUNTER,), instant=False))
    gpu, _ = meter_sleep(0.2)
    assert gpu.energy_j is not None
    assert gpu.high_j == pytest.approx(gpu.energy_j + 50, rel=0.01)


def test_reset_of_the_counter_is_unavailable(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    meter = open_meter("cuda", exclusive=False)
    with meter.window() as window:
        gpu.reset_at_s = gpu.age_s()
        clock.sleep(0.05)
    with meter.window() as later:
        clock.sleep(0.05)
    assert (window.readings[0].kind, window.readings[0].energy_j) == (Kind.UNAVAILABLE, None)
    assert "reset" in window.readings[0].notes[0]
    assert later.readings[0].energy_j == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize("stands_s", [(0.5, 9.0), (0.7, 9.0), (0.3, 0.9)], ids=["always", "from within", "at first"])
def test_a_counter_that_stands_still_at_an_edge_of_the_window_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, stands_s: tuple[float, float]
) -> None:
    gpu = FakeGpu(tick_s=0.02)
    install(monkeypatch, gpu)
    meter = open_meter("cuda", exclusive=False)
    gpu.born_s, gpu.stands_s = clock.now_s - 0.55, stands_s
    with meter.window() as window:
        clock.sleep(0.5)
    gpu.stands_s = None
    with meter.window() as later:
        clock.sleep(0.5)
    assert (window.readings[0].kind, window.readings[0].energy_j) == (Kind.UNAVAILABLE, None)
    assert "stood still" in window.readings[0].notes[0]
    assert later.readings[0].energy_j == pytest.approx(50, abs=0.5)


def test_gpu_lost_inside_a_window_leaves_the_work_and_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    with open_meter("cuda", exclusive=False).window() as window:
        gpu.unsupported = (COUNTER,)
    assert window.readings[0].kind is Kind.UNAVAILABLE
    assert "could not be read" in window.readings[0].notes[0]
    assert window.readings[1].energy_j is not None


def test_sampler_that_fails_on_the_way_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(unsupported=(COUNTER,))
    install(monkeypatch, gpu)
    with open_meter("cuda", exclusive=False).window() as window:
        gpu.instant = False
        time.sleep(0.12)
    assert window.readings[0].kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("broken", ["no package", "no driver", "no gpu"])
def test_without_a_readable_gpu_there_are_no_joules(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    install(monkeypatch, driver=broken != "no driver")
    if broken == "no package":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    gpu, cpu = meter_sleep(0.01)
    assert (gpu.component, gpu.kind, gpu.energy_j) == ("gpu", Kind.UNAVAILABLE, None)
    assert gpu.notes
    assert cpu.energy_j is not None


def test_older_library_without_a_function_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = (COUNTER, "nvmlDeviceGetFieldValues", "nvmlDeviceGetMigMode", "nvmlDeviceGetMPSComputeRunningProcesses")
    install(monkeypatch, FakeGpu(), missing=missing)
    assert meter_sleep(0.1)[0].backend == "nvml.power_average"


def test_devices_are_matched_by_uuid(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    hot = FakeGpu(uuid="GPU-hot", pci="00000000:81:00.0", power_w=lambda s: 400.0)
    cold = FakeGpu(uuid="GPU-cold", pci="00000000:01:00.0", power_w=lambda s: 40.0)
    install(monkeypatch, hot, cold)  # NVML's order is not that of the bus here
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert meter_sleep(0.05, "cuda:0")[0].uuid == "GPU-hot"
    assert meter_sleep(0.05, "cuda:1")[0].uuid == "GPU-cold"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-co")
    gpu, _ = meter_sleep(0.1, sleep=clock.sleep)
    assert gpu.energy_j == pytest.approx(4, abs=0.1)
    with pytest.raises(MeterError, match="no cuda:1"):
        open_meter("cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(MeterError, match="no cuda:0"):
        open_meter("cuda")


def test_instance_reads_the_whole_gpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeGpu(mig=(("MIG-1", "1g.5gb"), ("MIG-2", "1g.5gb"))))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    gpu, _ = meter_sleep(0.05)
    assert (gpu.kind, gpu.uuid) == (Kind.MEASURED, "GPU-00000000-aaaa")
    assert "whole GPU" in gpu.notes[0]
    assert "MIG-2, one of 2" in gpu.notes[0]


def test_other_processes_are_noticed_and_own_children_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        gpu.pids = [os.getpid(), child.pid]
        alone, _ = meter_sleep(0.02)
        gpu.pids = [os.getpid(), child.pid, 1]
        shared, _ = meter_sleep(0.02)
        child.communicate(b"\n")
    assert (alone.shared, alone.notes) == (False, ())
    assert shared.shared
    assert "1 other process (1) ran on this GPU" in shared.notes[0]


def test_other_process_that_comes_inside_the_window_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    with open_meter("cuda", exclusive=False).window() as window:
        gpu.pids = [1]
    assert window.readings[0].shared


class FakeTorch(ModuleType):
    """As much of torch as a meter asks."""

    def __init__(self, uuid: str = "", initialized: bool = True, broken: bool = False) -> None:
        super().__init__("torch")
        self.synchronized: list[str] = []
        self.broken = broken
        self.cuda = SimpleNamespace(
            is_initialized=lambda: initialized,
            is_available=lambda: True,
            current_device=lambda: 0,
            get_device_properties=lambda index: SimpleNamespace(uuid=uuid),
            synchronize=self._synchronize,
        )

    def _synchronize(self, device: str) -> None:
        if self.broken and self.synchronized:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.synchronized.append(device)


def test_device_is_synchronized_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = FakeTorch()
    install(monkeypatch, FakeGpu())
    monkeypatch.setitem(sys.modules, "torch", torch)
    meter = open_meter("cuda:0", exclusive=False)
    with meter.window():
        assert torch.synchronized == ["cuda:0"]
    assert torch.synchronized == ["cuda:0", "cuda:0"]


def test_broken_cuda_still_leaves_readings(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    install(monkeypatch, FakeGpu())
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(broken=True))
    with open_meter("cuda", exclusive=False).window() as window:
        clock.sleep(0.05)
    assert window.readings[0].energy_j == pytest.approx(5, abs=0.2)
    assert "illegal memory access" in window.readings[0].notes[-1]


@pytest.mark.parametrize("initialized", [True, False])
def test_torch_tells_which_of_several_models_a_number_means(monkeypatch: pytest.MonkeyPatch, initialized: bool) -> None:
    small, big = FakeGpu("T4", "GPU-11", "00000000:01:00.0"), FakeGpu("H100", "GPU-22", "00000000:02:00.0")
    install(monkeypatch, small, big)
    with pytest.raises(MeterError, match="ambiguous"):
        open_meter("cuda:0")
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(uuid="22", initialized=initialized))
    assert open_meter("cuda:0", exclusive=False).describe()[0].uuid == "GPU-22"


def test_own_process_under_an_id_of_another_namespace_is_not_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(pids=[4_000_001])
    install(monkeypatch, gpu)
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())
    assert not meter_sleep(0.01)[0].shared
    gpu.pids = [4_000_001, 4_000_002]
    shared, _ = meter_sleep(0.01)
    assert shared.shared
    assert "ids of another namespace" in shared.notes[0]


def test_names_may_come_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(monkeypatch, FakeGpu())
    module.nvmlDeviceGetName = lambda handle: b"Old GPU"  # type: ignore[attr-defined]
    nvml, _ = load_nvml()
    assert nvml
    assert nvml.gpus()[0].name == "Old GPU"
