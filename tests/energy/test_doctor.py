from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from pathlib import Path

import pytest
from energy_fakes import Clock, FakeGpu, fake_pynvml, only_root_reads_energy, set_energy, zone

from greennas.energy import Kind, doctor
from greennas.energy.devices import describe_devices
from greennas.energy.doctor import Finding, Status, diagnose


def about(counter: str, found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.counter == counter]


def test_machine_without_counters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = diagnose(powercap=tmp_path, environ={})
    (gpu,) = about("gpu", found)
    assert (gpu.status, gpu.command) == (Status.MISSING, "pip install nvidia-ml-py")
    (rapl,) = about("rapl", found)
    assert (rapl.status, rapl.kind) == (Status.MISSING, None)
    (cpu,) = about("cpu_time", found)
    assert (cpu.status, cpu.kind) == (Status.OK, Kind.MODELLED)
    json.dumps([finding.to_json() for finding in found])


def fake_proc(path: Path, flags: str) -> Path:
    path.mkdir()
    (path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: CPU X\nflags\t\t: fpu vme {flags} de\n")
    return path


def test_a_virtual_machine_is_not_told_to_load_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    virtual, real = fake_proc(tmp_path / "a", "hypervisor"), fake_proc(tmp_path / "b", "msr")
    (rapl,) = about("rapl", diagnose(powercap=tmp_path / "none", proc=virtual, environ={}))
    assert (rapl.status, rapl.command) == (Status.MISSING, None)
    assert "virtual machine, and its host keeps the counters" in rapl.message
    (rapl,) = about("rapl", diagnose(powercap=tmp_path / "none", proc=real, environ={}))
    assert (rapl.status, rapl.command) == (Status.MISSING, "sudo modprobe intel_rapl_msr")
    assert "no virtual machine" in rapl.message


@pytest.mark.parametrize(("ticks", "cores"), [(0, None), (10_000, float(os.cpu_count() or 1))])
def test_load_of_others_is_never_more_than_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ticks: int, cores: float | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    proc = fake_proc(tmp_path / "proc", "msr")
    (proc / "stat").write_text("cpu  100 0 0 0 0 0 0 0 0 0\n")

    def sleep(seconds: float) -> None:
        (proc / "stat").write_text(f"cpu  {100 + ticks} 0 0 0 0 0 0 0 0 0\n")
        real_sleep(seconds)

    real_sleep = doctor.time.sleep
    monkeypatch.setattr(doctor.time, "sleep", sleep)
    found = about("load", diagnose(powercap=tmp_path / "none", proc=proc, environ={}))
    if cores is None:
        assert found == []
    else:
        assert f"about {cores:.1f} of this machine's {cores:.0f} cores" in found[0].message


def test_processor_slowed_by_heat_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for cpu, count in enumerate((0, 12)):
        folder = tmp_path / f"cpu{cpu}" / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "package_throttle_count").write_text(f"{count}\n")
    (finding,) = about("cpu_clocks", diagnose(powercap=tmp_path / "none", cpus=tmp_path, environ={}))
    assert (finding.status, "12 times" in finding.message) == (Status.WARNING, True)
    (tmp_path / "cpu1" / "thermal_throttle" / "package_throttle_count").write_text("0\n")
    assert about("cpu_clocks", diagnose(powercap=tmp_path / "none", cpus=tmp_path, environ={})) == []


def test_capped_gpu_is_said_with_the_command_that_undoes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    capped = FakeGpu(uuid="GPU-1", limit_w=175.0, default_limit_w=300.0)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(capped))
    _, warning = about("gpu:0", diagnose(powercap=tmp_path, environ={}))
    assert "175 W is below the default of 300 W" in warning.message
    assert warning.command == "sudo nvidia-smi -i GPU-1 -pl 300"


def test_unreadable_rapl_has_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with monkeypatch.context() as patch:
        only_root_reads_energy(patch)
        (rapl,) = about("rapl", diagnose(powercap=tmp_path, environ={}))
    assert rapl.status is Status.MISSING
    assert rapl.command == f"sudo chmod a+r {tmp_path}/intel-rapl:*/energy_uj"
    (package / "energy_uj").write_text("not a number")
    (rapl,) = about("rapl", diagnose(powercap=tmp_path, environ={}))
    assert (rapl.status, rapl.command) == (Status.MISSING, None)


def test_psys_alone_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    zone(tmp_path, "intel-rapl:1", "psys", 0)
    (rapl,) = about("rapl", diagnose(powercap=tmp_path, environ={}))
    assert rapl.status is Status.MISSING
    assert "only psys" in rapl.message


def test_tick_of_rapl_is_measured_and_a_standstill_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    moving = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:1", "package-1", 0)
    stop = threading.Event()

    def tick() -> None:
        for energy_uj in itertools.count(61, 61):
            if stop.wait(0.002):
                return
            set_energy(moving, energy_uj)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        first, second = about("rapl", diagnose(powercap=tmp_path, environ={}))
    finally:
        stop.set()
        thread.join()
    assert (first.status, first.kind) == (Status.OK, Kind.MEASURED)
    assert first.resolution.startswith("61 uJ, updated every ")
    assert 1.5 <= float(first.resolution.split()[-2]) <= 250
    assert second.status is Status.WARNING
    assert "does not move" in second.message


def test_gpu_counters_limits_and_disturbances(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    busy = FakeGpu(uuid="GPU-1", pids=[1], throttle=0x4 | 0x40 | 0x1, tick_s=0.02)
    sampled = FakeGpu(uuid="GPU-2", counter_moves=False, pci="00000000:02:00.0", throttle=0x1)
    powers = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage")
    blind = FakeGpu(uuid="GPU-3", unsupported=powers, pci="00000000:03:00.0")
    split = FakeGpu(uuid="GPU-4", mig=(("MIG-1", "1g"),), pci="00000000:04:00.0")
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(busy, sampled, blind, split))
    found = diagnose(powercap=tmp_path, environ={"CUDA_VISIBLE_DEVICES": "3,0"})
    counter, others, clocks = about("gpu:0", found)
    assert (counter.status, counter.kind) == (Status.OK, Kind.MEASURED)
    assert "300 W" in counter.message
    assert "updated every 20 ms" in counter.resolution
    assert "1 other process (1)" in others.message
    assert clocks.message == "The GPU's clocks are held down now: power limit, hardware thermal limit."
    (counter,) = about("gpu:1", found)
    assert counter.kind is Kind.SAMPLED
    (counter,) = about("gpu:2", found)
    assert (counter.status, counter.kind) == (Status.MISSING, None)
    assert "1 MIG instances" in about("gpu:3", found)[1].message
    (visible,) = about("cuda_visible", found)
    assert visible.message == "cuda:0 is MIG-1; cuda:1 is GPU-1."


@pytest.mark.parametrize(
    ("environ", "counter", "command"),
    [
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "cuda_visible", "unset CUDA_VISIBLE_DEVICES"),
        ({}, "cuda_order", "export CUDA_DEVICE_ORDER=PCI_BUS_ID"),
    ],
)
def test_settings_that_hide_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], counter: str, command: str
) -> None:
    gpus = FakeGpu("T4"), FakeGpu("H100", "GPU-2", "00000000:02:00.0")
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(*gpus))
    (finding,) = about(counter, diagnose(powercap=tmp_path, environ=environ))
    assert (finding.status, finding.command) == (Status.WARNING, command)


def test_more_threads_than_cores_are_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    (fine,) = about("threads", diagnose(powercap=tmp_path, environ={"OMP_NUM_THREADS": "1"}))
    assert fine.status is Status.OK
    (many,) = about("threads", diagnose(powercap=tmp_path, environ={"OMP_NUM_THREADS": "4096"}))
    assert many.status is Status.WARNING
    assert many.command
    assert many.command.startswith("export OMP_NUM_THREADS=")


def test_devices_for_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu(unsupported=("nvmlDeviceGetEnforcedPowerLimit",))))
    facts = describe_devices()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["driver"] == "570.00"
    assert facts["gpus"] == [{"name": "NVIDIA Test GPU", "uuid": "GPU-00000000-aaaa", "power_limit_w": None, "mig": []}]
    assert facts["cpu"]["cores"] == os.cpu_count()
    assert facts["cpu"]["model"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert describe_devices()["gpus"] == []
