"""Tasks: a training with its energy, failures with what they drew, probes, and the test split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from greennas.data import load_data
from greennas.energy import Kind, subtotals
from greennas.errors import ConfigError
from greennas.evaluate import METRICS, EvaluationTask, Measurement, run_task
from greennas.trainer import Rung, RungReport, TrainingPlan

SPACE = '''
"""Two convolutions of a width; other kinds go wrong in their own way."""

import torch
from torch import nn


def sample(trial):
    return {"width": trial.suggest_int("width", 4, 64), "kind": "good"}


class Bad(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, x):
        if self.kind == "huge":
            return torch.empty(2**60) * self.scale
        logits = x.flatten(1)[:, :10] * self.scale
        if self.kind == "nan":
            return logits * float("nan")
        if self.kind == "dead":
            return logits * 0
        if self.kind == "wide":
            return torch.cat([logits, logits], 1)
        if self.kind == "interrupt" and self.training:
            raise KeyboardInterrupt
        return logits


def build(params, input_shape, num_classes, *, stride=2):
    width, kind = params["width"], params.get("kind", "good")
    if kind == "raises":
        raise ValueError("no such layer")
    if kind != "good":
        return Bad(kind)
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes),
    )
'''


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> EvaluationTask:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("work")
    (folder / "toy.py").write_text(SPACE)
    load_data("digits").save(folder / "data")
    plan = TrainingPlan(epochs=4, learning_rate=0.3, precision="float32")
    return EvaluationTask("train", str(folder / "toy.py"), str(folder / "data"), params={"width": 16}, plan=plan)


def joules(measurement: Measurement, phase: str) -> float:
    return sum(reading.energy_j or 0.0 for reading in measurement.readings[phase])


def test_training_is_measured(task: EvaluationTask, tmp_path: Path) -> None:
    path = tmp_path / "models" / "net.safetensors"
    done = run_task(replace(task, checkpoint=str(path), options={"stride": 1}))
    assert done.ok, done.reason
    assert set(done.metrics) == set(METRICS)
    values = {name: value for name, value in done.metrics.items() if value is not None}
    assert set(values) == set(METRICS)
    assert values["accuracy"] > 0.9
    assert values["parameters"] == 9 * 16 + 32 + 16 * 32 * 9 + 64 + 330
    assert values["flops"] == 2 * 64 * (9 * 16 + 16 * 32 * 9) + 2 * 320
    assert all(value > 0 for value in values.values())
    assert values["train_energy_j"] == pytest.approx(joules(done, "train"))
    assert set(done.kinds) == {"train_energy_j", "inference_energy_j_per_1k"}
    assert set(done.readings) == {"overhead", "train", "evaluate", "inference"}
    assert sum(subtotals(done.all_readings).values()) > values["train_energy_j"]
    assert done.readings["inference"][0].seconds >= 0.2
    # forward and backward of an image cost more than its forward, and not unboundedly more
    an_image_trained = values["train_energy_j"] / done.examples_seen
    assert 1 < an_image_trained / (values["inference_energy_j_per_1k"] / 1000) < 30
    assert done.environment["precision"] == "float32"
    assert done.environment["threads"] == torch.get_num_threads()
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    assert json.loads(about["architecture"])["params"] == {"width": 16}
    assert json.loads(about["architecture"])["options"] == {"stride": 1}
    assert Measurement.from_json(json.loads(json.dumps(done.to_json()))) == done


def test_same_seed_same_result(task: EvaluationTask) -> None:
    quick = replace(task, inference=False, plan=replace(task.plan, epochs=1))
    first, second = run_task(quick), run_task(quick)
    assert (first.metrics["accuracy"], first.metrics["loss"]) == (second.metrics["accuracy"], second.metrics["loss"])
    assert first.metrics["inference_energy_j_per_1k"] is None
    other = run_task(replace(quick, plan=replace(quick.plan, seed=1)))
    assert other.metrics["loss"] != first.metrics["loss"]


def test_search_never_opens_the_test_split_and_test_reads_the_checkpoint(task: EvaluationTask, tmp_path: Path) -> None:
    dataset = load_data("digits")
    checkpoint = str(tmp_path / "net.safetensors")
    dataset.save(tmp_path / "all")
    replace(dataset, test=None).save(tmp_path / "search")
    trained = run_task(replace(task, data=str(tmp_path / "search"), checkpoint=checkpoint, inference=False))
    assert trained.ok, trained.reason
    test = replace(task, work="test", data=str(tmp_path / "all"), checkpoint=checkpoint)
    tested = run_task(test)
    assert tested.ok, tested.reason
    assert tested.metrics["accuracy"] > 0.85
    assert tested.metrics["loss"] != trained.metrics["loss"]
    assert joules(tested, "evaluate") > 0
    assert not run_task(replace(test, data=str(tmp_path / "search"))).ok
    other = run_task(replace(test, params={"width": 8}))
    assert "is of another network" in other.reason
    damaged = run_task(replace(test, checkpoint=str(tmp_path / "all" / "none.safetensors")))
    assert "no file" in damaged.reason


def test_a_stopped_training_says_where(task: EvaluationTask, tmp_path: Path) -> None:
    reports: list[RungReport] = []

    def stop(report: RungReport) -> bool:
        reports.append(report)
        return report.epoch < 2

    checkpoint = tmp_path / "net.safetensors"
    plan = replace(task.plan, rungs=(1, 2, 3))
    done = run_task(replace(task, plan=plan, checkpoint=str(checkpoint)), stop)
    assert done.ok
    assert done.stopped_rung == 2
    assert done.rungs == tuple(reports)
    assert done.metrics["accuracy"] == reports[-1].accuracy
    assert done.examples_seen == 2 * 16 * 64
    assert len(done.readings["train"]) == len(done.readings["evaluate"]) == 2
    assert "inference" not in done.readings
    assert not checkpoint.exists()
    assert Measurement.from_json(json.loads(json.dumps(done.to_json()))) == done


def test_rungs_of_their_own_come_before_the_training_and_do_not_change_it(task: EvaluationTask) -> None:
    reports: list[RungReport] = []

    def note(report: RungReport) -> bool:
        reports.append(report)
        return True

    rungs = (Rung(2, resolution=4), Rung(1, data_share=0.25), Rung(3))
    task = replace(task, inference=False)
    with_rungs = run_task(replace(task, plan=replace(task.plan, rungs=rungs)), note)
    without = run_task(task)
    assert [report.rung for report in reports] == list(rungs)
    assert with_rungs.rungs == tuple(reports)
    assert [report.steps for report in reports] == [2 * 16, 4, 3 * 16]  # of 1,079 images, in batches of 64
    small, few, look = reports
    assert 0.2 < small.accuracy < look.accuracy
    assert few.accuracy < look.accuracy
    assert small.seconds < look.seconds
    assert (with_rungs.metrics["accuracy"], with_rungs.steps) == (without.metrics["accuracy"], without.steps)
    assert with_rungs.metrics["loss"] == pytest.approx(without.metrics["loss"], rel=1e-5)
    # The joules of the short trainings are on the bill, and none of the network's.
    assert joules(with_rungs, "rung") > 0
    assert with_rungs.metrics["train_energy_j"] == pytest.approx(joules(with_rungs, "train"))
    assert "rung" not in without.readings
    assert Measurement.from_json(json.loads(json.dumps(with_rungs.to_json()))) == with_rungs


def test_a_network_stopped_at_a_rung_of_its_own_is_not_trained(task: EvaluationTask, tmp_path: Path) -> None:
    checkpoint = tmp_path / "net.safetensors"
    plan = replace(task.plan, rungs=(Rung(2, resolution=4, data_share=0.5),))
    done = run_task(replace(task, plan=plan, checkpoint=str(checkpoint)), lambda report: False)
    assert done.ok, done.reason
    assert done.stopped_rung == 2
    assert (done.metrics["accuracy"], done.steps) == (done.rungs[-1].accuracy, 16)
    assert done.metrics["train_energy_j"] is None
    assert set(done.readings) == {"overhead", "rung", "evaluate"}
    assert not checkpoint.exists()
    assert Measurement.from_json(json.loads(json.dumps(done.to_json()))) == done


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "loss is not finite after 1 steps"),
        ("huge", "out of memory"),
        ("dead", "dead network"),
        ("wide", "of shape"),
        ("raises", "ValueError: no such layer (line"),
    ],
)
def test_a_failed_candidate_keeps_its_reason_and_its_joules(task: EvaluationTask, kind: str, reason: str) -> None:
    failed = run_task(replace(task, params={"width": 4, "kind": kind}))
    assert failed.status == "failed"
    assert reason in failed.reason
    assert set(failed.metrics.values()) == {None}
    assert sum(subtotals(failed.all_readings).values()) > 0
    assert ("train" in failed.readings) == (kind == "nan")
    assert Measurement.from_json(json.loads(json.dumps(failed.to_json()))) == failed


def test_a_diverging_learning_rate_fails(task: EvaluationTask) -> None:
    failed = run_task(replace(task, plan=replace(task.plan, learning_rate=1e38)))
    assert "loss is not finite" in failed.reason


def test_missing_data_and_space_fail_with_their_sentence(task: EvaluationTask, tmp_path: Path) -> None:
    assert "There is no file" in run_task(replace(task, data=str(tmp_path))).reason
    assert "no search space file" in run_task(replace(task, space=str(tmp_path / "none.py"))).reason


def test_an_interrupt_passes_through(task: EvaluationTask) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_task(replace(task, params={"width": 4, "kind": "interrupt"}))


def test_probe_foretells_the_training(task: EvaluationTask) -> None:
    plan = replace(task.plan, epochs=6, rungs=(3,))
    candidates = ({"width": 8}, {"width": 4, "kind": "nan"}, {"width": 4, "kind": "raises"}, {"width": 64})
    probed = run_task(replace(task, work="probe", plan=plan, candidates=candidates, probe_steps=8))
    assert probed.ok
    small, nan, raises, large = probed.probes
    assert [probe.params for probe in probed.probes] == list(candidates)
    assert nan.reason is not None
    assert "not finite" in nan.reason
    assert raises.reason is not None
    assert "no such layer" in raises.reason
    assert raises.train_energy_j is None
    for probe in (small, large):
        assert probe.reason is None
        assert probe.step_energy_j is not None
        assert probe.train_energy_j == pytest.approx(probe.step_energy_j * 6 * 16)
        trained = run_task(replace(task, plan=plan, params=probe.params, inference=False))
        assert trained.metrics["train_energy_j"] is not None
        assert 0.4 < probe.train_energy_j / trained.metrics["train_energy_j"] < 2.5
        assert probe.evaluation_energy_j is not None
        assert 0.2 < probe.evaluation_energy_j / joules(trained, "evaluate") < 5
        assert probe.kind is trained.kinds["train_energy_j"]
    assert small.train_energy_j is not None
    assert large.train_energy_j is not None
    assert large.train_energy_j > 2 * small.train_energy_j
    assert joules(probed, "probe") > 0
    assert joules(probed, "overhead") > 0
    assert Measurement.from_json(json.loads(json.dumps(probed.to_json()))) == probed


def test_confirmed_energies_have_intervals_that_tell_small_from_large(task: EvaluationTask) -> None:
    plans = (task.plan, replace(task.plan, epochs=8))
    networks = ({"width": 8}, {"width": 48})
    confirm = replace(task, work="confirm", candidates=networks, plans=plans, repeats=4, window_s=0.1)
    done = run_task(confirm)
    assert done.ok, done.reason
    small, large = done.confirmations
    for each in (small, large):
        assert (each.kind, each.component, each.windows, each.confidence) == (Kind.MODELLED, "cpu", 4, 0.95)
        assert each.train_energy_j is not None
        assert each.interval_j is not None
        assert each.interval_j[0] <= each.train_energy_j <= each.interval_j[1]
        assert 0.03 < each.window_s < 0.5
    assert small.interval_j is not None
    assert large.interval_j is not None
    assert small.interval_j[1] < large.interval_j[0]
    trained = run_task(replace(task, params=networks[0], inference=False))
    assert 1 / 3 < small.train_energy_j / trained.metrics["train_energy_j"] < 3  # a busy machine takes more CPU time
    assert len(done.readings["confirm"]) == 8
    assert Measurement.from_json(json.loads(json.dumps(done.to_json()))) == done
    travelled = json.loads(json.dumps(confirm.to_json()))
    assert EvaluationTask.from_json(travelled) == confirm


def test_confirmed_windows_are_never_longer_than_the_training(task: EvaluationTask) -> None:
    plan = replace(task.plan, epochs=1, batch_size=512)
    confirm = replace(task, work="confirm", candidates=({"width": 4},), plans=(plan,), repeats=2)
    (found,) = run_task(confirm).confirmations
    assert found.steps <= 2


@pytest.mark.parametrize("options", [{"repeats": 1}, {"plans": ()}])
def test_a_confirmation_needs_repeats_and_plans(task: EvaluationTask, options: dict[str, object]) -> None:
    settings: dict[str, object] = {"candidates": ({"width": 4},), "plans": (task.plan,), "repeats": 2, **options}
    with pytest.raises(ConfigError, match="two repeats"):
        replace(task, work="confirm", **settings)  # type: ignore[arg-type]


def test_energy_that_cannot_be_read_is_none_and_never_zero(
    task: EvaluationTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> object:
        raise OSError("counter gone")

    monkeypatch.setattr("greennas.energy.cpu_time.CpuTime.begin", broken)
    done = run_task(replace(task, exclusive=False, plan=replace(task.plan, epochs=1)))
    assert done.ok
    assert done.metrics["train_energy_j"] is None
    assert done.kinds["train_energy_j"] is Kind.UNAVAILABLE
    probed = run_task(replace(task, work="probe", exclusive=False, candidates=(task.params,)))
    assert probed.probes[0].train_energy_j is None
    assert probed.probes[0].train_seconds is not None


def test_tasks_travel_as_json_and_refuse_nonsense(task: EvaluationTask) -> None:
    full = replace(
        task,
        work="probe",
        options={"stride": 1},
        candidates=({"width": 4},),
        watts_per_core=(1.0, 2.0, 3.0),
        plan=TrainingPlan(epochs=3, rungs=(1, 2)),
    )
    assert EvaluationTask.from_json(json.loads(json.dumps(full.to_json()))) == full
    with pytest.raises(ConfigError, match="no work 'play'"):
        replace(task, work="play")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0 steps measures nothing; take 1 or more"):
        replace(full, probe_steps=0)
    with pytest.raises(ConfigError, match="needs the checkpoint"):
        replace(task, work="test")
    with pytest.raises(ConfigError, match="Not an evaluation task"):
        EvaluationTask.from_json({"work": "train"})
    with pytest.raises(ConfigError, match="Not a measurement"):
        Measurement.from_json({"status": "ok"})
