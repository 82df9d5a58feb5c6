"""How far the energy meters of a machine can be believed: tick, window error, repeatability, counter against power.

    python experiments/energy_meter/run.py [--device cpu|cuda] [--quick] [--out result.json]

1. Tick: how often the counter is updated.
2. Window error: steady work is metered in short windows; their energy for each call is compared with that of one long
   window. "Naive" windows are bare differences of the counter, begun and ended wherever they fall.
3. Repeatability: coefficient of variation of the energy of a training step over windows taken in turns, for three
   networks of NAS-Bench-201 (seed 0), and which of them cannot be told apart.
4. Counter against integrated power, read over the same windows.

Without an NVIDIA GPU the parts that need one are left out, and the result says so. Nothing here is random but the
networks' weights and the images' order, both of seed 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import greennas
from greennas.energy import Kind, Meter, describe_devices, open_meter
from greennas.energy.benchmark import Benchmark
from greennas.energy.cpu_time import CpuTime
from greennas.energy.gpu import GpuEnergyCounter, GpuPowerSampler, cuda_uuid
from greennas.energy.intervals import letters
from greennas.energy.nvml import Nvml, load_nvml
from greennas.energy.visible import Target, find_target
from greennas.errors import MeterError
from greennas.training.loop import TrainingLoop
from greennas.training.plan import TrainingPlan

SEED = 0
CELLS = {"small": "skip_connect", "middle": "nor_conv_1x1", "large": "nor_conv_3x3"}
"""The operation on the two edges of a chain from the cell's input to its output; all other edges are empty."""
WORDS = {
    "tick": "Counter tick",
    "window": "Window error",
    "repeat": "Repeatability",
    "power": "Counter against integrated power",
}


def networks(device: str) -> dict[str, Callable[[], None]]:
    """One training step of each of the three networks, with real images."""
    on_gpu = device != "cpu"
    space = greennas.load_space("nasbench201", width=64 if on_gpu else 8, depth=3 if on_gpu else 1)
    data = greennas.load_data("digits", resolution=32 if on_gpu else 8)
    plan = TrainingPlan(epochs=1, batch_size=512 if on_gpu else 64, precision="float32", seed=SEED)
    steps: dict[str, Callable[[], None]] = {}
    for name, operation in CELLS.items():
        edges = dict.fromkeys(("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"), "none")
        torch.manual_seed(SEED)
        module = space.build(edges | {"1<-0": operation, "3<-1": operation}, data.input_shape, data.num_classes)
        loop = TrainingLoop(module, data, plan, torch.device(device))
        steps[name] = lambda loop=loop: loop.advance(1)  # type: ignore[misc]
    return steps


def gpu_target(index: int = 0) -> tuple[Nvml, Target] | None:
    """NVML and the GPU that CUDA numbers ``index``; None without one."""
    nvml, _ = load_nvml()
    gpus = nvml.gpus() if nvml else []
    if nvml is None or not gpus:
        return None
    return nvml, find_target(index, gpus, os.environ, cuda_uuid(index))


def cpu_tick(updates: int) -> dict[str, Any]:
    """Smallest steps of the process's CPU time, which modelled energy is made of."""
    seen = [time.process_time()]
    while len(seen) <= updates:
        now_s = time.process_time()
        if now_s != seen[-1]:
            seen.append(now_s)
    return _ticks("cpu_time", [b - a for a, b in itertools.pairwise(seen)])


def gpu_tick(nvml: Nvml, target: Target, updates: int) -> dict[str, Any]:
    """Seconds between updates of the GPU's energy counter."""
    times_s: list[float] = []
    before_j = nvml.energy_j(target.gpu)
    while len(times_s) <= updates:
        time.sleep(5e-4)
        now_j = nvml.energy_j(target.gpu)
        if now_j != before_j:
            times_s.append(time.perf_counter())
            before_j = now_j
    return _ticks("nvml.total_energy", [b - a for a, b in itertools.pairwise(times_s)])


def _ticks(source: str, intervals_s: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(intervals_s)
    median, worst = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
    return {"source": source, "updates": len(ordered), "median_ms": 1e3 * median, "p95_ms": 1e3 * worst}


def window_error(
    work: Callable[[], None],
    meter: Meter,
    raw_j: Callable[[], float] | None,
    lengths_s: Sequence[float],
    repeats: int,
    reference_s: float,
) -> list[dict[str, Any]]:
    """Errors of short windows against a long one, as shares of it: root mean square and largest.

    Args:
        work: steady work.
        meter: what to judge.
        raw_j: the bare counter in joules; None where there is none to compare with.
        lengths_s: lengths of the windows.
        repeats: windows of each length.
        reference_s: length of the window that they are compared with.
    """
    rate_j = _metered_j(work, meter, reference_s)
    found = []
    for length_s in lengths_s:
        errors: list[float] = []
        naive: list[float] = []
        for turn in range(repeats):
            time.sleep(0.0137 * (turn % 7))  # begins that have nothing to do with the counter
            errors.append(_metered_j(work, meter, length_s) / rate_j - 1)
            if raw_j:
                naive.append(_naive_j(work, meter, raw_j, length_s) / rate_j - 1)
        row = {"length_s": length_s, "windows": repeats}
        found.append(row | _errors("", errors) | (_errors("naive_", naive) if naive else {}))
    return found


def _work_for(work: Callable[[], None], meter: Meter, length_s: float) -> int:
    """Work for so long; the number of calls."""
    calls, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < length_s:
        work()
        calls += 1
    meter.synchronize()
    return calls


def _metered_j(work: Callable[[], None], meter: Meter, length_s: float) -> float:
    """Joules of a call in a window of the meter."""
    with meter.window() as window:
        calls = _work_for(work, meter, length_s)
    energy_j = window.readings[0].energy_j
    if energy_j is None:
        raise MeterError(f"A window has no energy: {' '.join(window.readings[0].notes)}")
    return energy_j / calls


def _naive_j(work: Callable[[], None], meter: Meter, raw_j: Callable[[], float], length_s: float) -> float:
    """Joules of a call by the bare counter."""
    before_j = raw_j()
    calls = _work_for(work, meter, length_s)
    return (raw_j() - before_j) / calls


def _errors(prefix: str, errors: Sequence[float]) -> dict[str, float]:
    return {
        f"{prefix}rms": statistics.fmean(error**2 for error in errors) ** 0.5,
        f"{prefix}largest": max(map(abs, errors)),
    }


def repeatability(
    steps: Mapping[str, Callable[[], None]], meter: Meter, window_s: float, repeats: int
) -> list[dict[str, Any]]:
    """Energy of a training step of each network, with its interval and coefficient of variation."""
    found = meter.benchmark(steps, window_s=window_s, repeats=repeats, warmup_s=min(1.0, window_s))
    groups = letters({name: each.interval_j for name, each in found.items() if each.interval_j is not None})
    return [
        {
            "network": name,
            "kind": str(each.kind),
            "windows": len(each.readings),
            "window_s": statistics.fmean(reading.seconds for reading in each.readings),
            "energy_j": each.energy_j,
            "interval_j": each.interval_j,
            "active_j": each.active_j,
            "latency_ms": each.latency_ms,
            "cv": _variation(each),
            "same_within_noise": groups.get(name),
        }
        for name, each in found.items()
    ]


def _variation(found: Benchmark) -> float | None:
    """Coefficient of variation of a call's energy over the windows."""
    joules = [r.energy_j / n for r, n in zip(found.readings, found.calls, strict=True) if r.energy_j is not None]
    mean = statistics.fmean(joules) if joules else 0.0
    return statistics.stdev(joules) / mean if len(joules) > 1 and mean else None


def counter_and_power(
    steps: Mapping[str, Callable[[], None]],
    nvml: Nvml,
    target: Target,
    synchronize: Callable[[], None],
    window_s: float,
) -> list[dict[str, Any]]:
    """The energy counter and both integrated powers over the same window of each network, and of the idle GPU."""
    counters: list[Any] = [GpuEnergyCounter(nvml, target)]
    for instant in (True, False):
        try:
            counters.append(GpuPowerSampler(nvml, target, instant=instant))
        except MeterError as error:
            print(f"Left out: {error}")
    meter = Meter(counters, synchronize)
    rows = []
    for name, work in {"idle": lambda: time.sleep(0.05), **steps}.items():
        work()
        with meter.window() as window:
            started_s = time.perf_counter()
            while time.perf_counter() - started_s < window_s:
                work()
        row: dict[str, Any] = {"network": name, "seconds": window.seconds}
        for reading in window.readings:
            row[reading.backend] = {"kind": str(reading.kind), "energy_j": reading.energy_j, "notes": reading.notes}
        rows.append(row)
    return rows


def study(device: str, quick: bool) -> dict[str, Any]:
    """All parts that can run here; the others are in ``left_out`` with their reason."""
    left_out: dict[str, str] = {}
    meter = open_meter(device)
    source = meter.describe()[0]
    on_gpu = device != "cpu"
    steps = networks(device)
    found = gpu_target() if on_gpu else None
    result: dict[str, Any] = {"meter": {"backend": source.backend, "kind": str(source.kind), "says": source.resolution}}
    updates = 20 if quick else 200
    if source.kind is Kind.UNAVAILABLE:
        raise MeterError("There is no energy to study here; see 'greennas doctor'.")
    if found and source.kind is Kind.MEASURED:
        result["tick"] = gpu_tick(*found, updates)
    elif isinstance(meter.counters[0], CpuTime):
        result["tick"] = cpu_tick(updates)
    else:
        left_out["tick"] = f"{source.backend} is no counter that this part knows"
    raw = (lambda: found[0].energy_j(found[1].gpu)) if found and source.kind is Kind.MEASURED else None
    lengths_s, repeats, reference_s = ((0.05, 0.2), 3, 0.5) if quick else ((0.05, 0.15, 0.5, 1.0, 5.0), 12, 20.0)
    result["window"] = window_error(steps["middle"], meter, raw, lengths_s, repeats, reference_s)
    # A CPU's time is counted finely, and such a machine is shared: shorter windows there.
    window_s = 0.1 if quick else 5.0 if on_gpu else 1.0
    result["repeat"] = repeatability(steps, meter, window_s, 2 if quick else 10)
    if found and source.kind is Kind.MEASURED:
        result["power"] = counter_and_power(steps, *found, meter.synchronize, 1.0 if quick else 10.0)
    else:
        left_out["power"] = "it takes an NVIDIA GPU with an energy counter, and this run had none"
    if not on_gpu:
        left_out["gpu"] = (
            "tick, window error and repeatability of a GPU's counter were not measured: no GPU in this run"
        )
    meter.close()
    return result | {"left_out": left_out}


def markdown(result: Mapping[str, Any]) -> str:
    """The result as tables."""
    meter, lines = result["meter"], []
    lines.append(f"Meter: {meter['backend']}, {meter['kind']}; it says of itself: {meter['says']}.")
    if tick := result.get("tick"):
        lines += ["", "| counter | updates | median | 95th percentile |", "| --- | ---: | ---: | ---: |"]
        lines.append(f"| {tick['source']} | {tick['updates']} | {tick['median_ms']:.3g} ms | {tick['p95_ms']:.3g} ms |")
    lines += ["", "| window | windows | error (rms) | largest | naive (rms) | largest |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in result["window"]:
        cells = [
            f"{100 * row[key]:.2g}%" if key in row else "-" for key in ("rms", "largest", "naive_rms", "naive_largest")
        ]
        lines.append(f"| {row['length_s']:g} s | {row['windows']} | {' | '.join(cells)} |")
    lines += ["", "| network | J a training step | 95% interval | CV over windows | above idle | same within noise |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | --- |")
    for row in result["repeat"]:
        ends = " - ".join(f"{1e3 * end:.4g}" for end in row["interval_j"] or ()) or "-"
        cv = "-" if row["cv"] is None else f"{100 * row['cv']:.2g}% of {row['windows']} x {row['window_s']:.2g} s"
        active = "-" if row["active_j"] is None else f"{1e3 * row['active_j']:.4g} mJ"
        mean = "-" if row["energy_j"] is None else f"{1e3 * row['energy_j']:.4g} mJ"
        lines.append(
            f"| {row['network']} | {mean} {row['kind']} | {ends} mJ | {cv} | {active} | {row['same_within_noise']} |"
        )
    if power := result.get("power"):
        sources = [name for name in power[0] if name not in ("network", "seconds")]
        lines += ["", f"| network | {' | '.join(sources)} |", f"| --- |{' ---: |' * len(sources)}"]
        for row in power:
            joules = ["-" if row[each]["energy_j"] is None else f"{row[each]['energy_j']:.4g} J" for each in sources]
            lines.append(f"| {row['network']} ({row['seconds']:.3g} s) | {' | '.join(joules)} |")
    lines += ["", *(f"Not run: {WORDS.get(part, part)}: {why}." for part, why in result["left_out"].items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs; figures mean nothing")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = study(options.device, options.quick)
    result["machine"] = describe_devices() | {"python": platform.python_version(), "torch": torch.__version__}
    result["settings"] = {"device": options.device, "quick": options.quick, "seed": SEED}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    result["settings"]["load_average"] = load
    cpu = result["machine"]["cpu"]
    gpus = ", ".join(gpu["name"] for gpu in result["machine"]["gpus"]) or "no GPU"
    print(f"Machine: {cpu['model']}, {cpu['usable_cores']} cores, {gpus}; torch {torch.__version__}; seed {SEED}.")
    print(f"Load average at the end: {load}.\n")
    print(markdown(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
