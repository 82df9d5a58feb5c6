"""The authors' search runs: ends and knees of their fronts against table 1, and their hypervolumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from greennas.energy.units import JOULES_PER_KWH
from greennas.pareto import hypervolume, is_non_dominated, reference_point
from greennas.reproduce import published
from greennas.reproduce.fronts import front, knee
from greennas.reproduce.result import Cell, Grid, Line, Published, Section
from greennas.reproduce.trainings import Array
from greennas.tabular import PublishedRun

_RUNS = 10
_SPACE = "7V"


def table_1(runs: Sequence[PublishedRun]) -> Section | None:
    """Means over the runs on 7V of time, accuracy, energy and parameters of ends and knee; None without such runs."""
    lines: list[Line] = []
    rows: list[list[Cell]] = []
    for method, rows_published in published.TABLE_1.items():
        own = [run for run in runs if (run.space, run.method) == (_SPACE, method)]
        if not own:
            continue
        values = np.array([_points(run) for run in own])  # run, point, column
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        missing = "" if len(own) == _RUNS else f"{len(own)} of the article's 10 runs are published"
        for point, (which, texts) in enumerate(zip(published.POINTS, rows_published, strict=True)):
            cells: list[Cell] = []
            for column, (name, text) in enumerate(zip(published.COLUMNS, texts, strict=True)):
                known = Published.printed(text, f"{published.ARTICLE}, table 1")
                found = float(mean[point, column])
                decimals = len(text.partition(".")[2])
                note = missing
                if name == "kWh" and point == 0:
                    note = f"{found:.4f} kWh is less than half of the article's last digit, which seems rounded up"
                what = f"{published.METHODS[method]}, {which}: {name}"
                shown = f"{found:.{decimals}f}"
                each = Line(what, found, shown, known, note)
                lines.append(each if each.verdict != "matches" else Line(what, found, shown, known))
                cells.append(f"{shown} ± {deviation[point, column]:.{decimals}f} ({text})")
            rows.append([published.METHODS[method], len(own), which, *cells])
    if not lines:
        return None
    matched = sum(line.verdict == "matches" for line in lines)
    text = (
        f"Mean ± standard deviation over the published runs on {_SPACE}, in brackets the article's means: {matched} of "
        f"{len(lines)} round to the printed digits. The article heads the last column with millions of parameters; "
        "its numbers are decimal logarithms (7.26 is 18 million)."
    )
    columns = ["method", "runs", "which", *published.COLUMNS]
    return Section("table-1", "Table 1 of the article", text, lines, [Grid("Found (published)", columns, rows)])


def knees(runs: Sequence[PublishedRun]) -> Section | None:
    """What the knee saves and loses against the most accurate network of the same run; None without runs."""
    lines: list[Line] = []
    for space, method in sorted({(run.space, run.method) for run in runs}):
        own = [_points(run) for run in runs if (run.space, run.method) == (space, method)]
        saved = float(np.mean([1 - points[2][2] / points[1][2] for points in own]))
        lost = float(np.mean([points[1][1] - points[2][1] for points in own]))
        name = f"{space}, {published.METHODS.get(method, method)}"
        lines.append(Line(f"{name}: energy saved by the knee", saved, f"{saved:.1%}", published.KNEE_SAVES))
        note = "" if lost <= published.KNEE_LOSES.high else "table 1 itself has knees 2 to 9 points below the best"
        lines.append(
            Line(f"{name}: accuracy lost by the knee", lost, f"{100 * lost:.1f} points", published.KNEE_LOSES, note)
        )
    if not lines:
        return None
    text = (
        "The article: knees take about 70% less energy with only 1% of degradation. Means over runs, each knee against "
        "the most accurate network of its run, budgets mixed; the article itself compares with single-objective runs, "
        "which are not published."
    )
    return Section("knees", "What the knees of the search runs save", text, lines)


def hypervolumes(runs: Sequence[PublishedRun]) -> Section | None:
    """Hypervolume of each method's runs at their end, over that of all runs of the space together; None without runs.

    Losses are validation error and the logarithm of kWh; the reference is the worst of the joint front plus 10% of its
    range. Trials of all budgets count, as in the runs.
    """
    rows: list[list[Cell]] = []
    lines: list[Line] = []
    for space in dict.fromkeys(run.space for run in runs):
        own = [run for run in runs if run.space == space]
        losses = {id(run): _front_losses(run) for run in own}
        joint = np.vstack(list(losses.values()))
        reference = reference_point(joint)
        whole = hypervolume(joint, reference)
        for method in dict.fromkeys(run.method for run in own):
            mine = [run for run in own if run.method == method]
            volumes = [hypervolume(losses[id(run)], reference) / whole for run in mine]
            median = float(np.median(volumes))
            name = published.METHODS.get(method, method)
            lines.append(Line(f"{space}, {name}: hypervolume", median, f"{median:.3f}"))
            trials = float(np.median([len(run) for run in mine]))
            invalid = float(np.mean([1 - run.valid.mean() for run in mine]))
            kwh = float(np.median([run.energy_j.sum() / JOULES_PER_KWH for run in mine]))
            ends = f"{min(volumes):.3f} to {max(volumes):.3f}"
            rows.append([space, name, len(mine), median, ends, int(trials), f"{invalid:.0%}", kwh])
    if not rows:
        return None
    text = (
        "Hypervolume of validation error and log kWh at the end of a run, 1 being that of all published runs of the "
        "space together; medians over runs. The article draws attainment curves and prints no hypervolume."
    )
    columns = ["space", "method", "runs", "hypervolume", "from and to", "trials", "invalid", "kWh of a run"]
    return Section("hypervolumes", "Hypervolume of the search runs", text, lines, [Grid("Search runs", columns, rows)])


def _points(run: PublishedRun) -> list[list[float]]:
    """Seconds, accuracy, kWh and log10 parameters of both ends of a run's front, and of its knee."""
    accuracy, kwh = run.accuracy[run.valid], run.energy_j[run.valid] / JOULES_PER_KWH
    seconds, size = run.train_seconds[run.valid], np.log10(run.parameters[run.valid])
    places = front(accuracy, kwh)
    chosen = (int(places[0]), int(places[-1]), knee(accuracy, kwh))
    return [[float(seconds[i]), float(accuracy[i]), float(kwh[i]), float(size[i])] for i in chosen]


def _front_losses(run: PublishedRun) -> Array:
    losses = np.column_stack([1 - run.accuracy[run.valid], np.log(run.energy_j[run.valid] / JOULES_PER_KWH)])
    return np.asarray(losses[is_non_dominated(losses)])
