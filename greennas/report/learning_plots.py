"""How the search did: predicted against measured energy, and hypervolume against trials and joules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from greennas.energy import format_energy
from greennas.pareto import Array, hypervolume, is_non_dominated
from greennas.report.plots import Axis, Figure, hover, layout, line, markers, plain
from greennas.report.words import kind_of, kinds_of, known, number, plural, show, show_with_kind
from greennas.results import SearchResult, TrialRecord
from greennas.sampler.green import COST

_HEIGHT = 360


@dataclass(frozen=True)
class Step:
    """The search after one more trial was begun.

    Attributes:
        trial: the trial.
        begun: trials begun so far.
        spent_j: joules of the trainings so far whose energy is known, whatever came of them.
        hypervolume: of the networks trained to the end so far, 0 to 1, with the final reference point.
    """

    trial: TrialRecord
    begun: int
    spent_j: float
    hypervolume: float


def history(result: SearchResult, box: tuple[Array, Array] | None = None) -> list[Step]:
    """The search trial by trial; the last hypervolume is that of the result.

    Args:
        result: the search.
        box: ideal and reference point of the hypervolume, each of shape (objectives,); by default the result's own.
    """
    if not result.completed:
        return []
    ideal, reference = box or (result.losses.min(axis=0), np.array(result.reference))
    size = float(np.prod(reference - ideal))
    losses = {trial.number: row for trial, row in zip(result.completed, result.losses, strict=True)}
    front = np.empty((0, len(reference)))
    steps: list[Step] = []
    volume, spent_j = 0.0, 0.0
    for trial in result.trials:
        if trial.state in ("RUNNING", "WAITING"):
            continue
        energy = trial.metrics.get(COST)
        spent_j += energy if energy is not None and known(energy) else 0.0
        row = losses.get(trial.number)
        if row is not None:
            points = np.vstack([front, row])
            mask = is_non_dominated(points)
            front = points[mask]
            if mask[-1]:  # a dominated network adds nothing
                volume = hypervolume(front, reference) / size if size > 0 else 0.0
        steps.append(Step(trial, len(steps) + 1, spent_j, volume))
    return steps


def hypervolume_by_trial(result: SearchResult) -> Figure | None:
    """Hypervolume against trials begun; None where nothing has been trained to the end."""
    steps = history(result)
    if not steps:
        return None
    x = {"title": {"text": "Trials begun"}, "range": [0, len(steps) + 0.5], "rangemode": "tozero"}
    return Figure(
        name="hypervolume-trials",
        title="Hypervolume by trial",
        alt=f"Line: the hypervolume after {plural(len(steps), 'trial')} is {number(steps[-1].hypervolume)}.",
        caption="Share of the box between the best and the worst values (plus 10%) that the front dominates; "
        "each is taken with the final reference point.",
        data=_stairs(result, steps, [float(step.begun) for step in steps]),
        layout=layout(x, _VOLUME, height=_HEIGHT, showlegend=False),
    )


def hypervolume_by_energy(result: SearchResult) -> Figure | None:
    """Hypervolume against joules spent on trainings; None where these are unknown or of several kinds."""
    steps = history(result)
    metered = [step.trial for step in steps if known(step.trial.metrics.get(COST))]
    kinds = kinds_of(COST, metered)
    if not metered or len(kinds) != 1:
        return None
    axis = Axis.of(COST, [0.0, steps[-1].spent_j], kinds, log=False)
    unknown = len(steps) - len(metered)
    x = {
        **axis.layout(),
        "title": {"text": plain(axis.title.replace("Training energy", "Spent on trainings"))},
        "range": [0, axis.range[1]],
    }
    missing = f" The energy of {plural(unknown, 'trial')} is not known and counts nothing." if unknown else ""
    return Figure(
        name="hypervolume-energy",
        title="Hypervolume by energy",
        alt=f"Line: the hypervolume is {number(steps[-1].hypervolume)} after "
        f"{format_energy(steps[-1].spent_j)} ({kinds[0]}) of training.",
        caption=f"Joules ({escape(kinds[0])}) of the training steps so far, stopped trainings included; "
        f"what else the search spent is in the bill.{missing}",
        data=_stairs(result, steps, [axis.place(step.spent_j) for step in steps]),
        layout=layout(x, _VOLUME, height=_HEIGHT, showlegend=False),
    )


def prediction_figure(result: SearchResult) -> Figure | None:
    """Predicted against measured training energy; None where nothing was predicted."""
    pairs = predicted_and_measured(result)
    if not pairs:
        return None
    kinds = kinds_of(COST, [trial for trial, _, _ in pairs])
    values = [value for _, energy, item in pairs for value in (energy, item["low"], item["high"])]
    axis = Axis.of(COST, values, kinds)
    data = []
    ends = [10**end if axis.log else max(end, 0.0) for end in axis.range]
    data.append(line("Predicted = metered", list(zip(ends, ends, strict=True)), {"color": "$line", "width": 1.5}))
    for name, colour, inside in (("Inside of its interval", "$accent", True), ("Outside", "$contrast", False)):
        group = [pair for pair in pairs if (pair[2]["low"] <= pair[1] <= pair[2]["high"]) is inside]
        if not group:
            continue
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [axis.place(item["high"] - item["mean"]) for _, _, item in group],
            "arrayminus": [axis.place(item["mean"] - item["low"]) for _, _, item in group],
            "color": colour,
            "thickness": 1.2,
            "width": 3,
        }
        points = [(axis.place(energy), axis.place(item["mean"])) for _, energy, item in group]
        marker = {"color": colour, "size": 8, "symbol": "circle" if inside else "diamond"}
        numbers = [trial.number for trial, _, _ in group]
        texts = [_pair_hover(*pair) for pair in group]
        data.append(markers(name, points, texts, marker, error_y=bars, customdata=numbers))
    unit = axis.title.removeprefix("Training energy")
    x, y = ({**axis.layout(), "title": {"text": plain(f"{word}{unit}")}} for word in ("Metered", "Predicted"))
    found = result.screening
    quality = ""
    if found.energy_error is not None and found.coverage is not None:
        quality = (
            f"Half of the predictions were off by less than {found.energy_error:.1%}; {found.coverage:.0%} of the 90% "
            f"intervals held the metered value."
        )
    return Figure(
        name="prediction",
        title="Training energy: predicted against metered",
        alt=f"Scatter plot of {plural(len(pairs), 'training')}: predicted against metered training energy. {quality}",
        caption=f"Predictions were made before the training, bars are 90% intervals. {quality}",
        data=data,
        layout=layout(x, y, height=_HEIGHT),
    )


def predicted_and_measured(result: SearchResult) -> list[tuple[TrialRecord, float, dict[str, float]]]:
    """Completed trials with their training energy and its prediction (mean, low, high), in joules."""
    pairs = []
    for trial in result.completed:
        item, energy = trial.proposal.get("predicted", {}).get(COST), trial.metrics.get(COST)
        if (
            item
            and energy is not None
            and known(energy)
            and all(known(item.get(end)) for end in ("mean", "low", "high"))
        ):
            pairs.append((trial, energy, dict(item)))
    return pairs


_VOLUME = {"title": {"text": "Hypervolume"}, "range": [0, 1.04]}


def _stairs(result: SearchResult, steps: Sequence[Step], places: Sequence[float]) -> list[dict[str, object]]:
    """A step line over all trials with a point where the front grew."""
    heights = [float(f"{step.hypervolume:.6g}") for step in steps]
    grown = [i for i, (before, after) in enumerate(pairwise([0.0, *heights])) if after > before]
    texts = [
        f"<b>Hypervolume {number(steps[i].hypervolume)}</b> after {plural(steps[i].begun, 'trial')}<br>"
        + hover(steps[i].trial, result.config.metrics)
        for i in grown
    ]
    points = [(places[i], heights[i]) for i in grown]
    numbers = [steps[i].trial.number for i in grown]
    return [
        line("Hypervolume", list(zip(places, heights, strict=True)), {"color": "$accent", "width": 2, "shape": "hv"}),
        markers("The front grew", points, texts, {"color": "$accent", "size": 7}, customdata=numbers),
    ]


def _pair_hover(trial: TrialRecord, energy: float, item: dict[str, float]) -> str:
    kind = plain(kind_of(COST, trial))
    return (
        f"<b>{plain(trial.architecture_id)}</b><br>Metered: {plain(show_with_kind(COST, trial))}<br>"
        f"Predicted: {show(COST, item['mean'])} ({show(COST, item['low'])} to {show(COST, item['high'])}), {kind}<br>"
        f"Off by {abs(item['mean'] / energy - 1):.1%}"
        if energy
        else f"<b>{plain(trial.architecture_id)}</b>"
    )
