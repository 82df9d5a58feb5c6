"""One network of a run by what is wanted of it: the knee, the most accurate, the least energy, an id, a condition."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

from greennas.errors import ConfigError, RunError
from greennas.results import SearchResult, TrialRecord
from greennas.sampler.history import COST

CHOICES = 'knee, most-accurate, least-energy, an architecture\'s id, or a condition such as "accuracy>=0.95"'
_OF_FRONT = ("knee", "most-accurate", "least-energy")
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\w]+)\s*")
_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def pick(result: SearchResult, choice: str) -> TrialRecord:
    """The trial that ``choice`` names.

    Args:
        result: of the run.
        choice: ``knee``, ``most-accurate`` or ``least-energy`` of the front; the id of a network that was trained to
            the end, or its first digits (four or more); or a condition on a metric of the front. ``accuracy>=0.95`` is
            then the network with the least training energy among those that keep it (fewest FLOPs where the energy is
            unknown), a condition on another metric the most accurate one. Accuracy is that of the validation split.

    Raises:
        RunError: nothing has been trained yet, or no network of the front keeps the condition.
        ConfigError: the choice is none of these.
    """
    if not result.completed:
        raise RunError(f"No training of {result.path} has run to its end yet; go on with --resume {result.path}.")
    condition = _CONDITION.fullmatch(choice)
    if not result.front and (condition is not None or choice in _OF_FRONT):
        raise RunError(f"No network of {result.path} keeps the constraints, so its front is empty; search longer.")
    if condition is not None:
        return _keeping(result, *condition.groups())
    if choice == "knee":
        assert result.knee is not None
        return result.knee
    if choice == "most-accurate":
        return _most_accurate(result.front)
    if choice == "least-energy":
        return _least_energy(result.front)
    found = {trial.architecture_id: trial for trial in result.completed if trial.architecture_id.startswith(choice)}
    if re.fullmatch(r"[0-9a-f]{4,12}", choice) and len(found) == 1:
        return next(iter(found.values()))
    several = f" (it fits {len(found)})" if len(found) > 1 else ""
    raise ConfigError(f"{choice!r} is no network of {result.path}{several}; give {CHOICES}.")


def energy_of(trial: TrialRecord) -> float | None:
    """Training energy in joules, as measured again where it was; None where unknown."""
    confirmed = trial.confirmed.train_energy_j if trial.confirmed else None
    return trial.metrics.get(COST) if confirmed is None else confirmed


def _keeping(result: SearchResult, metric: str, sign: str, value: str) -> TrialRecord:
    try:
        limit = float(value)
    except ValueError:
        raise ConfigError(f"{value!r} is not a number; write a condition as in accuracy>=0.95.") from None
    known = sorted({name for trial in result.front for name, found in trial.metrics.items() if found is not None})
    if metric not in known:
        raise ConfigError(f"The networks of {result.path} have no metric {metric!r}; choose from {', '.join(known)}.")
    values = {trial.number: trial.metrics.get(metric) for trial in result.front}
    kept = [t for t in result.front if (found := values[t.number]) is not None and _COMPARE[sign](found, limit)]
    if not kept:
        numbers = [found for found in values.values() if found is not None]
        raise RunError(
            f"No network of the front keeps {metric}{sign}{value}: its {metric} goes from {min(numbers):.6g} to "
            f"{max(numbers):.6g}; ask for less or search longer."
        )
    return _least_energy(kept) if metric == "accuracy" else _most_accurate(kept)


def _most_accurate(trials: Sequence[TrialRecord]) -> TrialRecord:
    return max(trials, key=lambda trial: trial.metrics.get("accuracy") or 0.0)


def _least_energy(trials: Sequence[TrialRecord]) -> TrialRecord:
    energies = {trial.number: energy_of(trial) for trial in trials}
    if None in energies.values():
        return min(trials, key=lambda trial: trial.metrics.get("flops") or float("inf"))
    return min(trials, key=lambda trial: energies[trial.number] or 0.0)
