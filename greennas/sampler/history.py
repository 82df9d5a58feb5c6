"""What a study knows so far, as the strategy needs it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from greennas.predictors.intervals import adapted
from greennas.sampler.candidates import Candidate, CandidateFactory
from greennas.sampler.limits import Limit, within
from greennas.sampler.losses import Scale, is_cost
from greennas.training.rung import Rung

COST = "train_energy_j"
INTERRUPTED = "interrupted"
"""User attribute of a failed trial that says nothing about its architecture: it may be trained again."""
PROBE = "probe_energy_j"
"""User attribute with what a probe had said before the training."""
PROPOSAL = "proposal"
"""User attribute with why a network was chosen, and under ``predicted`` what was expected of it by metric."""

CHOICE = "greennas:choice"
"""System attribute with what was chosen for a trial: others see it before the trial has asked for its values."""

_CAUTION = 0.3  # log of the first factor on deviations, where a metric is no cost that physics tells


@dataclass
class History:
    """Trials of a study by what became of them.

    Attributes:
        measured: candidates that were trained to the end.
        values: their objectives.
        metrics: everything that is known of them.
        energy: their training energy in joules, where known.
        pending: candidates that are waiting or being trained.
        tried: ids of all that were ever begun.
        probe_ratios: log of training over probed energy.
        widening: metrics to the log of the factor on deviations that outcomes beside their 90% intervals ask for.
        stopped: stopped trainings, with the rung and the accuracy that they had reached.
        gains: rung to what finished trainings gained in accuracy from there.
        started: number of trials begun.
    """

    measured: list[Candidate] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    metrics: list[Mapping[str, float | None]] = field(default_factory=list)
    energy: list[float | None] = field(default_factory=list)
    pending: list[Candidate] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    probe_ratios: list[float] = field(default_factory=list)
    widening: dict[str, float] = field(default_factory=dict)
    stopped: list[tuple[Candidate, Rung, float]] = field(default_factory=list)
    gains: dict[Rung, list[float]] = field(default_factory=dict)
    started: int = 0

    def copy(self) -> History:
        """One that can be added to without changing this one."""
        copied = History(**{name: copy(value) for name, value in vars(self).items()})
        copied.gains = {rung: list(gains) for rung, gains in self.gains.items()}
        return copied

    def promised(self) -> Iterator[tuple[Candidate, float]]:
        """Stopped trainings with the accuracy that they promised: the rung's plus the usual gain from there."""
        for candidate, rung, accuracy in self.stopped:
            gains = self.gains.get(rung, [])
            if len(gains) >= 3:
                yield candidate, min(accuracy + float(np.median(gains)), 1.0)

    def metered(self) -> tuple[list[Candidate], list[float]]:
        """The measured candidates whose training energy is known, and their joules."""
        known = [(c, energy) for c, energy in zip(self.measured, self.energy, strict=True) if energy]
        return [candidate for candidate, _ in known], [energy for _, energy in known]

    def feasible(self, limits: tuple[Limit, ...]) -> list[bool]:
        """Which of the measured candidates keep the limits."""
        return [within(limits, metrics) for metrics in self.metrics]

    def factor(self, scale: Scale) -> float:
        """Factor on the deviations of a metric's predictions, as earlier intervals came out."""
        start = 0.0 if is_cost(scale.metric, scale.maximize) else _CAUTION
        return math.exp(start + self.widening.get(scale.metric, 0.0))

    @property
    def probe_error(self) -> tuple[float, float]:
        """Bias and standard deviation of log(training / probe), shrunk to (0, 0.15) as if seen three times.

        The deviation has the factor of the energy's predictions, as it takes their place.
        """
        prior, sigma = 3, 0.15
        n = len(self.probe_ratios)
        bias = sum(self.probe_ratios) / (n + prior)
        spread = prior * sigma**2 + sum((ratio - bias) ** 2 for ratio in self.probe_ratios)
        return bias, self.factor(Scale(COST, False)) * math.sqrt(spread / (n + prior))


class HistoryReader:
    """Reads studies over one space; remembers finished trials, which never change.

    Args:
        factory: makes candidates of suggestions.
        objectives: metric of each objective.
    """

    def __init__(self, factory: CandidateFactory, objectives: Sequence[str]) -> None:
        self._factory = factory
        self._objectives = list(objectives)
        self._replayed: dict[int, tuple[Mapping[str, Any], Candidate | None]] = {}
        self._source: tuple[BaseStorage, int] | None = None
        self._settled = History()
        self._count = 0

    def read(self, study: optuna.Study) -> History:
        """The history of ``study``: what became of the first trials, all finished, is known from the last time."""
        trials = study.get_trials(deepcopy=False)
        source = study._storage, study._study_id
        if self._source != source or len(trials) < self._count:
            self._source, self._settled, self._count, self._replayed = source, History(), 0, {}
        for trial in itertools.takewhile(lambda t: t.state.is_finished(), trials[self._count :]):
            self._add(self._settled, trial)
            self._replayed.pop(trial.number, None)
            self._count += 1
        history = self._settled.copy()
        for trial in trials[self._count :]:
            self._add(history, trial)
        return history

    def _add(self, history: History, trial: FrozenTrial) -> None:
        # What was suggested in the end counts: a trial may have been enqueued with some of its values alone.
        queued = trial.system_attrs.get("fixed_params", {}) | trial.system_attrs.get(CHOICE, {})
        suggestions = queued | trial.params
        if trial.user_attrs.get(INTERRUPTED) or not suggestions:
            return
        history.started += 1
        candidate = self._candidate_of(trial.number, suggestions)
        if candidate is None:
            return
        history.tried.add(candidate.id)
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            history.pending.append(candidate)
        elif trial.state == TrialState.COMPLETE and all(map(math.isfinite, trial.values)):
            self._complete(history, candidate, trial)
        elif trial.state == TrialState.PRUNED:
            for report in trial.user_attrs.get("rungs", [])[-1:]:
                history.stopped.append((candidate, rung_of(report), report["accuracy"]))

    def _complete(self, history: History, candidate: Candidate, trial: FrozenTrial) -> None:
        metrics: dict[str, Any] = {
            **trial.user_attrs.get("metrics", {}),
            **dict(zip(self._objectives, trial.values, strict=True)),
            "parameters": float(candidate.profile.parameters),
        }
        energy = metrics.get(COST)
        history.measured.append(candidate)
        history.values.append(list(trial.values))
        history.metrics.append(metrics)
        history.energy.append(energy)
        for report in trial.user_attrs.get("rungs", []):
            history.gains.setdefault(rung_of(report), []).append(metrics["accuracy"] - report["accuracy"])
        for metric, interval in trial.user_attrs.get(PROPOSAL, {}).get("predicted", {}).items():
            value = metrics.get(metric)
            if value is not None:
                missed = not interval["low"] <= value <= interval["high"]
                history.widening[metric] = adapted(history.widening.get(metric, 0.0), missed)
        probe = trial.user_attrs.get(PROBE)
        if probe and energy:
            history.probe_ratios.append(math.log(energy / probe))

    def _candidate_of(self, number: int, suggestions: Mapping[str, Any]) -> Candidate | None:
        """What a trial stands for; None for a network, enqueued from elsewhere, that cannot be made."""
        known = self._replayed.get(number)
        if known is None or known[0] != suggestions:
            try:
                candidate = self._factory.replay(suggestions)
            except Exception:  # its trial has failed with the reason, or will
                candidate = None
            known = self._replayed[number] = suggestions, candidate
        return known[1]


def rung_of(report: Mapping[str, Any]) -> Rung:
    """The budget of a report as the study keeps it."""
    return Rung(report["epoch"], report.get("resolution"), report.get("data_share", 1.0))
