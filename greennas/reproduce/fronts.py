"""Pareto fronts of accuracy and energy: their ends and knee, and what little accuracy buys in energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greennas.pareto import is_non_dominated
from greennas.report.plots import Axis, Figure, layout, line, markers
from greennas.reproduce import published
from greennas.reproduce.result import Cell, Grid, Line, Section
from greennas.reproduce.trainings import Array, Trainings

POINT = 0.01
"""The accuracy that may be lost: one point of a hundred."""
_DRAWN = 5_000


def front(accuracy: Array, kwh: Array) -> NDArray[np.intp]:
    """Indices of the trainings that none is better than in both, the cheapest first."""
    found = np.flatnonzero(is_non_dominated(np.column_stack([-accuracy, kwh])))
    return found[np.argsort(kwh[found], kind="stable")]


def knee(accuracy: Array, kwh: Array) -> int:
    """Index of the knee as the article takes it: the front's point farthest below the line between its ends.

    Both objectives scaled to [0, 1] on the front (Satopaa et al., "Finding a Kneedle in a Haystack", 2011);
    ``greennas.pareto.knee`` is the point nearest to the ideal one instead.
    """
    found = front(accuracy, kwh)
    scaled = [_scaled(-accuracy[found]), _scaled(kwh[found])]
    return int(found[np.argmin(scaled[0] + scaled[1])])


def cheapest_within(accuracy: Array, kwh: Array, loss: float = POINT) -> int:
    """Index of the training of least energy that is at most ``loss`` less accurate than the best."""
    allowed = np.flatnonzero(accuracy >= accuracy.max() - loss - 1e-12)
    return int(allowed[np.argmin(kwh[allowed])])


def fronts(trainings: Sequence[Trainings]) -> Section:
    """The front of each space and budget, its ends and its knee."""
    usable = [each for each in trainings if "accuracy" in each.columns]
    columns = ["trainings", "which", "kWh", "seconds", "parameters", "validation accuracy", "test accuracy"]
    rows: list[list[Cell]] = []
    figures = []
    for number, each in enumerate(usable):
        accuracy, kwh = each.columns["accuracy"], each.columns["kwh"]
        places = front(accuracy, kwh)
        named = {
            f"r0, least energy (front of {len(places)})": int(places[0]),
            "rk, knee": knee(accuracy, kwh),
            "cheapest within 1 point": cheapest_within(accuracy, kwh),
            "r1, most accurate": int(places[-1]),
        }
        for which, index in named.items():
            values = [each.columns[name][index] if name in each.columns else None for name in _VALUES]
            rows.append([each.name, which, *(None if value is None else float(value) for value in values)])
        figures.append(_figure(number, each, places, named))
    text = (
        "The front of validation accuracy against training energy at one budget. The knee is taken as the article "
        "takes it, farthest below the line between the front's ends; one budget alone has no published numbers."
    )
    return Section(
        "fronts", "Pareto fronts", text, grids=[Grid("Ends, knee and bargain", columns, rows)], figures=figures
    )


def savings(trainings: Sequence[Trainings]) -> Section:
    """How much energy 1 point of accuracy saves, at each budget and over all of them."""
    lines: list[Line] = []
    rows: list[list[Cell]] = []
    usable = [each for each in trainings if "accuracy" in each.columns]
    for each in [*usable, *_mixed(usable)]:
        for name, other, words in (
            ("accuracy", "test_accuracy", "validation"),
            ("test_accuracy", "accuracy", "test"),
        ):
            if name not in each.columns or other not in each.columns:
                continue
            accuracy, kwh = each.columns[name], each.columns["kwh"]
            best, chosen = int(np.argmax(accuracy)), cheapest_within(accuracy, kwh)
            saved = 1 - float(kwh[chosen] / kwh[best])
            what = f"{each.name}: saved for 1 point of {words} accuracy"
            why = "" if saved >= published.KNEE_SAVES.low else _why(each, accuracy, best)
            lines.append(Line(what, saved, f"{saved:.1%}", published.KNEE_SAVES, why))
            lost = [
                float(100 * (each.columns[column][best] - each.columns[column][chosen])) for column in (name, other)
            ]
            rows.append([each.name, words, f"{saved:.1%}", *lost, float(kwh[best]), float(kwh[chosen])])
    held = sum(line.verdict == "matches" for line in lines)
    text = (
        "The claim: about 70% less energy for 1% of accuracy. Here it is asked of every table: how much less energy "
        "the cheapest network takes that is at most 1 point less accurate than the most accurate one. At least 65% are "
        f"saved in {held} of {len(lines)} cases. Each line chooses by one split; the table says what the other loses."
    )
    columns = ["trainings", "judged by", "saved", "points lost", "points lost, other split", "kWh of best", "kWh"]
    return Section(
        "savings", "Energy saved for 1 point of accuracy", text, lines, [Grid("Saved for 1 point", columns, rows)]
    )


def _why(each: Trainings, accuracy: Array, best: int) -> str:
    """Why little is saved, from the numbers."""
    near = int(np.sum(accuracy >= accuracy[best] - POINT - 1e-12)) - 1
    cheaper = float(np.mean(each.columns["kwh"] < each.columns["kwh"][best]))
    others = {0: "no other network is", 1: "1 other is"}.get(near, f"{near:,} others are")
    return f"{others} within 1 point, and the best takes more energy than {cheaper:.0%} of the networks"


_VALUES = ("kwh", "seconds", "parameters", "accuracy", "test_accuracy")


def _mixed(trainings: Sequence[Trainings]) -> list[Trainings]:
    """All budgets of a space together, as the authors' searches see them."""
    found = []
    for space in dict.fromkeys(each.space for each in trainings):
        budgets = {each.epochs: each for each in reversed(trainings) if each.space == space}
        if len(budgets) < 2:
            continue
        names = [name for name in _VALUES if all(name in each.columns for each in budgets.values())]
        columns = {name: np.concatenate([each.columns[name] for each in budgets.values()]) for name in names}
        repeats = sum(each.repeats for each in budgets.values())
        found.append(Trainings(space, None, "all budgets together", columns, repeats))
    return found


def _figure(number: int, each: Trainings, places: NDArray[np.intp], named: dict[str, int]) -> Figure:
    accuracy, kwh = 100 * each.columns["accuracy"], each.columns["kwh"]
    axis_x = Axis.of("kwh", kwh.tolist())
    thinned = np.random.default_rng(0).permutation(len(kwh))[:_DRAWN]
    data = [
        markers(
            "trainings",
            [(axis_x.place(float(kwh[i])), round(float(accuracy[i]), 3)) for i in thinned],
            [f"{accuracy[i]:.2f}%, {kwh[i]:.4g} kWh" for i in thinned],
            {"color": "$faint", "size": 5},
        ),
        line(
            "front",
            [(axis_x.place(float(kwh[i])), round(float(accuracy[i]), 3)) for i in places],
            {"color": "$accent", "width": 2, "shape": "hv"},
        ),
        markers(
            "ends, knee, bargain",
            [(axis_x.place(float(kwh[i])), round(float(accuracy[i]), 3)) for i in named.values()],
            [f"{which}: {accuracy[i]:.2f}%, {kwh[i]:.4g} kWh" for which, i in named.items()],
            {"color": "$contrast", "size": 10},
        ),
    ]
    x = axis_x.layout() | {"title": {"text": "training energy (kWh)"}}
    y = {"title": {"text": "validation accuracy (%)"}}
    return Figure(
        f"front-{number}",
        each.name,
        f"Validation accuracy against training energy of {len(each):,} trainings, with a front of {len(places)}.",
        "Each point is a network; the line is the Pareto front.",
        data,
        layout(x, y, height=360),
    )


def _scaled(values: Array) -> Array:
    spread = float(np.ptp(values))
    return (values - values.min()) / spread if spread else np.zeros(len(values))
