"""What the world does to a search: a full disk, a second driver, many workers on one budget. Nothing is damaged."""

from __future__ import annotations

import csv
import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from greennas.config import SearchConfig, load_config
from greennas.energy import Kind
from greennas.errors import RunError
from greennas.loop import Progress
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search, run_search

WIDTHS = [2, 4, 8, 12, 16, 24]
CLI = [sys.executable, "-c", "from greennas.cli import main; main()"]


@pytest.fixture
def replay(small_space: str, tmp_path: Path) -> Callable[..., SearchConfig]:
    """Settings of searches on a table of the 36 networks of the small space."""
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["params", "accuracy", "train_energy_j", "train_seconds"])
        for first, second in itertools.product(WIDTHS, WIDTHS):
            params = json.dumps({"first": first, "second": second, "fault": "none"})
            writer.writerow([params, 1 - 1 / (first + second), 10.0 * first * second, 0.2 * first])

    def settings(trials: int, **more: object) -> SearchConfig:
        given = {"space": small_space, "table.file": str(file), "table.input_shape": [1, 8, 8], "trials": trials}
        return load_config(overrides=given | more)

    return settings


@pytest.mark.parametrize("kilobytes", [45])
def test_a_full_disk_is_one_sentence_and_damages_nothing(
    replay: Callable[..., SearchConfig], tmp_path: Path, kilobytes: int
) -> None:
    config, run = tmp_path / "search.yaml", tmp_path / "run"
    config.write_text(replay(30).to_yaml())
    done = subprocess.run(
        [*CLI, "search", "--config", str(config), "--out", str(run)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # A file that may not grow is to the program what a full disk is.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes)),
    )
    assert done.returncode == 2, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "cannot be written" in sentence
    assert f"--resume {run}" in sentence
    assert "Traceback" not in done.stderr
    journal = (run / "study.journal").read_bytes()
    assert journal.endswith(b"\n")
    assert all(json.loads(line) for line in journal.splitlines())
    before = SearchResult(RunFolder.open(run).config, RunFolder.open(run).read_study())
    result = continue_search(run)
    assert result.count(TrialState.COMPLETE) == 30
    assert len({trial.architecture_id for trial in result.trials if trial.state == "COMPLETE"}) == 30
    for old, new in zip(before.trials, result.trials, strict=False):
        if old.state == "COMPLETE":
            assert (new.number, new.metrics) == (old.number, old.metrics)


def test_a_second_driver_is_refused_and_changes_nothing(replay: Callable[..., SearchConfig], tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused: list[str] = []

    def intrude(state: Progress) -> None:
        if not refused:
            before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
            with pytest.raises(RunError, match="Another search is running in") as caught:
                continue_search(run, overrides={"trials": 30})
            refused.append(str(caught.value))
            assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    result = run_search(replay(3, **{"table.speedup": 10}), run, intrude)
    assert refused
    assert result.count(TrialState.COMPLETE) == 3
    assert RunFolder.open(run).config.trials == 3


def test_a_replay_takes_its_time(replay: Callable[..., SearchConfig], tmp_path: Path) -> None:
    result = run_search(replay(6, workers=2, **{"table.speedup": 4}), tmp_path / "run")
    seconds = [trial.metrics["train_seconds"] or 0.0 for trial in result.trials]
    (metered,) = {reading.seconds for reading in result.cost.metered}
    assert sum(seconds) / 4 / 2 <= metered < sum(seconds) / 4 + 10


@pytest.mark.parametrize("workers", [1, 8])
def test_the_energy_budget_holds_across_workers(
    replay: Callable[..., SearchConfig], tmp_path: Path, workers: int
) -> None:
    budget_j = 5000.0
    given = {"table.speedup": 100, "energy_budget_j": budget_j}
    result = run_search(replay(36, workers=workers, **given), tmp_path / "run")
    dearest = max(trial.metrics["train_energy_j"] or 0.0 for trial in result.completed)
    spent = result.cost.totals()[Kind.TABULAR].energy_j or 0.0
    assert len(result.completed) < 36
    assert budget_j - 2 * dearest < spent < budget_j + dearest
