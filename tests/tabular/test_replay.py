from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console
from table_files import CHAIN, nasbench201_rows, write_csv

import greennas
from greennas.cli import main
from greennas.cli.display_search import show_result
from greennas.config import load_config
from greennas.energy import Kind
from greennas.errors import ConfigError, DataError, RunError
from greennas.export.folder import export_model
from greennas.prepare import prepare
from greennas.run import RunFolder
from greennas.tabular import read_table


def test_a_search_is_replayed_and_its_joules_stand_apart(whole: Path, tmp_path: Path) -> None:
    settings = {"trials": 12, "table": {"file": whole, "energy": "energy_mj"}}
    objectives = "accuracy:max,energy_mj:min"
    result = greennas.search("nasbench201", out=tmp_path / "run", objectives=objectives, **settings)
    completed = result.completed
    assert len(completed) == 12
    totals = result.cost.totals()
    trained_j = sum(trial.metrics["energy_mj"] or 0 for trial in completed) / 1000
    by_phase = {str(phase): parts for phase, parts in result.cost.by_phase().items()}
    assert sum(part.energy_j or 0 for part in by_phase["training"]) == pytest.approx(trained_j)
    assert {"tabular", "modelled"} <= {str(kind) for kind in totals} | {"modelled"}
    assert all(trial.kinds["energy_mj"] == "tabular" for trial in completed)
    assert (tmp_path / "run" / "report.html").is_file()
    again = greennas.search("nasbench201", out=tmp_path / "again", objectives=objectives, **settings)
    assert [t.architecture_id for t in again.trials] == [t.architecture_id for t in result.trials]
    assert [t.metrics for t in again.trials] == [t.metrics for t in result.trials]


def test_every_training_is_told_and_the_last_word_is_up_to_date(whole: Path, tmp_path: Path) -> None:
    told: list[greennas.loop.Progress] = []
    result = greennas.search(
        "nasbench201",
        trials=25,
        out=tmp_path / "run",
        table={"file": whole, "energy": "energy_mj"},
        objectives="accuracy:max,energy_mj:min",
        on_progress=told.append,
    )
    assert [progress.message.split(":")[0] for progress in told if progress.message] == [
        f"trial {i}" for i in range(25)
    ]
    assert told[-1].result.count(TrialState.COMPLETE) == len(result.completed) == 25
    assert told[-1].running == 0
    rows = list(csv.DictReader((tmp_path / "run" / "trials.csv").open()))
    assert len(rows) == 25


def test_any_column_is_an_objective_and_a_limit_holds_for_the_front(whole: Path, tmp_path: Path) -> None:
    result = greennas.search(
        "nasbench201",
        trials=14,
        out=tmp_path / "run",
        table={"file": whole, "energy": "energy_mj"},
        objectives="error:min,energy_mj:min",
        constraints={"min_accuracy": 0.8},
    )
    assert result.front
    assert all((trial.metrics["accuracy"] or 0) >= 0.8 for trial in result.front)
    assert any((trial.metrics["accuracy"] or 0) < 0.8 for trial in result.completed)
    study = RunFolder.open(tmp_path / "run").read_study()
    assert {trial.number for trial in study.best_trials} == {trial.number for trial in result.front}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp", "random"])
@pytest.mark.parametrize("predict", [True, False])
def test_optunas_samplers_propose_with_and_without_the_screen(
    whole: Path, tmp_path: Path, sampler: str, predict: bool
) -> None:
    result = greennas.search(
        "nasbench201",
        trials=9,
        out=tmp_path / "run",
        table=whole,
        objectives="accuracy:max,energy_mj:min",
        sampler=sampler,
        seed=2**32 - 1,  # Optuna's samplers take no larger one, nor what is derived from it
        screen={"predict": predict},
    )
    assert len({trial.architecture_id for trial in result.trials}) == 9
    assert all(trial.state == "COMPLETE" for trial in result.trials)
    assert bool(result.screening.screened) is predict


def test_a_replays_energy_budget_is_in_the_tables_joules(whole: Path, tmp_path: Path) -> None:
    result = greennas.search(
        "nasbench201",
        trials=64,
        out=tmp_path / "run",
        table={"file": whole, "energy": "energy_kwh"},
        objectives="accuracy:max,energy_mj:min",
        energy_budget_j=5.5 * 3.6e6,
    )
    spent_j = result.cost.totals()[Kind.TABULAR].energy_j
    assert spent_j is not None
    assert 4.4 < spent_j / 3.6e6 <= 5.5


def test_what_this_machine_draws_is_not_held_against_a_replays_budget(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = greennas.search(
        "nasbench201",
        trials=30,
        out=tmp_path / "run",
        table={"file": whole, "energy": "energy_mj"},
        objectives="accuracy:max,energy_mj:min",
        energy_budget_j=0.05,
    )
    assert 3 <= len(result.completed) < 30
    assert 0.02 < (result.cost.totals()[Kind.TABULAR].energy_j or 0.0) <= 0.05
    show_result(Console(width=200, soft_wrap=True), result)
    shown = capsys.readouterr().out
    assert f"{len(result.trials)} of 30 trials were made, since " in shown
    assert "of the energy budget of 50 mJ are spent and another training does not fit; go on with: " in shown
    assert shown.splitlines()[-2].endswith(" --energy-budget JOULES")


def test_an_architecture_that_is_missing_is_a_failed_trial(whole: Path, tmp_path: Path) -> None:
    result = greennas.search(
        "nasbench201",
        trials=5,
        out=tmp_path / "run",
        table=whole.with_name("few.csv"),
        objectives="accuracy:max,energy_mj:min",
    )
    failed = [trial for trial in result.trials if trial.state == "FAIL"]
    assert failed
    assert all("does not have this architecture" in str(trial.failure) for trial in failed)
    assert len(result.trials) == 5


def test_wrong_tables_and_columns_are_named_in_one_sentence(whole: Path, tmp_path: Path) -> None:
    file = whole.with_name("few.csv")
    with pytest.raises(ConfigError, match="no column 'joules'"):
        greennas.search("nasbench201", table=file, objectives="accuracy:max,joules:min", out=tmp_path / "run")
    with pytest.raises(DataError, match="no energy column"):
        greennas.search("nasbench201", table={"file": file, "energy": "error"}, out=tmp_path / "run")
    with pytest.raises(DataError, match="cannot be read"):
        greennas.search("nasbench201", table=tmp_path / "missing.csv", out=tmp_path / "run")
    with pytest.raises(DataError, match="no budgets to choose from"):
        greennas.search("nasbench201", table={"file": file, "epochs": 12}, out=tmp_path / "run")
    with pytest.raises(DataError, match="no column with the architecture"):
        read_table(write_csv(tmp_path / "u.csv", [{"x": 1}]), greennas.load_space("nasbench201"))
    with pytest.raises(ConfigError, match="needs its direction"):
        greennas.search("nasbench201", table=file, objectives="accuracy,joules", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("limit", "value", "missing"),
    [("max_parameters", 9, "parameters"), ("max_latency_ms", 9, "latency_ms"), ("min_accuracy", 0.5, "accuracy")],
)
def test_a_limit_needs_its_column(tmp_path: Path, limit: str, value: float, missing: str) -> None:
    file = write_csv(tmp_path / "t.csv", [{"arch": CHAIN, "val_acc": 0.5, "energy_j": 1}])
    settings = {"table": file, "objectives": "val_acc:max,energy_j:min", "constraints": {limit: value}}
    with pytest.raises(ConfigError, match=f"has no column '{missing}' of numbers to hold a limit against"):
        greennas.search("nasbench201", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "value", "constraints"),
    [
        ("energy_kj", 0, {}),
        ("train_energy_j", 0, {}),
        ("log_latency", -1, {}),
        ("error", 1, {"max_latency_ms": 1.0}),
    ],
)
def test_a_cost_that_has_no_logarithm_is_found_before_the_search(
    tmp_path: Path, objective: str, value: float, constraints: dict[str, float]
) -> None:
    row = {"arch": CHAIN, "accuracy": 0.5, "energy_kj": 1, "latency_ms": 0, "log_latency": -1, "error": 1}
    rows = [row, row | {"energy_kj": 0} if "energy" in objective else row]
    file = write_csv(tmp_path / "t.csv", rows)
    settings = {"table": file, "objectives": f"accuracy:max,{objective}:min", "constraints": constraints}
    name = "latency_ms" if constraints else objective
    with pytest.raises(ConfigError, match=rf"t\.csv has {name} {min(value, 0)}, which by its name is a cost"):
        greennas.search("nasbench201", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_without_an_energy_column_no_joules_are_told(tmp_path: Path) -> None:
    rows = [{"arch": row["arch"], "accuracy": row["accuracy"], "layers": i} for i, row in enumerate(nasbench201_rows())]
    file = write_csv(tmp_path / "t.csv", rows)
    settings = {"table": file, "objectives": "accuracy:max,layers:min", "trials": 8}
    result = greennas.search("nasbench201", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert result.screening.screened
    assert result.screening.saved_j is None
    assert result.cost.saved is None
    assert result.cost.totals()[Kind.UNAVAILABLE].energy_j is None
    assert {trial.epochs for trial in result.trials} == {None}
    for limit in ({"energy_budget_j": 1.0}, {"constraints": {"max_energy_j": 1.0}}):
        with pytest.raises(ConfigError, match="no energy column"):
            greennas.search("nasbench201", out=tmp_path / "none", **settings, **limit)  # type: ignore[arg-type]


def test_the_command_shows_a_tables_own_objectives(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ["--space", "nasbench201", "--table", str(whole), "--set", "table.energy=energy_mj"]
    more = ["--objectives", "accuracy:max,energy_mj:min", "--trials", "8", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["greennas", "search", *table, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert "energy_mj" in shown.out
    assert "341 rows of the table are left out; the first: " in shown.out
    assert "tabular" in shown.out
    monkeypatch.setattr(sys, "argv", ["greennas", "search", *table[:3], str(tmp_path / "none.csv")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_joules_as_an_objective_need_a_column(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", [{"arch": CHAIN, "accuracy": 0.5}])
    with pytest.raises(ConfigError, match=r"has no energy column; name one with --set table\.energy=COLUMN"):
        greennas.search("nasbench201", table=file, objectives="accuracy,train_energy_j", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_replay_has_no_images_and_no_networks(whole: Path, tmp_path: Path) -> None:
    file = whole.with_name("few.csv")
    config = load_config(overrides={"space": "nasbench201", "table.file": str(file)})
    with pytest.raises(ConfigError, match="leave out --table to train networks"):
        _ = prepare(config).images
    assert prepare(config).device_type == "cuda"
    assert (
        prepare(
            load_config(overrides={"space": "nasbench201", "table": {"file": str(file), "device_type": "cpu"}})
        ).device_type
        == "cpu"
    )
    greennas.search("nasbench201", table=file, trials=2, out=tmp_path / "run")
    with pytest.raises(RunError, match="replayed a table: no network was trained there"):
        export_model(tmp_path / "run", tmp_path / "model")
    assert not (tmp_path / "model").exists()
