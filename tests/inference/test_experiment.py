"""``experiments/inference``: hardware, by processes with less and more of one processor; distillation, by pairs."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from greennas.inference.windows import WindowPlan

pytest.importorskip("transformers")
FOLDER = Path(__file__).parents[2] / "experiments" / "inference"
QUICK = WindowPlan(window_s=0.02, repeats=2, max_repeats=2, warmup_s=0.01)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("hardware")


def test_one_command_compares_what_a_process_may_use_of_the_processor(
    hardware: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = hardware.settings()
    if settings[0].name != "SSE":
        pytest.skip("not an x86 processor")
    whole = next(each for each in settings if not each.variables and each.threads == 1)
    monkeypatch.setattr(hardware, "settings", lambda: [settings[0], whole])
    # The whole processor is measured as it is, whatever this process was told to take it for.
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    run = importlib.import_module("run")
    out = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["run.py", "--part", "hardware", "--quick", "--out", str(out)])
    run.main()

    kept = json.loads(out.read_text())
    rows = kept["hardware"]
    assert [row["hardware"] for row in rows] == ["SSE"] * 6 + [whole.name] * 6
    assert {row["aten"] for row in rows[:6]} == {"DEFAULT"}
    assert {row["aten"] for row in rows[6:]} == {torch.backends.cpu.get_cpu_capability()}
    assert not any("avx" in kernel for row in rows[:6] for kernel in row["onednn"])
    for row in rows:
        assert row["kind"] == "modelled"
        assert row["windows"] == 2
        assert row["unit_j"]["low"] <= row["unit_j"]["value"] <= row["unit_j"]["high"]
    assert [row["ratio"]["value"] for row in rows if row["baseline"]] == [pytest.approx(1)] * 3
    # An image network's convolutions are oneDNN's in both, and wider vectors take less CPU time for them.
    narrow, wide = (next(row for row in part if "images" in row["work"]) for part in (rows[:6], rows[6:]))
    assert narrow["onednn"]
    assert wide["onednn"]
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        assert wide["ratio"]["value"] < 0.9

    printed = capsys.readouterr().out
    assert printed.count("| SSE |") == 3 + 1
    assert printed.count(f"| {whole.name} |") == 3 + 1
    assert f"| hardware | {wide['work']}: {whole.name}, float32; against SSE, float32 |" in printed
    assert len(kept["strategies"]) == 12 - 3


def test_one_command_trains_pairs_alone_and_taught(
    hardware: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = importlib.import_module("run")
    settings = importlib.import_module("distillation").SETTINGS
    out = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["run.py", "--part", "distillation", "--quick", "--out", str(out)])
    run.main()
    kept = json.loads(out.read_text())
    found = kept["distillation"]
    assert list(found) == [setting.name for setting in settings]
    by_training: dict[tuple[bool, float], list[float]] = {}
    for setting in settings:
        assert len(found[setting.name]) == 2
        alone = [pair[0] for pair in found[setting.name]]
        # who trains alone is what the teacher is not in: the same with every teacher
        assert by_training.setdefault((setting.augment, setting.label_smoothing), alone) == alone
    assert len(by_training) < len(settings)
    assert any(before != after for pairs in found.values() for before, after in pairs)
    printed = capsys.readouterr().out
    for (name, pairs), row in zip(found.items(), kept["strategies"], strict=True):
        more = 100 * sum(after - before for before, after in pairs) / len(pairs)
        assert row[0] == "distillation"
        assert row[-1] == f"{more:+.2f} points"
        assert f"| {name} | {sum(pair[0] for pair in pairs) / 2:.4f} |" in printed


def test_a_process_that_ends_early_ends_the_comparison_with_a_sentence(
    hardware: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "__file__", str(tmp_path / "is-not-there.py"))
    with pytest.raises(SystemExit, match="ended before its time"):
        hardware.measure([hardware.Hardware("all", {})], hardware.Work(16, 4, 4), QUICK)
