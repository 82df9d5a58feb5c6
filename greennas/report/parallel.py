"""Parallel coordinates of the trained networks: an axis a metric or parameter, a line a network.

Inline SVG rather than a plot of the library: its lines are links, which one reaches with the keyboard, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from greennas.config import METRICS
from greennas.report.cell import cell_of, short
from greennas.report.headline import main_objectives
from greennas.report.plots import Axis
from greennas.report.words import LABELS, kinds_of, known, noun, number, plural, show_with_kind
from greennas.results import SearchResult, TrialRecord

MOST_AXES = 10
"""Axes that a page's width has room for."""
_STEP, _SIDE, _TOP, _HEIGHT = 112, 62, 58, 270
"""Pixels: between two axes, beside the outer ones, above and along them."""


@dataclass(frozen=True)
class Coordinate:
    """One of the axes.

    Attributes:
        title: its name.
        unit: what stands below the name.
        at: where each network is on it, from 0 (bottom) to 1.
        ticks: places and their labels.
    """

    title: str
    unit: str
    at: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_coordinates(result: SearchResult) -> str:
    """The figure as HTML; empty where fewer than two networks have been trained to the end."""
    trials = result.completed
    if len(trials) < 2:
        return ""
    metrics = _metrics(result)
    parameters, omitted = _parameters(result, MOST_AXES - len(metrics))
    axes = [*metrics, *parameters]
    if len(axes) < 2:
        return ""
    front = {trial.number for trial in result.front}
    order = sorted(range(len(trials)), key=lambda i: trials[i].number in front)
    shapes = [_line(trials[i], [axis.at[i] for axis in axes], trials[i].number in front, result) for i in order]
    shapes += [_axis(i, axis) for i, axis in enumerate(axes)]
    width, height = 2 * _SIDE + _STEP * (len(axes) - 1), _TOP + _HEIGHT + 22
    words = (
        f"Parallel coordinates of {plural(len(trials), 'trained network')}, {len(front)} of them on the front, over "
        f"{', '.join(axis.title for axis in axes)}"
    )
    caption = "Each line is a trained network, those of the front are green. On the axes of metrics better is up."
    if omitted:
        more = plural(omitted, "more parameter is", "more parameters are")
        objective = escape(noun(main_objectives(result)[1]))
        caption += f" {more} left out: those shown tell the most about {objective} here."
    return (
        '<figure><h3>Metrics and parameters</h3>\n<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(words)}"><svg class="parallel" viewBox="0 0 {width} {height}" role="group" '
        f'aria-label="{escape(words)}" style="min-width:{0.8 * width:.0f}px">{"".join(shapes)}</svg></div>\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _metrics(result: SearchResult) -> list[Coordinate]:
    found = []
    for name in dict.fromkeys([*result.config.metrics, *LABELS]):
        values = [
            value for trial in result.completed if (value := trial.metrics.get(name)) is not None and known(value)
        ]
        if len(values) == len(result.completed) and min(values) < max(values):
            directions = {each.metric: each.direction for each in result.config.objectives}
            falling = directions.get(name, METRICS.get(name, "max")) == "min"
            found.append(_of_metric(name, values, kinds_of(name, result.completed), falling))
    return found


def _of_metric(name: str, values: Sequence[float], kinds: Sequence[str], falling: bool) -> Coordinate:
    axis = Axis.of(name, values, kinds)
    shown = [value * axis.factor for value in values]
    low, high = min(shown), max(shown)
    marks = [low, *(value for value in _round(low, high, log=axis.log) if low < value < high), high]

    def at(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if axis.log else (value - low) / (high - low)
        return 1 - share if falling else share

    title, _, unit = axis.title.partition(" (")
    ticks = [(at(mark), number(mark)) for mark in marks]
    return Coordinate(title, unit.removesuffix(")"), tuple(map(at, shown)), _apart(ticks))


def _parameters(result: SearchResult, most: int) -> tuple[list[Coordinate], int]:
    """Axes of at most ``most`` parameters that differ, and how many more there are."""
    columns = traits([trial.architecture.params if trial.architecture else {} for trial in result.completed])
    columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
    cost = main_objectives(result)[1]
    costs = np.array([trial.metrics[cost] for trial in result.completed], dtype=float)
    telling = sorted(columns, key=lambda name: -_explained(columns[name], costs))[: max(most, 0)]
    return [_of_trait(name, columns[name]) for name in columns if name in telling], len(columns) - len(telling)


def traits(every: Sequence[Mapping[str, Any]]) -> dict[str, list[float | str]]:
    """What one can plot of networks: how often a cell has each operation, else the parameters that all have.

    Args:
        every: the parameters of each network.
    """
    cells = [cell_of(params) for params in every]
    found: dict[str, list[float | str]] = {}
    if cells and all(cell is not None for cell in cells):
        operations = [
            [short(text) for text in [*(edge[2] for edge in cell.edges if edge[2]), *cell.vertices[1:-1]]]
            for cell in cells
            if cell is not None
        ]
        for name in sorted({text for texts in operations for text in texts if not text.isdigit()}):
            found[f"{name} operations"] = [float(texts.count(name)) for texts in operations]
        found["edges"] = [float(len(cell.edges)) for cell in cells if cell is not None]
        return found
    for name in every[0] if every else ():
        values = [params.get(name) for params in every]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            found[name] = [float(value) for value in values if value is not None]
        elif all(isinstance(value, (str, int, float)) for value in values):
            found[name] = [("yes" if value else "no") if isinstance(value, bool) else str(value) for value in values]
    return found


def _of_trait(name: str, values: Sequence[float | str]) -> Coordinate:
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < len(values):
        names = sorted({str(value) for value in values})
        place = {text: i / (len(names) - 1) for i, text in enumerate(names)}
        ticks = [(at, text if len(text) <= 12 else f"{text[:11]}…") for text, at in place.items()]
        return Coordinate(name, "", tuple(place[str(value)] for value in values), _apart(ticks))
    low, high = min(numbers), max(numbers)
    marks = sorted(set(numbers))
    marks = marks if len(marks) <= 7 else [low, *(mark for mark in _round(low, high) if low < mark < high), high]
    numeric = [((mark - low) / (high - low), number(mark)) for mark in marks]
    return Coordinate(name, "", tuple((value - low) / (high - low) for value in numbers), _apart(numeric))


def _explained(values: Sequence[float | str], costs: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Share of the costs' variance that groups of equal ``values`` explain, adjusted for the number of groups."""
    groups = [costs[[other == value for other in values]] for value in set(values)]
    total = float(((costs - costs.mean()) ** 2).sum())
    left, free = len(costs) - len(groups), len(costs) - 1
    if total == 0 or left <= 0:
        return 0.0
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return 1 - (within / left) / (total / free)


def _round(low: float, high: float, *, log: bool = False) -> list[float]:
    """Round numbers between two: three to six, or for a logarithmic axis 1, 2 and 5 times powers of ten."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        return [step * 10.0**power for power in powers for step in (1, 2, 5)]
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _apart(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Ticks whose labels do not run into each other; the two ends stay."""
    ends = [ticks[0], ticks[-1]]
    kept = list(ends)
    for at, text in ticks[1:-1]:
        if all(abs(at - other) * _HEIGHT >= 17 for other, _ in kept):
            kept.append((at, text))
    return tuple(sorted(kept))


def _axis(index: int, axis: Coordinate) -> str:
    x = _SIDE + _STEP * index
    lines = [*(("title", text) for text in _wrapped(axis.title)), *([("unit", axis.unit)] if axis.unit else [])]
    head = "".join(
        f'<text class="{style}" x="{x}" y="{_TOP - 14 * (len(lines) - i)}">{escape(text)}</text>'
        for i, (style, text) in enumerate(lines)
    )
    marks = "".join(
        f'<path d="M{x - 4},{_y(at):.1f}h8"/><text class="tick" x="{x + 7}" y="{_y(at) + 4:.1f}">{escape(text)}</text>'
        for at, text in axis.ticks
    )
    return f'<g class="axis">{head}<path d="M{x},{_TOP}v{_HEIGHT}"/>{marks}</g>'


def _line(trial: TrialRecord, places: Sequence[float], on_front: bool, result: SearchResult) -> str:
    points = [(_SIDE + _STEP * i, _y(at)) for i, at in enumerate(places)]
    path = f"M{points[0][0]},{points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        path += f"C{x + _STEP / 2.5:.0f},{y:.1f} {to_x - _STEP / 2.5:.0f},{to_y:.1f} {to_x},{to_y:.1f}"
    values = ", ".join(show_with_kind(name, trial) for name in result.config.metrics)
    name = escape(f"{trial.architecture_id or f'trial {trial.number}'}: {values}")
    shape = f'<title>{name}</title><path class="hit" d="{path}"/><path d="{path}"/>'
    if on_front:
        link = f'href="#network-{trial.number}" aria-label="{name}"'
        return f'<a class="line front" data-network="{trial.number}" {link}>{shape}</a>'
    return f'<g class="line" data-network="{trial.number}">{shape}</g>'


def _y(at: float) -> float:
    return _TOP + _HEIGHT * (1 - at)


def _wrapped(title: str) -> list[str]:
    """A title in at most two lines."""
    if len(title) <= 16:
        return [title]
    words = title.split(" ")
    cut = min(range(1, len(words)), key=lambda i: abs(len(" ".join(words[:i])) - len(title) / 2), default=0)
    lines = [" ".join(words[:cut]), " ".join(words[cut:])] if cut else [title]
    return [line if len(line) <= 19 else f"{line[:18]}…" for line in lines]
