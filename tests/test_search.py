"""The search through the library: real trainings on digits."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

import greennas
from greennas.config import load_config
from greennas.errors import ConfigError, RunError
from greennas.estimate import estimate
from greennas.executors import LocalExecutor
from greennas.measurement import EvaluationTask, Measurement
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search

FAULTS = {"none", "nan", "hungry", "deadly"}
QUICK: dict[str, Any] = {"training": {"epochs": 4, "rungs": [1]}, "screen": {"initial": 3, "pool": 40}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    out = tmp_path_factory.mktemp("runs") / "run"
    return greennas.search("nasbench201", "digits", trials=10, out=out, workers=2, **QUICK)


def test_a_search_ends_with_a_front_of_fully_trained_networks(finished: SearchResult) -> None:
    assert len(finished.trials) == 10
    assert finished.front
    for trial in finished.front:
        assert trial.state == "COMPLETE"
        assert trial.epochs == 4
        assert trial.kinds["train_energy_j"] == "modelled"
        assert set(trial.test) == {"accuracy", "loss"}
        assert 0.5 < trial.test["accuracy"] <= 1
    stopped = [trial for trial in finished.trials if trial.state == "PRUNED"]
    assert not {t.number for t in stopped} & {t.number for t in finished.front}
    assert 0 < finished.hypervolume <= 1


def test_the_fronts_energy_is_measured_again(finished: SearchResult) -> None:
    for trial in finished.front:
        again = trial.confirmed
        assert again is not None
        assert (again.windows, again.kind) == (5, "modelled")
        assert again.low_j is not None
        assert again.train_energy_j is not None
        assert again.high_j is not None
        assert 0 <= again.low_j <= again.train_energy_j <= again.high_j
    assert set(finished.energy_groups) == {trial.number for trial in finished.front}
    assert all(trial.confirmed is None for trial in finished.trials if trial.number not in finished.energy_groups)
    assert finished.path is not None
    front = json.loads((finished.path / "front.json").read_text())
    assert [trial["confirmed"]["windows"] for trial in front["front"]] == [5] * len(finished.front)
    assert [trial["energy_group"] for trial in front["front"]] == list(finished.energy_groups.values())
    pairs = [[a.architecture_id, b.architecture_id] for a, b in finished.same_energy]
    assert front["same_energy_within_noise"] == pairs
    rows = list(csv.DictReader((finished.path / "front.csv").open()))
    assert [row["energy_group"] for row in rows] == list(finished.energy_groups.values())
    assert all(float(row["confirmed_low_j"]) <= float(row["confirmed_train_energy_j"]) for row in rows)
    trained_s = sum(trial.metrics.get("train_seconds") or 0 for trial in finished.trials)
    entries = [each.reading for each in finished.cost.entries if each.phase == "confirmation"]
    windows_s = [each.seconds for each in entries if each.seconds > 0][-5 * len(finished.front) :]
    assert sum(windows_s) < 0.3 * trained_s


def test_confirmation_can_be_left_out_and_is_caught_up_on_resume(small_space: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = {"training": {"epochs": 1}, "screen": {"initial": 3, "pool": 40, "probe_steps": 0}}
    first = greennas.search(
        small_space,
        "digits",
        trials=3,
        out=out,
        workers=1,
        objectives="accuracy,parameters",
        energy={"confirm": 0},
        **settings,
    )
    assert all(trial.confirmed is None for trial in first.front)
    assert "confirmation" not in {str(phase) for phase in first.cost.by_phase()}
    later = greennas.continue_search(out, overrides={"energy.confirm": 2})
    assert [trial.number for trial in later.front] == [trial.number for trial in first.front]
    assert all(trial.confirmed is not None and trial.confirmed.windows == 2 for trial in later.front)
    again = greennas.continue_search(out)
    assert [trial.confirmed for trial in again.front] == [trial.confirmed for trial in later.front]
    with pytest.raises(ConfigError, match="made with energy"):
        greennas.continue_search(out, overrides={"energy.watts_per_core": [1, 2, 3]})


def test_every_metric_of_a_completed_trial_is_recorded(finished: SearchResult) -> None:
    for trial in finished.completed:
        for name in ("accuracy", "train_energy_j", "inference_energy_j_per_1k", "latency_ms", "flops", "parameters"):
            value = trial.metrics[name]
            assert value is not None
            assert value > 0


def test_no_architecture_is_trained_twice(finished: SearchResult) -> None:
    ids = [trial.architecture_id for trial in finished.trials]
    assert len(set(ids)) == len(ids)


def test_the_bill_adds_up_to_what_was_metered(finished: SearchResult) -> None:
    metered = [item["energy_j"] for item in optuna_attributes(finished)["metered"]]
    totals = finished.cost.totals()
    assert list(totals) == ["modelled"]
    assert totals[next(iter(totals))].energy_j == pytest.approx(sum(metered), rel=0.02)
    (whole,) = finished.cost.reconciliation()
    assert whole.metered_j == pytest.approx(sum(metered))
    assert whole.ratio == pytest.approx(1, abs=0.02)
    assert 0 < whole.own_j <= 1.02 * whole.metered_j
    written = json.loads((finished.path / "cost.json").read_text()) if finished.path else {}
    assert written["summary"]["reconciliation"][0]["ratio"] == whole.ratio
    assert {row["worker"] for row in written["summary"]["workers"]} == {"driver", "worker-0", "worker-1"}
    phases = {str(phase) for phase in finished.cost.by_phase()}
    assert {"training", "evaluation", "screening", "overhead", "test"} <= phases
    price = finished.cost.price()
    assert price is not None
    assert price.trials == len(finished.completed)
    assert price.product_j == pytest.approx(sum(t.metrics["train_energy_j"] or 0 for t in finished.completed))


def test_screening_says_what_it_left_out_and_why(finished: SearchResult) -> None:
    chosen = [trial for trial in finished.trials if "initial" not in trial.proposal["reason"]]
    assert chosen
    for trial in chosen:
        predicted = trial.proposal["predicted"]["train_energy_j"]
        assert 0 < predicted["low"] <= predicted["mean"] <= predicted["high"]
        for item in trial.proposal["screened"]:
            assert item["reason"]
            assert item["predicted"]["train_energy_j"]["mean"] > 0
    summary = finished.screening
    assert summary.screened > 0
    assert summary.saved_j[1] <= summary.saved_j[0] <= summary.saved_j[2]
    assert summary.kind == "modelled"


def test_the_run_folder_has_what_a_user_expects(finished: SearchResult) -> None:
    assert finished.path is not None
    names = {path.name for path in finished.path.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "study.journal",
        "trials.csv",
        "front.json",
        "front.csv",
        "cost.json",
        "report.html",
        "checkpoints",
    } <= names
    assert "work" not in names
    rows = list(csv.DictReader((finished.path / "trials.csv").open()))
    assert [row["number"] for row in rows] == [str(trial.number) for trial in finished.trials]
    assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
    assert float(rows[0]["accuracy"]) == pytest.approx(finished.trials[0].metrics["accuracy"])
    checkpoints = {path.stem for path in (finished.path / "checkpoints").iterdir()}
    assert checkpoints == {trial.architecture_id for trial in finished.front}
    front = json.loads((finished.path / "front.json").read_text())
    assert [trial["architecture_id"] for trial in front["front"]] == [t.architecture_id for t in finished.front]
    assert all((finished.path / trial["checkpoint"]).is_file() for trial in front["front"])
    environment = json.loads((finished.path / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["devices"]["cpu"]["model"]


def test_a_checkpoint_of_the_front_gives_the_recorded_test_accuracy(finished: SearchResult) -> None:
    from safetensors.torch import load_file

    from greennas.trainer import evaluate_accuracy

    trial = finished.front[0]
    assert trial.architecture is not None
    assert finished.path is not None
    space = greennas.load_space(trial.architecture.space, **trial.architecture.options)
    data = greennas.load_data("digits")
    module = space.build(trial.architecture.params, data.input_shape, data.num_classes)
    module.load_state_dict(load_file(finished.path / "checkpoints" / f"{trial.architecture_id}.safetensors"))
    assert data.test is not None
    accuracy, _ = evaluate_accuracy(module, data.test, data)
    assert accuracy == pytest.approx(trial.test["accuracy"], abs=1 / len(data.test))


def test_all_tables_can_be_rebuilt_from_the_study(finished: SearchResult) -> None:
    from greennas.outputs import write_all

    assert finished.path is not None
    run = RunFolder.open(finished.path)
    names = ("trials.csv", "front.json", "front.csv", "cost.json")
    before = {name: (run.path / name).read_text() for name in names}
    for name in (*names, "report.html"):
        (run.path / name).unlink()
    write_all(run, SearchResult(run.config, run.read_study(), run.path))
    assert {name: (run.path / name).read_text() for name in names} == before
    assert (run.path / "report.html").stat().st_size > 10_000


def test_optuna_opens_the_study_as_it_is(finished: SearchResult) -> None:
    study = RunFolder.open(str(finished.path)).read_study()
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {t.number for t in study.best_trials} == {t.number for t in finished.front}


def test_optuna_dashboard_shows_the_study(finished: SearchResult) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    journal = RunFolder.open(str(finished.path)).journal
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    status: list[str] = []
    request: dict[str, object] = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(request)
    body = b"".join(dashboard.wsgi(storage)(request, lambda line, *_: status.append(line)))
    assert status[0].startswith("200")
    assert [study["study_name"] for study in json.loads(body)["study_summaries"]] == ["greennas"]


def test_more_trials_go_on_where_the_run_ended(finished: SearchResult) -> None:
    assert finished.path is not None
    tested = {trial.number for trial in finished.front}
    longer = greennas.continue_search(finished.path, overrides={"trials": 12})
    assert len(longer.trials) == 12
    assert [t.architecture_id for t in longer.trials[:10]] == [t.architecture_id for t in finished.trials]
    assert all(trial.test for trial in longer.front)
    assert {t.number for t in longer.trials if t.test} >= tested
    assert longer.config.trials == 12


def test_a_resumed_search_has_its_own_settings_and_folder(finished: SearchResult, tmp_path: Path) -> None:
    assert finished.path is not None
    for given in ({"file": tmp_path / "other.yaml"}, {"out": tmp_path / "other"}):
        with pytest.raises(ConfigError, match="leave out --config and --out"):
            continue_search(finished.path, **given)
    assert not list(tmp_path.iterdir())


def test_only_budgets_may_change_on_resume(finished: SearchResult) -> None:
    assert finished.path is not None
    with pytest.raises(ConfigError, match="made with seed"):
        greennas.continue_search(finished.path, overrides={"seed": 5})


def test_other_hardware_is_refused_on_resume(finished: SearchResult) -> None:
    assert finished.path is not None
    file = finished.path / "environment.json"
    before = file.read_text()
    environment = json.loads(before)
    environment["devices"]["cpu"]["model"] = "Abacus 9000"
    file.write_text(json.dumps(environment))
    try:
        with pytest.raises(RunError, match="Abacus 9000"):
            greennas.continue_search(finished.path, overrides={"trials": 13})
    finally:
        file.write_text(before)


def test_failed_candidates_are_recorded_and_the_search_goes_on(
    small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", ",".join(sorted(FAULTS)))
    # Random proposals alone are the same however long trainings take: each fault is among them.
    settings = {"training": QUICK["training"], "screen": {"predict": False, "probe_steps": 0}, "sampler": "random"}
    result = greennas.search(small_space, "digits", trials=14, out=tmp_path / "run", workers=2, **settings)
    assert {trial.architecture.params["fault"] for trial in result.trials if trial.architecture} == FAULTS
    failures = {trial.number: trial.failure for trial in result.trials if trial.state == "FAIL"}
    text = " ".join(str(reason) for reason in failures.values())
    assert "not finite" in text
    assert "out of memory" in text
    assert "SIGKILL" in text
    assert len(result.trials) == 14
    assert all(trial.architecture and trial.architecture.params["fault"] == "none" for trial in result.front)
    spent = {str(phase): parts for phase, parts in result.cost.by_phase().items()}
    assert sum(part.energy_j or 0 for part in spent["failed_training"]) > 0


def test_three_objectives(small_space: str, tmp_path: Path) -> None:
    result = greennas.search(
        small_space,
        "digits",
        trials=6,
        out=tmp_path / "run",
        workers=2,
        objectives="accuracy,latency_ms,parameters:min",
        **QUICK,
    )
    assert result.losses.shape[1] == 3
    assert result.front


def test_a_space_is_searched_to_its_end_and_no_further(small_space: str, tmp_path: Path) -> None:
    settings = {"training": {"epochs": 1}, "screen": {"initial": 3, "pool": 40, "probe_steps": 0}}
    result = greennas.search(small_space, "digits", trials=50, out=tmp_path / "run", workers=2, **settings)
    assert len(result.trials) == 36
    assert len({trial.architecture_id for trial in result.trials}) == 36


def test_the_energy_budget_holds_within_a_trainings_worth(small_space: str, tmp_path: Path) -> None:
    budget_j = 15.0
    result = greennas.search(
        small_space, "digits", trials=200, energy_budget_j=budget_j, out=tmp_path / "run", workers=1, **QUICK
    )
    trainings = [sum(e.reading.energy_j or 0 for e in result.cost.entries if e.worker.startswith("worker")) / 3]
    spent = sum(total.energy_j or 0 for total in result.cost.totals().values())
    assert 3 <= len(result.trials) < 36
    assert spent < budget_j + max(trainings) + 12  # what starting the workers and writing the report take comes on top


def test_the_time_budget_ends_the_search(small_space: str, tmp_path: Path) -> None:
    result = greennas.search(
        small_space, "digits", trials=36, time_budget_s=3, out=tmp_path / "run", workers=1, **QUICK
    )
    assert 1 <= len(result.trials) < 36


def test_a_training_may_take_a_margin_of_its_predicted_time(
    small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []
    submit = LocalExecutor.submit

    def watched(executor: LocalExecutor, task_id: str, task: EvaluationTask) -> None:
        if task.work == "train":
            given.append(task.seconds)
        submit(executor, task_id, task)

    monkeypatch.setattr(LocalExecutor, "submit", watched)
    settings = {
        "training": {"epochs": 2},
        "screen": {"initial": 3, "pool": 40},
        "limits": {"seconds": 1000.0, "margin": 3.0},
    }
    result = greennas.search(small_space, "digits", trials=6, out=tmp_path / "run", workers=1, **settings)
    assert len(result.completed) == len(given) == 6
    assert given[:4] == [1000.0] * 4
    for seconds, trial in zip(given[4:], result.trials[4:], strict=True):
        took_s = trial.metrics["train_seconds"]
        assert seconds is not None
        assert took_s is not None
        assert 60 + took_s < seconds < 200


def test_trials_that_a_user_enqueues_are_trained(small_space: str, tmp_path: Path) -> None:
    first = greennas.search(small_space, "digits", trials=3, out=tmp_path / "run", workers=1, **QUICK)
    assert first.path is not None
    study = RunFolder.open(first.path).start_study()
    known = first.trials[0]
    assert known.architecture is not None
    study.enqueue_trial({"first": 12, "second": 2, "fault": "none"})
    study.enqueue_trial({**known.architecture.params})
    study.enqueue_trial({"first": 5, "second": 24, "fault": "none"})
    result = greennas.continue_search(first.path, overrides={"trials": 6})
    mine, twin, foreign = result.trials[3:6]
    assert mine.architecture is not None
    assert mine.architecture.params == {"first": 12, "second": 2, "fault": "none"}
    assert mine.state in ("COMPLETE", "PRUNED")
    assert twin.state == "FAIL"
    assert "same network as trial 0" in str(twin.failure)
    assert foreign.state == "FAIL"
    assert "not an architecture of the space" in str(foreign.failure)


def optuna_attributes(result: SearchResult) -> dict[str, list[dict[str, float]]]:
    study: optuna.Study = RunFolder.open(str(result.path)).read_study()
    return study.user_attrs


def test_a_training_that_ended_while_the_driver_was_dead_is_taken_in(small_space: str, tmp_path: Path) -> None:
    first = greennas.search(small_space, "digits", trials=3, out=tmp_path / "run", workers=1, **QUICK)
    assert first.path is not None
    run = RunFolder.open(first.path)
    study = run.start_study()
    study.enqueue_trial({"first": 12, "second": 2, "fault": "none"})
    trial = study.ask()
    params = greennas.load_space(small_space).sample(trial)
    trial.set_user_attr("architecture", greennas.load_space(small_space).architecture(params).to_json())
    metrics = {"accuracy": 0.123, "train_energy_j": 4.56}
    left = run.work / "results" / f"trial-{trial.number}.json"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps(Measurement("ok", metrics=metrics).to_json()))
    result = greennas.continue_search(first.path, overrides={"trials": 4})
    taken = result.trials[3]
    assert (taken.state, taken.metrics) == ("COMPLETE", metrics)
    assert len(result.trials) == 4


def test_where_no_network_can_be_probed_the_reason_is_told(
    small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", "hungry")
    with pytest.raises(RunError, match=r"could be probed \(.*memory.*\); mend the space or the data"):
        estimate(load_config(overrides={"space": small_space, "data": "digits", "workers": 1, "trials": 2}))
