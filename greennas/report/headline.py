"""The one sentence that matters, computed from the front; and what a reader has to know before believing it."""

from __future__ import annotations

import math
from html import escape

from optuna.trial import TrialState

from greennas.report.words import is_energy, kind_of, kinds_of, label, noun, plural, share, show, show_with_kind
from greennas.results import SearchResult, TrialRecord, losses

ENOUGH_TRAINED = 8
"""Below so many trained networks the page warns that the front may still move a lot."""
ACCEPTED_LOSS = 0.01
"""Accuracy that the recommended network may lose to the most accurate one, as a share of all images."""


def main_objectives(result: SearchResult) -> tuple[str, str]:
    """What is to be good, and what it costs: accuracy and training energy where they are objectives."""
    names = result.config.metrics
    good = "accuracy" if "accuracy" in names else names[0]
    others = [name for name in names if name != good]
    return good, "train_energy_j" if "train_energy_j" in others else others[0]


def best(result: SearchResult) -> TrialRecord | None:
    """The front's best trial in the first of ``main_objectives``: what a search for that alone would choose."""
    if not result.front:
        return None
    good, cost = (result.config.metrics.index(name) for name in main_objectives(result))
    rows = losses(result.front, result.config.objectives)
    return min(zip(result.front, rows, strict=True), key=lambda pair: (pair[1][good], pair[1][cost]))[0]


def recommended(result: SearchResult) -> TrialRecord | None:
    """The trial that the headline compares with ``best``; None where no cheaper one is on the front.

    The cheapest that loses at most a point of accuracy; without one (or without accuracy) the knee, else the
    next on the front. What uses the same training energy within noise, as measured again, is not cheaper.
    """
    top = best(result)
    if top is None:
        return None
    names = result.config.metrics
    good, cost = (names.index(name) for name in main_objectives(result))
    rows = dict(zip((t.number for t in result.front), losses(result.front, result.config.objectives), strict=True))
    same = _same_cost(result, top)
    cheaper = [t for t in result.front if rows[t.number][cost] < rows[top.number][cost] and t.number not in same]
    if names[good] == "accuracy":
        limit = rows[top.number][good] + ACCEPTED_LOSS + 1e-9
        close = [t for t in cheaper if rows[t.number][good] <= limit]
        if close:
            return min(close, key=lambda t: float(rows[t.number][cost]))
    if result.knee is not None and result.knee.number in {t.number for t in cheaper}:
        return result.knee
    return min(cheaper, key=lambda t: float(rows[t.number][good]), default=None)


def headline(result: SearchResult) -> str:
    """The sentence, as HTML."""
    top, pick = best(result), recommended(result)
    good, cost = main_objectives(result)
    if top is None:
        return f"{result.why_no_front}, so there is no front to show."
    superlative = _superlative(good, result)
    if pick is None:
        if len(result.completed) == 1:
            values = ", ".join(f"{noun(name)} {show_with_kind(name, top)}" for name in (good, cost))
            return f"One network has been trained to the end: {network(top)} with {escape(values)}."
        if _same_cost(result, top):
            return (
                f"No network of the front uses less {noun(cost)} than the {superlative} one, {network(top)}, by more "
                "than noise."
            )
        return f"The {superlative} network, {network(top)}, is also the best of the front in {noun(cost)}."
    kinds = kinds_of(cost, (top, pick))
    if len(kinds) > 1:
        return (
            f"The {superlative} network is {network(top)}; network {network(pick)} is cheaper, but their "
            f"{noun(cost)} is of different kinds ({escape(', '.join(kinds))}) and is not compared."
        )
    kind = f" ({escape(kinds[0])})" if kinds else ""
    return (
        f"Network {network(pick)} {_difference(cost, top, pick)}{kind} than the {superlative} one, {network(top)}, "
        f"{_sacrifice(good, top, pick)}."
    )


def caveats(result: SearchResult) -> list[str]:
    """What weakens the headline, one sentence of HTML each."""
    found = []
    completed, front = len(result.completed), len(result.front)
    if completed and (completed < ENOUGH_TRAINED or front < 3):
        found.append(
            f"Too few points for a firm conclusion: {plural(completed, 'network')} trained to the end, "
            f"{front} of them on the front."
        )
    if chance := _chance(result):
        found.append(chance)
    if same := _same_as_best(result):
        found.append(same)
    waiting = result.count(TrialState.RUNNING) + result.count(TrialState.WAITING)
    if waiting:
        found.append(f"The search has not ended: {plural(waiting, 'trial is', 'trials are')} running or waiting.")
    for name in filter(is_energy, result.config.metrics):
        kinds = kinds_of(name, result.completed)
        if len(kinds) > 1:
            found.append(
                f"{escape(label(name))} is of several kinds here ({escape(', '.join(kinds))}). "
                "Joules of different kinds do not compare: read the front within one kind only."
            )
        if "modelled" in kinds:
            found.append(
                f"{escape(label(name))} is modelled: CPU time multiplied with watts per core. It ranks networks by "
                "CPU time; it was not read from a counter."
            )
    return found


def network(trial: TrialRecord) -> str:
    """A network's id, linked to its description."""
    identity = escape(trial.architecture_id or f"of trial {trial.number}")
    return f'<a href="#network-{trial.number}"><code>{identity}</code></a>'


def saving(result: SearchResult) -> str:
    """How much less the recommended network costs than the best, in a few words; empty where that cannot be said."""
    top, pick = best(result), recommended(result)
    _, cost = main_objectives(result)
    if top is None or pick is None or len(kinds_of(cost, (top, pick))) > 1:
        return ""
    before, after = top.metrics[cost], pick.metrics[cost]
    if not before or after is None or after >= before:
        return ""
    return f"{share(1 - after / before)} less{' energy' if is_energy(cost) else ''}"


def tested(result: SearchResult) -> str:
    """What the headline's two networks reach on the test split, as HTML; empty where they were not tested."""
    top, pick = best(result), recommended(result)
    if top is None or pick is None or "accuracy" not in top.test or "accuracy" not in pick.test:
        return ""
    values = f"{show('accuracy', pick.test['accuracy'])} against {show('accuracy', top.test['accuracy'])}"
    return f"On the test split, which the search did not see: {values}."


def _chance(result: SearchResult) -> str | None:
    """A warning where the headline's loss of accuracy is within what the number of validation images can tell."""
    top, pick, images = best(result), recommended(result), result.data.get("validation")
    if top is None or pick is None or not images or main_objectives(result)[0] != "accuracy":
        return None
    accuracies = [trial.metrics["accuracy"] or 0.0 for trial in (top, pick)]
    # Standard error of a difference of two binomial proportions; that both are of the same images makes it smaller.
    error = math.sqrt(sum(p * (1 - p) for p in accuracies) / images)
    difference = accuracies[0] - accuracies[1]
    if difference >= 1.96 * error:
        return None
    return (
        f"A difference of {100 * difference:.1f} points on {images:,} validation images can be chance: "
        f"its 95% interval is about ±{196 * error:.1f} points."
    )


def _same_cost(result: SearchResult, top: TrialRecord) -> list[int]:
    """Numbers of the trials whose training energy, as measured again, is that of ``top`` within noise."""
    if main_objectives(result)[1] != "train_energy_j":
        return []
    pairs = [{a.number, b.number} for a, b in result.same_energy]
    return sorted(next(iter(pair - {top.number})) for pair in pairs if top.number in pair)


def _same_as_best(result: SearchResult) -> str | None:
    """Which networks of the front are not to be ranked by energy against the best one."""
    top = best(result)
    same = _same_cost(result, top) if top is not None else []
    if top is None or not same:
        return None
    links = [network(trial) for trial in result.front if trial.number in same]
    names = f"{', '.join(links[:-1])} and {links[-1]}" if len(links) > 1 else links[0]
    return (
        f"Measured again, {names} {'use' if len(links) > 1 else 'uses'} the same training energy within noise as "
        f"{network(top)}: do not rank them by it."
    )


def _superlative(good: str, result: SearchResult) -> str:
    if good == "accuracy":
        return "most accurate"
    direction = result.config.objectives[result.config.metrics.index(good)].direction
    return f"{'highest' if direction == 'max' else 'lowest'}-{escape(noun(good))}"


def _difference(cost: str, top: TrialRecord, pick: TrialRecord) -> str:
    return f"{'uses' if is_energy(cost) else 'has'} {_change(cost, top, pick)}"


def _sacrifice(good: str, top: TrialRecord, pick: TrialRecord) -> str:
    before, after = top.metrics[good] or 0.0, pick.metrics[good] or 0.0
    if before == after:
        return f"at the same {noun(good)}"
    if good == "accuracy":
        points = 100 * (before - after)
        return (
            f"for {points:.1f} points of validation accuracy"
            if points >= 0.1
            else (f"for {points:.2g} points of validation accuracy")
        )
    kind = f" ({escape(kind_of(good, pick))})" if is_energy(good) else ""
    return f"for {_change(good, top, pick)}{kind}"


def _change(metric: str, before: TrialRecord, after: TrialRecord) -> str:
    """``46% less training energy``: both values are there and above 0, or there would be no loss of them."""
    old, new = before.metrics[metric] or 0.0, after.metrics[metric] or 0.0
    amount = f"{share(abs(1 - new / old))} " if old else ""
    return f"{amount}{'less' if new < old else 'more'} {escape(noun(metric))}"
