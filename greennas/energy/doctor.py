"""Which energy counters this machine has, what each can resolve, what is missing and how to mend it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from greennas.energy.cpu_time import DEFAULT_WATTS_PER_CORE, CpuTime, busy_cpu_seconds, process_cpu_seconds
from greennas.energy.gpu import NoGpuCounter, best_counter, foreign_processes
from greennas.energy.nvml import Gpu, Nvml, load_nvml
from greennas.energy.rapl import POWERCAP, Zone, zones
from greennas.energy.reading import Kind
from greennas.energy.visible import Target, visible_targets
from greennas.energy.zeus import INSTALL, load_zeus, needs_zeus
from greennas.errors import MeterError
from greennas.machine import usable_cores

# https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html; being idle is none to report.
_CLOCK_REASONS = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "external power brake",
}
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Status(StrEnum):
    """What a finding means for measuring."""

    OK = "ok"
    WARNING = "warning"
    """Figures are had, but something spoils them."""
    MISSING = "missing"
    """No figures from here."""


@dataclass(frozen=True)
class Finding:
    """One thing found out about this machine.

    Attributes:
        counter: what it is about: "gpu:0", "rapl", "cpu_time", "threads", ...
        status: whether it helps or harms.
        kind: kind of the readings that come from it; None where it gives none.
        resolution: what one reading can resolve, measured; empty where nothing could be.
        message: one sentence on what was found.
        command: what to run to mend it; None where nothing is to be mended or nothing can be.
    """

    counter: str
    status: Status
    kind: Kind | None
    resolution: str
    message: str
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def diagnose(
    *,
    powercap: Path = POWERCAP,
    proc: Path = Path("/proc"),
    cpus: Path = Path("/sys/devices/system/cpu"),
    environ: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Find out what this machine can measure, by trying; takes about half a second for each GPU.

    Args:
        powercap: root of the RAPL zones.
        proc: root of the process file system.
        cpus: root of the processors' folders.
        environ: the environment; by default that of this process.
    """
    environ = os.environ if environ is None else environ
    rapl = _rapl(powercap, virtual=is_virtual(proc))
    return [
        *_gpus(proc, environ),
        *_zeus(),
        *rapl,
        _cpu_time(proc),
        *_load(proc),
        *_throttling(cpus),
        _threads(environ),
    ]


def is_virtual(proc: Path = Path("/proc")) -> bool:
    """Whether this is a virtual machine, as its processor says (the flag ``hypervisor``)."""
    try:
        lines = (proc / "cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any("hypervisor" in line.split() for line in lines if line.startswith("flags"))


def _gpus(proc: Path, environ: Mapping[str, str]) -> list[Finding]:
    nvml, reason = load_nvml()
    if nvml is None:
        command = "pip install nvidia-ml-py" if "not installed" in reason else None
        return [Finding("gpu", Status.MISSING, None, "", f"No NVIDIA GPU can be read: {reason}", command)]
    gpus = nvml.gpus()
    if not gpus:
        return [Finding("gpu", Status.MISSING, None, "", "The NVIDIA driver knows of no GPU.", "nvidia-smi -L")]
    findings = [finding for gpu in gpus for finding in _gpu(nvml, gpu, proc)]
    targets = visible_targets(gpus, environ)
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if targets is None:
        message = "GPUs of several models: CUDA numbers them by speed, which the environment does not tell."
        command = "export CUDA_DEVICE_ORDER=PCI_BUS_ID"
        findings.append(Finding("cuda_order", Status.WARNING, None, "", message, command))
    elif not targets:
        message = f"CUDA sees no GPU, since CUDA_VISIBLE_DEVICES={setting!r}."
        findings.append(Finding("cuda_visible", Status.WARNING, None, "", message, "unset CUDA_VISIBLE_DEVICES"))
    else:
        names = "; ".join(f"cuda:{i} is {t.mig.uuid if t.mig else t.gpu.uuid}" for i, t in enumerate(targets))
        findings.append(Finding("cuda_visible", Status.OK, None, "", f"{names}."))
    return findings


def _gpu(nvml: Nvml, gpu: Gpu, proc: Path) -> list[Finding]:
    """Counter, limits and disturbances of one GPU."""
    name = f"gpu:{gpu.index}"
    counter = best_counter(nvml, Target(gpu), proc=proc)
    if isinstance(counter, NoGpuCounter):
        return [
            Finding(name, Status.MISSING, None, "", f"{gpu.name}: {counter.reason}", f"nvidia-smi -q -i {gpu.uuid}")
        ]
    limit_w = nvml.power_limit_w(gpu)
    limit = f", power limit {limit_w:g} W" if limit_w is not None else ""
    message = f"{gpu.name} ({gpu.uuid}) through {counter.backend}{limit}."
    findings = [Finding(name, Status.OK, counter.kind, counter.resolution, message)]

    def warn(text: str, command: str | None = None) -> None:
        findings.append(Finding(name, Status.WARNING, None, "", text, command))

    default_mw = nvml.ask("nvmlDeviceGetPowerManagementDefaultLimit", gpu.handle)
    if limit_w is not None and default_mw is not None and limit_w < default_mw / 1e3:
        default_w = f"{default_mw / 1e3:g}"
        warn(
            f"The power limit of {limit_w:g} W is below the default of {default_w} W: a capped GPU's joules.",
            f"sudo nvidia-smi -i {gpu.uuid} -pl {default_w}",
        )
    if gpu.mig:
        warn(f"{len(gpu.mig)} MIG instances: the counter belongs to the whole GPU and cannot tell them apart.")
    if others := foreign_processes(nvml, gpu, proc):
        warn(others, f"nvidia-smi -i {gpu.uuid} --query-compute-apps=pid,name --format=csv")
    reasons = nvml.ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.handle)
    if reasons is None:
        reasons = nvml.ask("nvmlDeviceGetCurrentClocksEventReasons", gpu.handle)
    if slowed := [text for bit, text in _CLOCK_REASONS.items() if (reasons or 0) & bit]:
        warn(f"The GPU's clocks are held down now: {', '.join(slowed)}.", f"nvidia-smi -q -d PERFORMANCE -i {gpu.uuid}")
    return findings


def _zeus() -> list[Finding]:
    """What needs Zeus to be read, and whether that is here."""
    if not (device := needs_zeus()):
        return []
    try:
        load_zeus()
    except MeterError as error:
        return [Finding("zeus", Status.MISSING, None, "", f"This machine has {device}. {error}", INSTALL)]
    return [Finding("zeus", Status.OK, None, "", f"This machine has {device}, which is read through Zeus.")]


def _rapl(root: Path, virtual: bool) -> list[Finding]:
    found = zones(root)
    packages = [zone for zone in found if zone.is_package]
    if not packages:
        only = f"only {', '.join(zone.name for zone in found)}" if found else "none"
        message = f"The kernel offers no RAPL package zone in {root} ({only})"
        if virtual:
            message += ": this is a virtual machine, and its host keeps the counters to itself; nothing in here helps."
        else:
            message += ", although this is no virtual machine; a container may have it masked."
        command = None if found or virtual else "sudo modprobe intel_rapl_msr"
        return [Finding("rapl", Status.MISSING, None, "", message, command)]
    if denied := [zone for zone in packages if isinstance(zone.error, PermissionError)]:
        message = f"Only root may read {len(denied)} of {len(packages)} RAPL packages (CVE-2020-8694)."
        command = f"sudo chmod a+r {root}/intel-rapl:*/energy_uj"
        return [Finding("rapl", Status.MISSING, None, "", message, command)]
    if broken := [zone for zone in packages if zone.error]:
        message = f"RAPL zone {broken[0].name} cannot be read: {broken[0].error}."
        return [Finding("rapl", Status.MISSING, None, "", message)]
    drams = [zone for zone in found if zone.name == "dram" and not zone.error]
    message = f"{len(packages)} package(s), {len(drams)} with memory; the whole machine's energy, not a process's."
    findings = []
    for zone in (*packages, *drams):
        tick = _tick(zone)
        if tick is None:
            text = f"RAPL zone {zone.name} ({zone.path.name}) does not move."
            findings.append(Finding("rapl", Status.WARNING, None, "", text))
        else:
            text = f"{zone.name} ({zone.path.name}). {message}"
            resolution = f"{tick[1]:.0f} uJ, updated every {tick[0] * 1e3:.2g} ms"
            findings.append(Finding("rapl", Status.OK, Kind.MEASURED, resolution, text))
    return findings


def _tick(zone: Zone, patience_s: float = 0.5, updates: int = 10) -> tuple[float, float] | None:
    """Median seconds between updates of a counter and its smallest step in microjoules; None if it stands still."""
    started_s = time.perf_counter()
    seen: list[tuple[float, int]] = []
    while len(seen) <= updates and (now_s := time.perf_counter()) - started_s < patience_s:
        value_uj = zone.read_uj()
        if not seen or value_uj != seen[-1][1]:
            seen.append((now_s, value_uj))
    if len(seen) < 3:
        return None
    # The first interval began somewhere between two updates.
    times_s = sorted(b[0] - a[0] for a, b in itertools.pairwise(seen[1:]))
    steps_uj = [abs(b[1] - a[1]) for a, b in itertools.pairwise(seen)]
    return times_s[len(times_s) // 2], float(min(steps_uj))


def _cpu_time(proc: Path) -> Finding:
    counter = CpuTime(proc=proc)
    low_w, mid_w, high_w = DEFAULT_WATTS_PER_CORE
    message = (
        f"{counter.device}, {usable_cores()} of {os.cpu_count()} cores: CPU seconds x {low_w:g}-{mid_w:g}-{high_w:g} W "
        "per core where RAPL is not had or the machine is shared."
    )
    return Finding("cpu_time", Status.OK, Kind.MODELLED, counter.resolution, message)


def _load(proc: Path, seconds: float = 0.3) -> list[Finding]:
    """Whether others compute on this machine now."""
    busy_s, own_s = busy_cpu_seconds(proc), process_cpu_seconds(proc)
    if busy_s is None:
        return []
    started_s = time.perf_counter()
    time.sleep(seconds)
    others_s = (busy_cpu_seconds(proc) or busy_s) - busy_s - (process_cpu_seconds(proc) - own_s)
    cores = os.cpu_count() or 1
    # The kernel counts in ticks, so that the sum can come out above what the cores can give.
    busy_cores = min(others_s / (time.perf_counter() - started_s), cores)
    if busy_cores < 0.5:
        return []
    message = (
        f"Other processes keep about {busy_cores:.1f} of this machine's {cores} cores busy: machine-wide counters "
        "include them, and timings suffer."
    )
    return [Finding("load", Status.WARNING, None, "", message, "ps -eo pid,pcpu,comm --sort=-pcpu | head")]


def _throttling(cpus: Path) -> list[Finding]:
    """Whether heat has slowed the processor since it was started (Intel)."""
    counts = []
    for file in cpus.glob("cpu[0-9]*/thermal_throttle/package_throttle_count"):
        with contextlib.suppress(OSError, ValueError):
            counts.append(int(file.read_text()))
    if not any(counts):
        return []
    message = f"Heat has slowed the processor {max(counts)} times since it was started: repeat what looks slow."
    return [Finding("cpu_clocks", Status.WARNING, None, "", message)]


def _threads(environ: Mapping[str, str]) -> Finding:
    """More threads than cores spin while they wait, which costs energy and does nothing."""
    cores = usable_cores()
    settings = {name: environ[name] for name in _THREAD_SETTINGS if name in environ}
    shown = ", ".join(f"{name}={value}" for name, value in settings.items()) or "no thread setting"
    if any(value.isdigit() and int(value) > cores for value in settings.values()):
        message = f"More threads than this process's {cores} cores ({shown}): waiting threads spin and draw power."
        return Finding("threads", Status.WARNING, None, "", message, f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", Status.OK, None, "", f"{cores} usable cores, {shown}.")
