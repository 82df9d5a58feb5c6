"""What is in the spaces: how many networks, in what ranges, how costs go together, what scaling saved the authors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import kendalltau

from greennas.energy.units import JOULES_PER_KWH
from greennas.reproduce import published
from greennas.reproduce.result import Grid, Line, Section, readable
from greennas.reproduce.trainings import Trainings

_NAMES = {
    "kwh": "kWh",
    "seconds": "seconds",
    "parameters": "parameters",
    "accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
}
_DAY_S = 86_400
_PAIRS = (
    ("parameters", "kwh"),
    ("parameters", "seconds"),
    ("seconds", "kwh"),
    ("accuracy", "kwh"),
    ("accuracy", "parameters"),
)


def spaces(trainings: Sequence[Trainings]) -> Section:
    """Numbers of networks and the ranges of what is known of them."""
    rows = []
    for each in trainings:
        ranges = [
            f"{readable(each.columns[name].min())} to {readable(each.columns[name].max())}"
            if name in each.columns
            else None
            for name in _NAMES
        ]
        rows.append([each.name, len(each), each.repeats, *ranges])
    lines = []
    for name in dict.fromkeys(each.space for each in trainings):
        whole = [each for each in trainings if each.space == name and each.table is not None]
        count = max(map(len, whole), default=0)
        known = published.SIZES[name]
        note = ""
        if name == "5V" and count == 2532:
            note = "published graphs and trainings are 2,532, as many as NAS-Bench-101 has of up to 5 vertices"
        if name == "7V" and count == 4310:
            known, note = published.SURROGATE_DATA, "the sample that the surrogate was trained on, not the space"
        if count:
            lines.append(Line(f"{name}: networks", count, f"{count:,}", known, note))
    grid = Grid("Ranges", ["trainings", "networks", "with repeats", *_NAMES.values()], rows)
    text = (
        "Energies of 4 epochs were measured by the authors on a Quadro RTX 6000; those of longer trainings are scaled "
        "from them, those of 7V predicted by their surrogate. What is 'visited' was read from the published search "
        "runs, where a trial's budget is that to which a measured training of as many parameters has to be scaled to "
        "give its energy."
    )
    return Section("spaces", "The spaces", text, lines, [grid])


def correlations(trainings: Sequence[Trainings]) -> Section:
    """Kendall's tau between parameters, time, energy and accuracy."""
    rows: list[list[str | float | None]] = []
    for each in trainings:
        if each.table is None and each.epochs is None:
            continue  # costs of mixed budgets go together whatever the networks are
        taus: list[float | None] = []
        for left, right in _PAIRS:
            both = left in each.columns and right in each.columns
            taus.append(float(kendalltau(each.columns[left], each.columns[right]).statistic) if both else None)
        rows.append([each.name, *taus])
    titles = [f"{_NAMES[left]} and {_NAMES[right]}" for left, right in _PAIRS]
    measured = [each for each in trainings if each.epochs == published.BUDGETS[0] and each.table is not None]
    lines = [
        Line(
            f"{each.space}, {each.epochs} epochs: tau of {_NAMES[left]} and {_NAMES[right]}",
            tau := float(kendalltau(each.columns[left], each.columns[right]).statistic),
            f"{tau:.3f}",
        )
        for each in measured
        for left, right in _PAIRS[:3]
        if left in each.columns and right in each.columns
    ]
    text = (
        "How well one cost ranks networks as another does (Kendall's tau). The article says in words that time and "
        "energy grow with size and that time cannot replace energy; it prints no such number."
    )
    return Section(
        "correlations",
        "Parameters, time and energy",
        text,
        lines,
        [Grid("Kendall's tau", ["trainings", *titles], rows)],
    )


def creation(trainings: Sequence[Trainings]) -> Section | None:
    """What the authors saved by measuring 4 epochs and scaling; None without measured trainings."""
    lines = list(_avoided([each for each in trainings if each.epochs == published.BUDGETS[0] and each.table]))
    if not lines:
        return None
    text = (
        "Trainings over 12, 36 and 108 epochs take 39 times the energy of those over 4, and were scaled instead: one "
        "training of every network is counted."
    )
    return Section("creation", "What scaling saved the authors", text, lines)


def _avoided(measured: Sequence[Trainings]) -> Iterator[Line]:
    factor = sum(published.BUDGETS[1:]) / published.BUDGETS[0]
    for space in dict.fromkeys(each.space for each in measured if each.space in published.AVOIDED_KWH):
        each = next(found for found in measured if found.space == space and "seconds" in found.columns)
        spent = float(each.columns["kwh"].sum())
        kwh, days = factor * spent, factor * float(each.columns["seconds"].sum()) / _DAY_S
        yield Line(
            f"{space}: kWh not spent",
            kwh,
            f"{kwh:.3f} kWh",
            published.AVOIDED_KWH[space],
            _by_repeat(each, "train_energy_j", factor / JOULES_PER_KWH),
        )
        yield Line(
            f"{space}: GPU days not spent",
            days,
            f"{days:.3f} days",
            published.AVOIDED_GPU_DAYS[space],
            _by_repeat(each, "train_seconds", factor / _DAY_S),
        )
        share = kwh / (kwh + spent)
        yield Line(f"{space}: share not spent", share, f"{share:.1%}", published.AVOIDED_SHARE)


def _by_repeat(each: Trainings, column: str, factor: float) -> str:
    """Of repeated trainings the sums of the single repeats, in words."""
    assert each.table is not None
    repeats = {len(rows) for rows in each.table.rows.values()}
    if len(repeats) > 1 or repeats == {1}:
        return ""
    values = [[row[column] for row in rows] for rows in each.table.rows.values()]
    sums = factor * np.array(values).sum(axis=0)
    return f"mean of {len(sums)} repeats, which alone give {sums.min():.3f} to {sums.max():.3f}"
