"""The figures of a comparison: the fronts in one plot, and hypervolume against joules under one reference point."""

from __future__ import annotations

from greennas.energy import format_energy
from greennas.report.comparison import Comparison, Run
from greennas.report.learning_plots import Step, history
from greennas.report.plots import Axis, Figure, hover, layout, line, markers, plain
from greennas.report.words import kind_of, kinds_of, known, label, noun, number, plural, show_with_kind
from greennas.results import TrialRecord

COLOURS = ("$accent", "$contrast", "$third", "$fourth", "$fifth", "$sixth")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""One of each a run: who sees no colours sees these."""


def fronts_figure(comparison: Comparison) -> Figure | None:
    """The networks of all runs in the first two objectives; None where no run has trained any."""
    completed = [(run, trial) for run in comparison.runs for trial in run.result.completed]
    if not completed:
        return None
    first, second = comparison.objectives[:2]
    up, across = (second, first) if (first.direction, second.direction) == ("min", "max") else (first, second)
    trials = [trial for _, trial in completed]
    x, y = (
        Axis.of(metric, [v for t in trials if (v := t.metrics[metric]) is not None], kinds_of(metric, trials))
        for metric in (across.metric, up.metric)
    )

    def at(trial: TrialRecord) -> tuple[float, float]:
        values = [trial.metrics[axis.metric] for axis in (x, y)]
        return x.place(values[0] or 0.0), y.place(values[1] or 0.0)

    data = []
    for run, colour, symbol, dash in zip(comparison.runs, COLOURS, SYMBOLS, DASHES, strict=False):
        front = sorted(run.result.front, key=at)
        numbers = {trial.number for trial in front}
        for trials, name, marker in (
            (
                [trial for trial in run.result.completed if trial.number not in numbers],
                f"{run.name}, dominated",
                {"color": colour, "size": 6, "symbol": f"{symbol}-open", "opacity": 0.6},
            ),
            (
                front,
                run.name,
                {"color": colour, "size": 11, "symbol": symbol, "line": {"color": "$page", "width": 1}},
            ),
        ):
            if trials:
                texts = [f"<b>{plain(run.name)}</b><br>{hover(t, run.result.config.metrics)}" for t in trials]
                shown = {"showlegend": trials is front}
                data.append(markers(name, [at(t) for t in trials], texts, marker, **shown))
        if len(comparison.objectives) == 2:
            style = {"color": colour, "width": 1.5, "shape": "hv", "dash": dash}
            data.append(line(run.name, [at(trial) for trial in front], style, showlegend=False))
    ends = "; ".join(_front_in_words(run, comparison) for run in comparison.runs)
    return Figure(
        name="fronts",
        title=f"{label(up.metric)} against {noun(across.metric)}",
        alt=f"Scatter plot of {plural(len(completed), 'trained network')}. {ends}. The tables below have the values.",
        caption="Filled points are on the front of their run, open ones are dominated within it.",
        data=data,
        layout=layout(x.layout(), y.layout(), height=560),
    )


def _front_in_words(run: Run, comparison: Comparison) -> str:
    if not run.result.front:
        return f"{run.name}: no front"
    best = run.result.front[0]
    values = " at ".join(show_with_kind(each.metric, best) for each in comparison.objectives[:2])
    return f"{run.name}: {plural(len(run.result.front), 'network')} on the front, the first with {values}"


def hypervolume_figure(comparison: Comparison) -> Figure | None:
    """Hypervolume against joules spent on trainings, one reference for all; None where that cannot be compared."""
    if comparison.box is None:
        return None
    runs = [(run, history(run.result, comparison.box)) for run in comparison.runs]
    metered = [step.trial for _, steps in runs for step in steps if known(step.trial.metrics.get("train_energy_j"))]
    kinds = sorted({kind_of("train_energy_j", trial) for trial in metered})
    if not metered or len(kinds) != 1 or any(not steps for _, steps in runs):
        return None
    axis = Axis.of("train_energy_j", [0.0, *(steps[-1].spent_j for _, steps in runs)], kinds, log=False)
    data = []
    for (run, steps), colour, symbol, dash in zip(runs, COLOURS, SYMBOLS, DASHES, strict=False):
        points = [(axis.place(step.spent_j), float(f"{step.hypervolume:.6g}")) for step in steps]
        style = {"color": colour, "width": 2, "shape": "hv", "dash": dash}
        data.append(line(run.name, points, style, showlegend=False))
        texts = [_step_hover(run, step) for step in steps]
        data.append(markers(run.name, points, texts, {"color": colour, "size": 6, "symbol": symbol}))
    ends = "; ".join(
        f"{run.name} ends at {number(steps[-1].hypervolume)} after {format_energy(steps[-1].spent_j)} ({kinds[0]})"
        for run, steps in runs
    )
    x = {
        **axis.layout(),
        "title": {"text": plain(axis.title.replace("Training energy", "Spent on trainings"))},
        "range": [0, axis.range[1]],
    }
    return Figure(
        name="hypervolumes",
        title="Hypervolume by energy",
        alt=f"Lines: {ends}.",
        caption="Share of the box between the best and the worst values (plus 10%) of all runs that a run's front "
        "dominates, against the joules of its trainings so far, stopped ones included.",
        data=data,
        layout=layout(x, {"title": {"text": "Hypervolume"}, "range": [0, 1.04]}, height=400),
    )


def _step_hover(run: Run, step: Step) -> str:
    return (
        f"<b>{plain(run.name)}</b><br>Hypervolume {number(step.hypervolume)} after {plural(step.begun, 'trial')} and "
        f"{format_energy(step.spent_j)}"
    )
