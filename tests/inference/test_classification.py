from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from greennas.checkpoint import read_checkpoint
from greennas.cli import app, main
from greennas.data import load_data
from greennas.energy import Kind
from greennas.energy.intervals import ratio_interval
from greennas.errors import ConfigError
from greennas.full import prepare_training, train_to_the_end
from greennas.inference.classification import bench_classifiers
from greennas.inference.classification_plot import write_plot
from greennas.inference.classification_report import InferenceReport
from greennas.inference.targets import Target, find_target
from greennas.inference.variant import Variant
from greennas.inference.windows import Timed, WindowPlan, quantile
from greennas.inference.workshop import Compression

QUICK = WindowPlan(window_s=0.02, repeats=3, max_repeats=3, warmup_s=0.01)
FASTEST = ["--batch-size", "4", "--runtime", "eager", "--precision", "float32", "--compression", "none"]
FASTEST += ["--window", "0.01", "--repeats", "2", "--max-repeats", "2", "--json"]
TINY = """
from torch import nn


def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
"""


@pytest.fixture(scope="module")
def report(digits_folder: Path) -> InferenceReport:
    """All that compiles within seconds."""
    return bench_classifiers(
        [find_target(str(digits_folder))],
        batch_sizes=(1, 16),
        runtimes=("eager", "onnxruntime"),
        compression=Compression.of(0.5, 4),
        plan=QUICK,
    )


def accuracy(report: InferenceReport, *way: str) -> float:
    found = report.facts_of(Variant("digits-net", *way)).accuracy
    assert found is not None
    return found


def test_every_variant_runs_or_says_why(report: InferenceReport) -> None:
    ran = [str(each.variant) for each in report.facts]
    assert ran == [
        "digits-net, eager, float32",
        "digits-net, eager, bfloat16",
        "digits-net, onnxruntime, float32",
        "digits-net, onnxruntime, int8",
        "digits-net, folded, eager, float32",
        "digits-net, folded, eager, bfloat16",
        "digits-net, pruned, eager, float32",
        "digits-net, pruned, eager, bfloat16",
        "digits-net, pruned, onnxruntime, float32",
        "digits-net, pruned, onnxruntime, int8",
    ]
    assert len(report.rows) == 2 * len(ran)
    assert len(ran) + len(report.unavailable) == 3 * 2 * 3  # nothing is left out silently
    assert all(reason.endswith(".") for _, reason in report.unavailable)


def test_accuracies_before_and_after(report: InferenceReport) -> None:
    before = accuracy(report)
    assert before > 0.9
    for way in (("folded",), ("none", "onnxruntime")):
        assert accuracy(report, *way) == pytest.approx(before, abs=0.005)
        assert report.facts_of(Variant("digits-net", *way)).agreement == pytest.approx(1, abs=0.005)
    assert accuracy(report, "none", "onnxruntime", "int8") > before - 0.03
    assert accuracy(report, "pruned") > before - 0.15
    pruned, whole = report.facts_of(Variant("digits-net", "pruned")), report.facts[0]
    assert pruned.parameters < 0.6 * whole.parameters
    assert pruned.weight_bytes < 0.6 * whole.weight_bytes
    (note,) = [each.note for each in report.preparations if each.note]
    assert f"{accuracy(report, 'pruned'):.4f}" in note


def test_ratios_are_those_of_the_windows_and_kinds_are_shown(report: InferenceReport) -> None:
    for row in report.rows:
        first = next(each for each in report.rows if each.batch_size == row.batch_size)
        assert first.variant == report.facts[0].variant
        assert row.kind is Kind.MODELLED
        assert row.image_j
        assert first.image_j
        assert row.ratio
        assert row.bounds_image_j
        # The geometric mean of three ratios against the ratio of two means, which differ on a busy machine.
        assert 0.4 < row.ratio.value / (row.image_j.value / first.image_j.value) < 2.5
        assert row.ratio.low <= row.ratio.value <= row.ratio.high
        assert row.bounds_image_j[0] < row.image_j.value < row.bounds_image_j[1]
        assert row.windows == 3
        assert row.latency_p50_ms > 0
        assert (row.latency_p99_ms is None) == (row.calls < 100)
        assert row.latency_p50_ms <= (row.latency_p99_ms or row.latency_p50_ms)
        if row.variant == first.variant:
            assert (row.ratio.value, row.ratio.low, row.ratio.high) == (1, 1, 1)
    for reading in (each.reading for each in report.preparations):
        assert reading.kind is Kind.MODELLED
        assert reading.energy_j


def test_batches_save_energy_an_image(report: InferenceReport) -> None:
    one, many = (row.image_j for row in report.rows if row.variant == report.facts[0].variant)
    assert one
    assert many
    assert many.value < 0.7 * one.value


def test_the_front_is_of_one_kind(report: InferenceReport) -> None:
    front = report.front(16)
    assert front
    for row in report.rows:
        if row.batch_size != 16 or row in front:
            continue
        assert row.image_j
        better = [
            each
            for each in front
            if each.image_j
            and each.image_j.value <= row.image_j.value
            and (report.facts_of(each.variant).accuracy or 0) >= (report.facts_of(row.variant).accuracy or 0)
        ]
        assert better
    cheap = replace(report.rows[-1], kind=Kind.MEASURED, image_j=replace(front[0].image_j, value=0.0))  # type: ignore[type-var]
    mixed = replace(report, rows=(*report.rows[:-1], cheap))
    assert all(row.kind is Kind.MODELLED for row in mixed.front(16))


def test_the_report_survives_json(report: InferenceReport, tmp_path: Path) -> None:
    assert InferenceReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    with pytest.raises(ConfigError, match="to_json"):
        InferenceReport.from_json({})
    write_plot(report, tmp_path / "plot.html")
    text = (tmp_path / "plot.html").read_text()
    assert re.search(r"(m|µ|\\u00b5)J an image at batch size 16 \(modelled, cpu\)", text)
    assert "<script src=" not in text  # offline
    with pytest.raises(ConfigError, match=r"cannot be written: .*; choose another"):
        write_plot(report, tmp_path)  # a folder


@pytest.mark.long  # the compiler takes ten seconds and more
def test_compiled_variants_run_or_say_why() -> None:
    dataset = load_data("digits")
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)]
    target = Target("tiny", nn.Sequential(*layers).eval(), dataset.input_shape, dataset)
    report = bench_classifiers(
        [target],
        batch_sizes=(8,),
        runtimes=("compile",),
        precisions=("int8",),
        compressions=("none",),
        plan=QUICK,
    )
    variant = Variant("tiny", "none", "compile", "int8")
    if report.unavailable:  # no compiler, or another processor
        ((what, reason),) = report.unavailable
        assert what == str(variant)
        assert reason
    else:
        whole, small = report.facts
        assert (whole.variant, small.variant) == (Variant("tiny"), variant)
        assert small.weight_bytes < 0.5 * whole.weight_bytes
        assert small.agreement is not None
        assert small.agreement > 0.95
        assert [each.what.rpartition(": ")[2] for each in report.preparations] == [
            "export and calibration",
            "compilation",
        ]


def test_a_run_gives_the_picked_network_with_its_data(finished_run: Path) -> None:
    target = find_target(str(finished_run), pick="most-accurate")
    checkpoint = next((finished_run / "checkpoints").glob(f"{target.name}*"))
    (fact,) = bench_classifiers(
        [target], batch_sizes=(8,), runtimes=("eager",), precisions=("float32",), compressions=("none",), plan=QUICK
    ).facts
    _, about = read_checkpoint(checkpoint)
    assert fact.accuracy == pytest.approx(float(about["validation_accuracy"]), abs=0.01)
    assert find_target(str(checkpoint)).name == target.name


def test_a_network_of_a_run_and_the_same_one_trained_to_the_end_stand_side_by_side(
    finished_run: Path, tmp_path: Path
) -> None:
    of_run = find_target(str(finished_run), pick="knee")
    by_default = tmp_path / "trained" / of_run.name  # as 'greennas train' calls its folders
    train_to_the_end(prepare_training(finished_run, epochs=1, out=by_default))
    elsewhere = tmp_path / "mine"
    shutil.copytree(by_default, elsewhere)
    names = [of_run.name, *(find_target(str(folder)).name for folder in (by_default, elsewhere))]
    assert names == [of_run.name, f"trained-{of_run.name}", "mine"]


def test_functions_without_data_classify_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tiny_models.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    target = find_target("tiny_models:net", input_shape=(1, 8, 8))
    report = bench_classifiers([target], batch_sizes=(4,), runtimes=("eager",), plan=QUICK)
    assert [each.variant.precision for each in report.facts] == ["float32", "bfloat16"]
    assert {each.accuracy for each in report.facts} == {None}
    assert report.front(4) == []
    reasons = " ".join(reason for _, reason in report.unavailable)
    assert "fine-tuned on training images" in reasons
    assert "no batch norm behind a convolution" in reasons
    assert "noise" in " ".join(report.notes)
    with_data = find_target("tiny_models:net", data={"name": "digits"})
    assert with_data.dataset is not None
    assert with_data.input_shape == (1, 8, 8)


def test_two_networks_stand_side_by_side(digits_folder: Path) -> None:
    target = find_target(str(digits_folder))
    small = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    targets = [target, replace(target, name="student", module=small)]
    report = bench_classifiers(
        targets, batch_sizes=(8,), runtimes=("eager",), precisions=("float32",), compressions=("none",), plan=QUICK
    )
    teacher, student = report.rows
    assert (teacher.variant.model, student.variant.model) == ("digits-net", "student")
    assert student.ratio
    assert student.ratio.value < 0.6
    with pytest.raises(ConfigError, match="called the same"):
        bench_classifiers([target, target], plan=QUICK)


def test_the_command_makes_a_table_json_plot_and_models(digits_folder: Path, tmp_path: Path) -> None:
    kept, plot, save = tmp_path / "bench.json", tmp_path / "bench.html", tmp_path / "onnx"
    options = ["--batch-size", "4", "--runtime", "eager,onnxruntime", "--precision", "float32,int8"]
    options += ["--compression", "none", "--window", "0.02", "--repeats", "2", "--max-repeats", "2"]
    command = ["bench", str(digits_folder), *options, "--out", str(kept), "--plot", str(plot), "--save", str(save)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    for words in ("modelled (cpu)", "onnxruntime", "int8", "Did not run", "What making the variants took"):
        assert words in done.output
    assert len(InferenceReport.from_json(json.loads(kept.read_text())).rows) == 3
    assert plot.is_file()
    assert sorted(path.name for path in save.iterdir()) == ["digits-net-float32.onnx", "digits-net-int8.onnx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "neither a model folder"),
        (["no.module:net"], "cannot be made"),
        (["FOLDER", "--runtime", "tensorrt"], "There is no runtime 'tensorrt'"),
        (["FOLDER", "--precision", "int4"], "There is no precision 'int4'"),
        (["FOLDER", "--split", "train"], "There is no split 'train'"),
        (["FOLDER", "--prune", "120%"], "cannot be pruned"),
        (["FOLDER", "--data", "mnist"], "was trained on digits"),
        (["FOLDER", "--pick", "knee"], "chooses among the networks of a run"),
        (["no.module:net", "--pick", "knee"], "chooses among the networks of a run"),
        (["FOLDER", "--input-shape", "32,32"], "as in --input-shape 3,32,32"),
        (["FOLDER", "--runtime", ","], "between commas is empty; give one value at least"),
        (["FOLDER", "--narrow", "200%"], "must lie between 0 and 1"),
        (["FOLDER", "--save", "file/models"], "file/models cannot be made (Not a directory); choose another --save"),
        (["FOLDER", "--out", "file/bench.json", *FASTEST], "cannot be written: there is no folder file to write into"),
        (["FOLDER", "--plot", "file/plot.html", *FASTEST], "cannot be written: there is no folder file to write into"),
        (["tiny_models:net", "--input-shape", "3,8,8", *FASTEST], "does not run (RuntimeError: "),
        (["tiny_models:net", "--input-shape", "3,8,8", *FASTEST], "give the shape of its images with --input-shape"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(
    options: list[str],
    message: str,
    digits_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "tiny_models.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_models", raising=False)
    words = [str(digits_folder) if word == "FOLDER" else word for word in options]
    monkeypatch.setattr(sys, "argv", ["greennas", "bench", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.glob("*.onnx"))


def test_a_benchmark_of_nothing_is_refused(digits_folder: Path) -> None:
    target = find_target(str(digits_folder))
    for targets, batch_sizes in (([], (1,)), ([target], ()), ([target], (0,))):
        with pytest.raises(ConfigError, match="needs a network and batch sizes of 1 or more"):
            bench_classifiers(targets, batch_sizes=batch_sizes)
    with pytest.raises(ConfigError, match=r"warm-up \(-1 s\) must not be negative"):
        WindowPlan(warmup_s=-1)


def test_times_are_of_the_last_calls_and_quantiles_are_of_the_nearest_rank() -> None:
    waits = iter([0.02, 0.0, 0.0, 0.0])
    timed = Timed(lambda: torch.zeros(1) if next(waits) == 0 else __import__("time").sleep(0.02), lambda: None)
    for _ in range(4):
        timed()
    assert max(timed.last_ms(3)) < 20 <= max(timed.last_ms(4))
    ordered = [float(value) for value in range(1, 101)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile(ordered, 1.0)) == (50, 99, 100)
    assert quantile(ordered[:99], 0.99, least=100) is None


def test_ratios_of_turns_cancel_drift() -> None:
    drift = [1.0, 2.0, 4.0]
    found = ratio_interval([3 * each for each in drift], drift, 0.95)
    assert found == pytest.approx((3, 3, 3))
    assert ratio_interval([1.0, 0.0], [1.0, 1.0], 0.95) is None
    assert ratio_interval([1.0], [1.0], 0.95) is None
