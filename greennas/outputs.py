"""The derived files of a run folder; each can be made again from the study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from greennas.config import METRICS
from greennas.files import write_text
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder

_METRIC_COLUMNS = (*METRICS, "loss", "train_seconds")
_KIND_COLUMNS = tuple(name for name in METRICS if "energy" in name)


def write_tables(run: RunFolder, result: SearchResult) -> None:
    """Write ``trials.csv``, ``front.csv``, ``front.json`` and ``cost.json``."""
    write_text(run.path / "trials.csv", trials_csv(result.trials))
    write_text(run.path / "front.csv", trials_csv(result.front))
    write_text(run.path / "front.json", json.dumps(front_json(run, result), indent=2))
    write_text(run.path / "cost.json", json.dumps(result.cost.to_json(), indent=2))


def write_all(run: RunFolder, result: SearchResult) -> None:
    """Write the tables and the report."""
    from greennas.report import write_report

    write_tables(run, result)
    write_report(result, run.report)


def trials_csv(trials: Sequence[TrialRecord]) -> str:
    """One row a trial: number, state, architecture_id, each metric by its name, kinds, test metrics, failure."""
    tests = sorted({name for trial in trials for name in trial.test})
    extra = {name for trial in trials for name in trial.metrics} - set(_METRIC_COLUMNS)
    metrics = [*_METRIC_COLUMNS, *sorted(extra)]  # a replayed table brings columns of its own
    header = ["number", "state", "architecture_id", *metrics, *(f"{name}_kind" for name in _KIND_COLUMNS)]
    header += [*(f"test_{name}" for name in tests), "epochs", "chosen_because", "failure"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for trial in trials:
        writer.writerow(_row(trial, metrics, tests))
    return text.getvalue()


def front_json(run: RunFolder, result: SearchResult) -> dict[str, Any]:
    """The front with what is needed to use it: architecture, metrics, kinds, checkpoint."""
    summary = result.summary()
    del summary["cost"], summary["trials"]
    for trial in summary["front"]:
        checkpoint = run.checkpoints / f"{trial['architecture_id']}.safetensors"
        trial["checkpoint"] = str(checkpoint.relative_to(run.path)) if checkpoint.is_file() else None
        del trial["proposal"]
    summary["data"] = dict(result.data)
    return summary


def _row(trial: TrialRecord, names: Iterable[str], tests: Iterable[str]) -> list[Any]:
    metrics = [_cell(trial.metrics.get(name)) for name in names]
    kinds = [trial.kinds.get(name, "") for name in _KIND_COLUMNS]
    measured = [_cell(trial.test.get(name)) for name in tests]
    reason = "interrupted" if trial.interrupted else trial.failure or ""
    head = [trial.number, trial.state, trial.architecture_id]
    return [*head, *metrics, *kinds, *measured, _cell(trial.epochs), trial.proposal.get("reason", ""), reason]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
