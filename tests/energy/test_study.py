"""The study of the meters in experiments/, with a GPU that is not there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from energy_fakes import FakeGpu, fake_pynvml
from modules import module_from

from greennas.energy import open_meter
from greennas.energy.nvml import load_nvml
from greennas.energy.visible import Target

RUN = Path(__file__).parents[2] / "experiments" / "energy_meter" / "run.py"


study = module_from(RUN)  # before a test takes torch away


def test_gpu_parts_find_tick_and_errors_of_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu(tick_s=0.05)))
    nvml, _ = load_nvml()
    assert nvml is not None
    gpu = nvml.gpus()[0]
    tick = study.gpu_tick(nvml, Target(gpu), 6)
    assert tick["median_ms"] == pytest.approx(50, rel=0.1)

    def work() -> None:
        time.sleep(0.002)

    meter = open_meter("cuda", exclusive=False)
    (short,) = study.window_error(work, meter, lambda: nvml.energy_j(gpu), [0.12], 6, 0.6)
    assert short["rms"] < short["naive_rms"]
    rows = study.counter_and_power({"steady": work}, nvml, Target(gpu), lambda: None, 0.3)
    assert [row["network"] for row in rows] == ["idle", "steady"]
    for row in rows:
        joules = [row[name]["energy_j"] for name in ("nvml.total_energy", "nvml.power_instant", "nvml.power_average")]
        assert joules == [pytest.approx(100 * row["seconds"], rel=0.15)] * 3


def test_cpu_part_runs_and_says_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr("greennas.energy.meter.open_rapl", list)
    result = study.study("cpu", quick=True)
    text = study.markdown(result)
    assert set(result["left_out"]) == {"power", "gpu"}
    assert "Not run: Counter against integrated power" in text
    assert [row["network"] for row in result["repeat"]] == ["small", "middle", "large"]
    assert result["repeat"][0]["energy_j"] < result["repeat"][2]["energy_j"]
    assert all(row["kind"] == "modelled" and row["active_j"] is None for row in result["repeat"])
