"""GreenSampler: train what promises the largest gain in hypervolume per joule.

For each choice it proposes a pool of distinct candidates (half around the front, half fresh), predicts every
objective and the training energy with an interval, and ranks by expected hypervolume improvement divided by
the predicted energy. The best few, the shortlist, may be probed (a few measured training steps each) before
one is chosen; the others are screened out. The first trainings are spread geometrically over predicted energy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from greennas.errors import ConfigError
from greennas.pareto import hypervolume_improvement, non_domination_rank, reference_point
from greennas.predictors import EnergyPredictor
from greennas.predictors.intervals import NORMAL_HALF_WIDTH
from greennas.sampler.candidates import Candidate, CandidateFactory, random_value
from greennas.sampler.models import LossModel, expected_improvement, loss_of, value_of
from greennas.space import InputShape, SearchSpace

Array = NDArray[np.float64]
COST = "train_energy_j"
PARENTS = 10
INTERRUPTED = "interrupted"
"""User attribute of a failed trial that says nothing about its architecture: it may be trained again."""


@dataclass(frozen=True)
class Probe:
    """What an energy probe of a candidate found.

    Attributes:
        train_energy_j: joules of the whole training, extrapolated from the measured steps; None if unknown.
        failure: why the candidate cannot be trained; None if it can.
    """

    train_energy_j: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Screened:
    """A candidate that was on the shortlist and was not chosen.

    Attributes:
        candidate: the candidate.
        predicted: for each metric its mean and 90% interval as ``{"mean", "low", "high"}``.
        reason: why it was left out.
    """

    candidate: Candidate
    predicted: Mapping[str, Mapping[str, float]]
    reason: str


@dataclass(frozen=True)
class Proposal:
    """The candidate to train next, and what it was chosen from."""

    candidate: Candidate
    predicted: Mapping[str, Mapping[str, float]]
    reason: str
    screened: tuple[Screened, ...] = ()
    pool: int = 0


@dataclass
class Shortlist:
    """The most promising candidates with their predicted losses; ``design`` names a step of the initial design."""

    candidates: list[Candidate]
    mean: Array
    deviation: Array
    front: Array
    reference: Array
    pool: int
    rng: np.random.Generator
    design: str | None = None
    probed: dict[str, Probe] = field(default_factory=dict)


@dataclass
class _History:
    measured: list[Candidate]
    values: list[list[float]]
    energy: list[float | None]
    pending: list[Candidate]
    tried: set[str]
    probe_ratios: list[float]
    stopped: list[FrozenTrial]
    gains: dict[float, list[float]]
    started: int


class GreenSampler(BaseSampler):
    """Energy-aware multi-objective sampler for any Optuna study over a search space.

    Args:
        space: the search space; the objective has to call ``space.sample(trial)``.
        objectives: metric of each of the study's objectives. Maximised ones are predicted statistically,
            minimised ones from the cost profile (they have to be above 0); ``flops`` and ``parameters`` are
            known exactly.
        input_shape: channels, height, width of the images.
        num_classes: number of classes.
        batch_size: training batch size.
        seed: proposals are a function of the seed and of the study's trials.
        initial: trainings of the initial design.
        pool: candidates proposed before each choice.
        shortlist: how many of them compete in the end.
        probe: called with the shortlist, answers with one ``Probe`` each; without it nothing is probed.
        priors: metrics to predictors of earlier measurements, such as those of a calibrated device.

    A trial's training energy is read from the objective ``train_energy_j`` or from the user attribute
    ``metrics`` (a dictionary with that key); without either, training FLOPs stand in for the cost.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[str] = ("accuracy", COST),
        *,
        input_shape: InputShape = (3, 32, 32),
        num_classes: int = 10,
        batch_size: int = 128,
        seed: int = 0,
        initial: int = 6,
        pool: int = 400,
        shortlist: int = 8,
        probe: Callable[[Sequence[Candidate]], Sequence[Probe]] | None = None,
        priors: Mapping[str, EnergyPredictor] | None = None,
    ) -> None:
        self._objectives = tuple(objectives)
        self._seed = seed
        self._initial = initial
        self._pool = pool
        self._shortlist = shortlist
        self._probe = probe
        self._priors = dict(priors or {})
        self._factory = CandidateFactory(space, input_shape, num_classes, batch_size)
        self._replayed: dict[int, Candidate] = {}
        self._chosen: dict[int, Mapping[str, Any]] = {}

    # The strategy, in two steps so that a caller can probe in between.

    def shortlist(self, study: optuna.Study) -> Shortlist:
        """Propose, predict and rank; the result goes to ``choose``, with probes or without.

        Raises:
            ConfigError: the study's number of objectives is not ``objectives``', or nothing new is left to propose.
        """
        with threadpool_limits(1):  # these matrices are small: further threads would only burn energy
            return self._ranked(study)

    def _ranked(self, study: optuna.Study) -> Shortlist:
        maximize = self._maximize(study)
        history = self._history(study)
        rng = np.random.default_rng([self._seed, history.started])
        if history.started < self._initial or len(history.measured) < 2:
            return self._design_step(history, rng)
        losses = self._losses(history.values, maximize)
        parents = [history.measured[i] for i in np.argsort(non_domination_rank(losses), kind="stable")[:PARENTS]]
        pool = self._factory.pool(self._pool, rng, parents, history.tried)
        if not pool:
            raise ConfigError("Every architecture of the search space has been tried; there is nothing left to search.")
        mean, deviation = self._predict(history, maximize, [*pool, *history.pending])
        # What is being trained counts as if it had come out as predicted, so that no two workers chase one gain.
        front = np.vstack([losses, mean[len(pool) :, :-1]])
        mean, deviation = mean[: len(pool)], deviation[: len(pool)]
        reference = reference_point(np.vstack([front, mean[:, :-1]]))
        gain = self._gain_per_joule(mean, deviation, front, reference, rng)
        best = np.argsort(-gain, kind="stable")[: self._shortlist]
        return Shortlist([pool[i] for i in best], mean[best], deviation[best], front, reference, len(pool), rng)

    def choose(self, shortlist: Shortlist, study: optuna.Study, probes: Mapping[str, Probe] | None = None) -> Proposal:
        """Choose the candidate of ``shortlist`` to train, after its probes by architecture id."""
        maximize = self._maximize(study)
        probes = probes or {}
        self._use_probes(shortlist, study, probes)
        predicted = [self._describe(shortlist, i, maximize) for i in range(len(shortlist.candidates))]
        if shortlist.design is not None:
            return Proposal(shortlist.candidates[0], predicted[0], shortlist.design, pool=shortlist.pool)
        args = shortlist.front, shortlist.reference
        gain = self._gain_per_joule(shortlist.mean, shortlist.deviation, *args, shortlist.rng)
        failures = [probes.get(c.id, Probe()).failure for c in shortlist.candidates]
        gain[[failure is not None for failure in failures]] = -1.0
        winner = int(np.argmax(gain))
        optimistic = shortlist.mean[:, :-1] - NORMAL_HALF_WIDTH * shortlist.deviation[:, :-1]
        hopeless = hypervolume_improvement(optimistic, *args) == 0
        screened = []
        for i, candidate in enumerate(shortlist.candidates):
            if i == winner:
                continue
            if failures[i] is not None:
                reason = f"its probe failed: {failures[i]}"
            elif hopeless[i]:
                reason = "dominated: even its optimistic prediction lies behind the front"
            else:
                share = gain[i] / gain[winner] if gain[winner] > 0 else 1.0
                reason = f"promises {share:.0%} of the chosen network's gain in hypervolume per joule"
            screened.append(Screened(candidate, predicted[i], reason))
        reason = "largest expected gain in hypervolume per joule"
        return Proposal(shortlist.candidates[winner], predicted[winner], reason, tuple(screened), shortlist.pool)

    # Optuna's side.

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the trial's architecture, unless the trial was enqueued with its own."""
        if "fixed_params" in trial.system_attrs:
            return
        shortlist = self.shortlist(study)
        probes = {}
        if self._probe is not None and shortlist.design is None:
            answers = self._probe(shortlist.candidates)
            probes = {c.id: probe for c, probe in zip(shortlist.candidates, answers, strict=True)}
        self._chosen[trial.number] = self.choose(shortlist, study, probes).candidate.suggestions

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Empty: the space is define-by-run, values are handed out one by one."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Empty: see ``infer_relative_search_space``."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The chosen architecture's value; a random one for a parameter that is not of the space."""
        chosen = self._chosen.get(trial.number, {})
        if param_name in chosen:
            return chosen[param_name]
        position = sum(param_name.encode())
        return random_value(param_distribution, np.random.default_rng([self._seed, trial.number, position]))

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget what was handed out."""
        self._chosen.pop(trial.number, None)

    # Pieces of the strategy. Arrays of losses have the objectives' columns, then the logarithm of the energy.

    def _maximize(self, study: optuna.Study) -> list[bool]:
        directions = study.directions
        if len(directions) != len(self._objectives):
            raise ConfigError(
                f"The study has {len(directions)} objectives and GreenSampler was told {len(self._objectives)} "
                f"({', '.join(self._objectives)}); give objectives=[...] in the study's order."
            )
        return [direction == StudyDirection.MAXIMIZE for direction in directions]

    def _history(self, study: optuna.Study) -> _History:
        history = _History([], [], [], [], set(), [], [], {}, 0)
        for trial in study.get_trials(deepcopy=False):
            suggestions = trial.system_attrs.get("fixed_params", trial.params)
            if trial.user_attrs.get(INTERRUPTED) or not suggestions:
                continue
            candidate = self._candidate_of(trial.number, suggestions)
            history.started += 1
            history.tried.add(candidate.id)
            if trial.state in (TrialState.RUNNING, TrialState.WAITING):
                history.pending.append(candidate)
            elif trial.state == TrialState.COMPLETE:
                energy = self._energy_of(trial)
                history.measured.append(candidate)
                history.values.append(list(trial.values))
                history.energy.append(energy)
                for report in trial.user_attrs.get("rungs", []):
                    gain = trial.user_attrs["metrics"]["accuracy"] - report["accuracy"]
                    history.gains.setdefault(report["epoch"], []).append(gain)
                probe = trial.user_attrs.get("probe_energy_j")
                if probe and energy:
                    history.probe_ratios.append(math.log(energy / probe))
            elif trial.state == TrialState.PRUNED:
                history.stopped.append(trial)
        return history

    def _stopped_accuracies(self, history: _History) -> Iterator[tuple[Candidate, float]]:
        """Stopped trainings with the accuracy that they promised: the rung's plus the usual gain from there."""
        for trial in history.stopped:
            gains = history.gains.get(trial.user_attrs.get("epochs", 0.0), [])
            accuracy = trial.user_attrs.get("metrics", {}).get("accuracy")
            if accuracy is not None and len(gains) >= 3:
                yield self._candidate_of(trial.number, trial.params), min(accuracy + float(np.median(gains)), 1.0)

    def _candidate_of(self, number: int, suggestions: Mapping[str, Any]) -> Candidate:
        known = self._replayed.get(number)
        if known is None or dict(known.suggestions) != dict(suggestions):
            known = self._replayed[number] = self._factory.replay(suggestions)
        return known

    def _energy_of(self, trial: FrozenTrial) -> float | None:
        if COST in self._objectives:
            return float(trial.values[self._objectives.index(COST)])
        energy = trial.user_attrs.get("metrics", {}).get(COST)
        return None if energy is None else float(energy)

    def _losses(self, values: Sequence[Sequence[float]], maximize: Sequence[bool]) -> Array:
        rows = [[loss_of(v, m, n) for v, m, n in zip(row, maximize, self._objectives, strict=True)] for row in values]
        return np.array(rows, dtype=float).reshape(len(rows), len(self._objectives))

    def _design_step(self, history: _History, rng: np.random.Generator) -> Shortlist:
        """The step-th architecture of a geometric spread over predicted energy, the cheapest first."""
        step = history.started
        pool = self._factory.pool(self._pool, np.random.default_rng([self._seed, 0]), [], history.tried)
        if not pool:
            raise ConfigError("Every architecture of the search space has been tried; there is nothing left to search.")
        predictor = EnergyPredictor(self._priors.get(COST))
        score = np.log(predictor.predict([candidate.profile for candidate in pool]).mean_j)
        if step < self._initial:
            target = score.min() + (score.max() - score.min()) * step / max(self._initial - 1, 1)
            chosen = pool[int(np.argmin(np.abs(score - target)))]
            name = f"initial design, {step + 1} of {self._initial}"
        else:  # too few trainings have succeeded for a model
            chosen = pool[int(rng.integers(len(pool)))]
            name = "drawn at random: fewer than two trainings have succeeded"
        empty = np.zeros((0, len(self._objectives)))
        return Shortlist([chosen], np.zeros((1, 0)), np.zeros((1, 0)), empty, np.zeros(0), len(pool), rng, name)

    def _predict(self, history: _History, maximize: Sequence[bool], pool: Sequence[Candidate]) -> tuple[Array, Array]:
        columns = []
        for i, (metric, up) in enumerate(zip(self._objectives, maximize, strict=True)):
            measured, values = list(history.measured), [row[i] for row in history.values]
            if metric == "accuracy":
                for candidate, value in self._stopped_accuracies(history):
                    measured.append(candidate)
                    values.append(value)
            columns.append(LossModel(metric, up, self._priors.get(metric)).predict(measured, values, pool))
        if COST in self._objectives:
            columns.append(columns[self._objectives.index(COST)])
        else:
            known = [(c, e) for c, e in zip(history.measured, history.energy, strict=True) if e]
            joules = [e for _, e in known] or [c.profile.training_flops for c in history.measured]
            measured = [c for c, _ in known] or history.measured
            columns.append(LossModel(COST, False, self._priors.get(COST)).predict(measured, joules, pool))
        mean, deviation = zip(*columns, strict=True)
        return np.column_stack(mean), np.column_stack(deviation)

    def _gain_per_joule(
        self, mean: Array, deviation: Array, front: Array, reference: Array, rng: np.random.Generator
    ) -> Array:
        gain = expected_improvement(mean[:, :-1], deviation[:, :-1], front, reference, rng)
        # Where no draw improves the front, the least hopeless is the best: ties are broken by optimism.
        hope = hypervolume_improvement(mean[:, :-1] - NORMAL_HALF_WIDTH * deviation[:, :-1], front, reference)
        return np.asarray((gain + 1e-6 * hope + 1e-12) / np.exp(mean[:, -1] - mean[:, -1].min()))

    def _use_probes(self, shortlist: Shortlist, study: optuna.Study, probes: Mapping[str, Probe]) -> None:
        """Put the probes' energy, corrected by how earlier probes came out, in place of the predicted one."""
        if shortlist.design is not None:
            return
        ratios = self._history(study).probe_ratios
        bias, error = _probe_error(ratios)
        columns = [-1, *([self._objectives.index(COST)] if COST in self._objectives else [])]
        for i, candidate in enumerate(shortlist.candidates):
            energy = probes.get(candidate.id, Probe()).train_energy_j
            if energy is None:
                continue
            # Precision-weighted mean of the prediction and the probe, both normal in the logarithm.
            variance = shortlist.deviation[i, -1] ** 2
            weight = variance / (variance + error**2)
            mean = (1 - weight) * shortlist.mean[i, -1] + weight * (math.log(energy) + bias)
            shortlist.mean[i, columns] = mean
            shortlist.deviation[i, columns] = math.sqrt((1 - weight) * variance)

    def _describe(self, shortlist: Shortlist, i: int, maximize: Sequence[bool]) -> dict[str, dict[str, float]]:
        if shortlist.mean.shape[1] == 0:
            return {}
        described = {}
        for name, column, up in zip(
            [*self._objectives, COST], range(len(self._objectives) + 1), [*maximize, False], strict=True
        ):
            mean, half = shortlist.mean[i, column], NORMAL_HALF_WIDTH * shortlist.deviation[i, column]
            ends = sorted([value_of(mean - half, up), value_of(mean + half, up)])
            described[name] = {"mean": value_of(mean, up), "low": ends[0], "high": ends[1]}
        return described


def _probe_error(ratios: Sequence[float]) -> tuple[float, float]:
    """Bias and standard deviation of log(training / probe), shrunk to (0, 0.15) as if seen three times."""
    prior, sigma = 3, 0.15
    n = len(ratios)
    bias = sum(ratios) / (n + prior)
    spread = prior * sigma**2 + sum((ratio - bias) ** 2 for ratio in ratios)
    return bias, math.sqrt(spread / (n + prior))
