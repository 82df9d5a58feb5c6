"""The derived files of a run folder; each can be made again from the study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greennas.config import METRICS
from greennas.files import write_text
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder

_METRIC_COLUMNS = (*METRICS, "loss", "train_seconds")
_KIND_COLUMNS = tuple(name for name in METRICS if "energy" in name)
_CONFIRMED_COLUMNS = (
    "confirmed_train_energy_j",
    "confirmed_low_j",
    "confirmed_high_j",
    "confirmed_kind",
    "confirmed_windows",
    "energy_group",
)


def write_tables(run: RunFolder, result: SearchResult) -> None:
    """Write ``trials.csv``, ``front.csv``, ``front.json`` and ``cost.json``."""
    write_text(run.path / "trials.csv", trials_csv(result.trials))
    write_text(run.path / "front.csv", trials_csv(result.front, result.energy_groups))
    write_text(run.path / "front.json", json.dumps(front_json(run, result), indent=2))
    write_text(run.path / "cost.json", json.dumps(result.cost.to_json(), indent=2))


def write_all(run: RunFolder, result: SearchResult) -> None:
    """Write the tables and the report."""
    from greennas.report import write_report

    write_tables(run, result)
    write_report(result, run.report)


def trials_csv(trials: Sequence[TrialRecord], energy_groups: Mapping[int, str] | None = None) -> str:
    """One row a trial: number, state, architecture_id, each metric by its name, kinds, test metrics, failure.

    Where training energies were measured again, also those with their intervals.

    Args:
        trials: the rows.
        energy_groups: letters by number, shared by trials of the same training energy within noise.
    """
    groups = energy_groups or {}
    tests = sorted({name for trial in trials for name in trial.test})
    header = ["number", "state", "architecture_id", *_METRIC_COLUMNS, *(f"{name}_kind" for name in _KIND_COLUMNS)]
    confirmed = _CONFIRMED_COLUMNS if any(trial.confirmed for trial in trials) else ()
    header += [*(f"test_{name}" for name in tests), *confirmed, "epochs", "chosen_because", "failure"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for trial in trials:
        again = _confirmed(trial, groups.get(trial.number, "")) if confirmed else []
        writer.writerow(_row(trial, tests, again))
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


def _confirmed(trial: TrialRecord, group: str) -> list[Any]:
    """The cells of ``_CONFIRMED_COLUMNS``."""
    found = trial.confirmed
    if found is None:
        return [""] * len(_CONFIRMED_COLUMNS)
    joules = [_cell(value) for value in (found.train_energy_j, found.low_j, found.high_j)]
    return [*joules, str(found.kind), found.windows, group]


def _row(trial: TrialRecord, tests: Iterable[str], confirmed: Sequence[Any]) -> list[Any]:
    metrics = [_cell(trial.metrics.get(name)) for name in _METRIC_COLUMNS]
    kinds = [trial.kinds.get(name, "") for name in _KIND_COLUMNS]
    measured = [_cell(trial.test.get(name)) for name in tests]
    reason = "interrupted" if trial.interrupted else trial.failure or ""
    head = [trial.number, trial.state, trial.architecture_id]
    return [
        *head,
        *metrics,
        *kinds,
        *measured,
        *confirmed,
        _cell(trial.epochs),
        trial.proposal.get("reason", ""),
        reason,
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
