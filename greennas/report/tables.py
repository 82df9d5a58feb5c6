"""The tables on trials: the front, and all trials."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from pathlib import Path

from greennas.report.headline import network
from greennas.report.markup import badge, paragraph, table
from greennas.report.words import LABELS, NOTHING, interval, kind_of, label, plural, show
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder

_STATES = {"COMPLETE": "trained", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def front_table(result: SearchResult) -> str:
    """The front with all that was measured and the checkpoint, as HTML; what is known of no network has no column."""
    shown = [name for name in dict.fromkeys([*LABELS, *result.config.metrics]) if _known(result, name)]
    columns: dict[str, Callable[[TrialRecord], str]] = {
        "Architecture": lambda trial: (
            network(trial) + (' <span class="mark">knee</span>' if trial is result.knee else "")
        )
    }
    for name in shown:
        columns[label(name)] = functools.partial(metric, name)
        if name == "accuracy" and any(trial.test for trial in result.front):
            columns["Test accuracy"] = lambda trial: show("accuracy", trial.test.get("accuracy"))
    numeric = range(1, len(columns))
    if any(checkpoint(trial, result.path) != NOTHING for trial in result.front):
        columns["Checkpoint"] = lambda trial: checkpoint(trial, result.path)
    rows = [[cell(trial) for cell in columns.values()] for trial in result.front]
    return table("Networks on the front", list(columns), rows, numeric=numeric)


def _known(result: SearchResult, name: str) -> bool:
    """Whether a metric is an objective, or is known of any network of the front."""
    return name in result.config.metrics or any(trial.metrics.get(name) is not None for trial in result.front)


def confirmed_table(result: SearchResult) -> str:
    """The front's training energies as measured again and which of them cannot be told apart, as HTML."""
    confirmed = [(trial, trial.confirmed) for trial in result.front if trial.confirmed is not None]
    if not confirmed:
        return ""
    first = confirmed[0][1]
    columns = [
        "Architecture",
        "In the search",
        "Measured again",
        f"{first.confidence:.0%} interval",
        "Same within noise",
    ]
    rows = [
        [
            network(trial),
            metric("train_energy_j", trial),
            f'<span class="value">{escape(show("train_energy_j", each.train_energy_j))}{badge(each.kind)}</span>'
            if each.train_energy_j is not None
            else badge(each.kind),
            interval(each.low_j, each.high_j),
            escape(result.energy_groups.get(trial.number, NOTHING)),
        ]
        for trial, each in confirmed
    ]
    pairs = [f"{network(a)} and {network(b)}" for a, b in result.same_energy]
    text = (
        f"Each in {plural(first.windows, 'window')} of training steps, taken in turns and scaled to the whole "
        "training; the interval is how well that repeats. Networks that share a letter use the same energy within "
        "noise and are not ranked by it"
    )
    some = len(result.energy_groups) > 1
    text += f": {'; '.join(pairs)}." if pairs else "; here no two do." if some else "."
    by_number = {trial.number: trial for trial in result.front}
    for number, other in result.outdone.items():
        text += f" With these energies {network(by_number[number])} is outdone by {network(other)}."
    caption = "Training energy of the front, measured again"
    return table(caption, columns, rows, numeric=(1, 2, 3)) + paragraph(text, "note")


def trials_table(result: SearchResult) -> str:
    """All trials in the order in which they were begun, with what came of them, as HTML."""
    extra = [name for name in result.config.metrics if name not in ("accuracy", "train_energy_j")]
    names = ["accuracy", "train_energy_j", *extra]
    columns = ["Trial", "Architecture", "Outcome", *(label(name) for name in names), "Chosen because"]
    front = {trial.number for trial in result.front}
    rows = [
        [
            str(trial.number),
            network(trial) if trial.number in front else f"<code>{escape(trial.architecture_id)}</code>",
            outcome(trial, result, on_front=trial.number in front),
            *(metric(name, trial) for name in names),
            escape(str(trial.proposal.get("reason", ""))) or NOTHING,
        ]
        for trial in result.trials
    ]
    return table("All trials, in the order in which they were begun", columns, rows, numeric=range(3, 3 + len(names)))


def outcome(trial: TrialRecord, result: SearchResult, *, on_front: bool = False) -> str:
    """What came of a trial, as HTML."""
    if trial.interrupted:
        return "interrupted; queued again"
    state = _STATES.get(trial.state, trial.state.lower())
    if trial.state == "FAIL":
        return f'<strong class="failed">{state}</strong>: {escape(trial.failure or "no reason was recorded")}'
    if trial.state == "PRUNED":
        return f"stopped after {escape(trial.rung)}" if trial.rung else "stopped early"
    if trial.state == "COMPLETE":
        missing = [name for name in result.config.metrics if trial.metrics.get(name) is None]
        if missing:
            return (
                f"trained, but without {escape(', '.join(label(name).lower() for name in missing))}: not on the front"
            )
        return "trained, <strong>on the front</strong>" if on_front else "trained, dominated"
    return escape(state)


def metric(name: str, trial: TrialRecord) -> str:
    """A trial's value of a metric with its unit and kind, as HTML."""
    if name not in trial.metrics and trial.state != "COMPLETE":
        return NOTHING
    text, kind = show(name, trial.metrics.get(name)), kind_of(name, trial)
    return badge(kind) if text == kind else f'<span class="value">{escape(text)}{badge(kind)}</span>'


def checkpoint(trial: TrialRecord, path: Path | None) -> str:
    """Link to a trial's weights, relative to the run folder, as HTML."""
    if path is None:
        return NOTHING
    file = RunFolder(path).checkpoints / f"{trial.architecture_id}.safetensors"
    if not file.is_file():
        return NOTHING
    name = escape(file.relative_to(path).as_posix())
    return f'<a href="{name}">{escape(file.suffix.lstrip("."))}</a>'
