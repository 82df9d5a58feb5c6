"""Medians with bootstrap intervals of what searches reached, as tables, JSON and one page of plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from problem import Problem, View

Run = Mapping[str, Any]
"""One seed's ``Recorder.figures``, with ``cpu_s``."""
Runs = Mapping[str, Sequence[Run]]
"""Methods to their seeds."""

EVENTS = {
    "kwh_95": "kWh to 95%",
    "trials_95": "trainings",
    "kwh_99": "kWh to 99%",
    "trials_99": "trainings",
    "kwh_linear95": "kWh to 95%, linear",
    "kwh_linear99": "kWh to 99%, linear",
    "kwh_loose99": "kWh to 99%, loose",
    "kwh_bargain": "kWh to the first bargain",
}
MARKS = (5, 10, 20, 50, 100)
"""Where hypervolume is read off, in mean trainings' energy."""
_VIEWS: tuple[View, ...] = ("tight", "linear")
_DRAWS = 2000


def median(values: Sequence[float | None]) -> tuple[float, float, float]:
    """Median (of an even number the lower middle) with a 95% bootstrap interval; None stands for never."""
    numbers = np.sort([math.inf if value is None else value for value in values])
    medians = _bootstrap(numbers[:, None])[:, 0]
    return float(numbers[(len(numbers) - 1) // 2]), float(medians[0]), float(medians[1])


def _bootstrap(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ends of the 95% interval of the median over the rows, (2, columns)."""
    count = len(rows)
    drawn = np.sort(np.random.default_rng(0).integers(count, size=(_DRAWS, count)), axis=1)[:, (count - 1) // 2]
    # The median of a draw from sorted values is the value at the median of the drawn ranks; no infinity is averaged.
    medians = np.sort(np.sort(rows, axis=0)[drawn], axis=0)
    return np.asarray(medians[[int(0.025 * _DRAWS), int(0.975 * _DRAWS) - 1]])


def at(run: Run, view: View, kwh: float) -> float:
    """Hypervolume that a run had after ``kwh``; a run that has ended keeps what it had."""
    done = int(np.searchsorted(run["kwh"], kwh, side="right"))
    return float(run[view][done - 1]) if done else 0.0


def summary(problem: Problem, runs: Runs) -> dict[str, Any]:
    """All figures of one problem, JSON-ready; None for what too few seeds reached."""
    marks = [mark * problem.mean_kwh for mark in MARKS]
    methods = {}
    for name, seeds in runs.items():
        found: dict[str, Any] = {"seeds": len(seeds), "trainings": int(median([len(run["kwh"]) for run in seeds])[0])}
        for event in EVENTS:
            values = [run[event] for run in seeds]
            reached = sum(value is not None for value in values) / len(values)
            found[event] = _named(median(values)) | {"reached": reached}
        for view in _VIEWS:
            found[f"{view}_at_kwh"] = [
                {"kwh": kwh} | _named(median([at(run, view, kwh) for run in seeds])) for kwh in marks
            ]
        found["cpu_s"] = _named(median([run["cpu_s"] for run in seeds]))
        found["cpu_s_a_training"] = _named(median([run["cpu_s"] / len(run["kwh"]) for run in seeds]))
        methods[name] = found
    return {**problem.about(), "methods": methods}


def _named(values: tuple[float, float, float]) -> dict[str, float | None]:
    return {
        name: None if math.isinf(value) else float(f"{value:.6g}")
        for name, value in zip(("median", "low", "high"), values, strict=True)
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Two tables of a ``summary``: when it got there, and hypervolume at some kWh."""
    methods: Mapping[str, Mapping[str, Any]] = found["methods"]
    names = [
        f"{title} ({found['bargain_points']} points)" if "bargain" in title else title for title in EVENTS.values()
    ]
    first = [[name, str(each["seeds"]), *(_cell(each[event]) for event in EVENTS)] for name, each in methods.items()]
    marks = [f"{each['kwh']:.2g} kWh" for each in next(iter(methods.values()))["tight_at_kwh"]]
    second = [
        [
            name,
            *(_interval(each) for view in _VIEWS for each in row[f"{view}_at_kwh"]),
            str(row["trainings"]),
            f"{row['cpu_s']['median']:.3g}",
            f"{row['cpu_s_a_training']['median']:.3g}",
        ]
        for name, row in methods.items()
    ]
    header = ["", *(f"{view}, {mark}" for view in ("log", "linear") for mark in marks)]
    return "\n\n".join(
        [
            table(["", "seeds", *names], first),
            table([*header, "trainings", "CPU s a seed", "CPU s a training"], second),
        ]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(each: Mapping[str, float | None]) -> str:
    reached = f"{each['reached']:.0%} of seeds"
    return f"none ({reached})" if each["median"] is None else f"{_interval(each)}; {reached}"


def _interval(each: Mapping[str, float | None]) -> str:
    mid, low, high = ("-" if (value := each[name]) is None else f"{value:.3g}" for name in ("median", "low", "high"))
    return f"{mid} ({low} to {high})"


def plot(problems: Mapping[str, tuple[Problem, Runs]]) -> str:
    """Median hypervolume with its 95% band against kWh, as one HTML page: a column a problem, a row a view."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    views = {"tight": "log energy", "linear": "linear energy"}
    titles = [f"{problem.name}: {words}" for words in views.values() for problem, _ in problems.values()]
    figure = make_subplots(len(views), len(problems), subplot_titles=titles)
    methods = list(dict.fromkeys(name for _, runs in problems.values() for name in runs))
    shown: set[str] = set()
    for column, (problem, runs) in enumerate(problems.values(), 1):
        for (name, seeds), (row, view) in ((a, b) for a in runs.items() for b in enumerate(_VIEWS, 1)):
            # Only as far as at least half of the seeds have gone.
            grid = np.geomspace(problem.mean_kwh, float(np.median([run["kwh"][-1] for run in seeds])), 120)
            values = np.array([[at(run, view, kwh) for kwh in grid] for run in seeds])
            low, high = _bootstrap(values)
            hue = methods.index(name) * 360 // len(methods)
            place = {"row": row, "col": column, "legendgroup": name}
            figure.add_scatter(
                x=np.concatenate([grid, grid[::-1]]),
                y=np.concatenate([high, low[::-1]]),
                fill="toself",
                fillcolor=f"hsla({hue}, 70%, 45%, 0.12)",
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                **place,
            )
            middle = np.sort(values, axis=0)[(len(seeds) - 1) // 2]
            width = 4 if name == "GreenNAS" else 1.5
            line = {"color": f"hsl({hue}, 70%, 40%)", "width": width}
            figure.add_scatter(x=grid, y=middle, name=name, line=line, showlegend=name not in shown, **place)
            shown.add(name)
            figure.update_xaxes(type="log", title_text="kWh of all trainings and probes", row=row, col=column)
            figure.update_yaxes(title_text="normalised hypervolume", row=row, col=column)
    figure.update_layout(height=450 * len(views), title="Median of the seeds with its 95% bootstrap band")
    assert isinstance(figure, go.Figure)
    return str(figure.to_html(include_plotlyjs=True))
