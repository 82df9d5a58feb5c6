"""GreenSampler: train what promises the largest gain in hypervolume per joule.

For each choice it proposes a pool of distinct candidates (most around the front, the others fresh), predicts every
objective and the training energy with an interval, and ranks by expected hypervolume improvement divided by the
predicted energy. Hypervolume is that of losses (see ``losses``: logarithms of error and costs). The best few, the
shortlist, may be probed (a few measured training steps each) before one is chosen; the others are screened out. The
first trainings are spread geometrically over predicted energy, from the cheapest to the median.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm
from threadpoolctl import ThreadpoolController

from greennas.errors import ConfigError, ExhaustedError
from greennas.pareto import hypervolume_improvement, is_non_dominated, non_domination_rank, reference_point
from greennas.predictors import EnergyPredictor
from greennas.predictors.gaussian_process import spread_over
from greennas.predictors.intervals import NORMAL_HALF_WIDTH
from greennas.sampler.candidates import Candidate, CandidateFactory, random_value
from greennas.sampler.history import CHOICE, COST, INTERRUPTED, PROBE, PROPOSAL, History, HistoryReader
from greennas.sampler.limits import limits
from greennas.sampler.losses import Scale, is_cost
from greennas.sampler.models import FittedModels, LossModel, expected_improvement
from greennas.sampler.proposal import Probe, Proposal, Screened, Shortlist
from greennas.space import InputShape, SearchSpace

Array = NDArray[np.float64]
__all__ = ["COST", "INTERRUPTED", "GreenSampler"]
PARENTS = 10
LEARNING = 5
"""Choices in which the first of the shortlist is probed whatever its prediction says."""
_GROWTH = 50  # trainings for which the pool grows by its size; few tell only few candidates apart
_LARGEST = 3  # times its size


@functools.cache
def _threads() -> ThreadpoolController:
    """Finding the libraries that have threads takes milliseconds: once is enough."""
    return ThreadpoolController()


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
        pool: candidates proposed before each of the first choices; twice as many from 100 trainings on and three
            times as many from 150 on, since models that know more tell more candidates apart.
        shortlist: how many of them compete in the end.
        probe: called with those of the shortlist whose energy is less certain than a probe of it, answers with one
            ``Probe`` each; without it nothing is probed.
        max_energy_j: only networks whose training takes so many joules at most count.
        min_accuracy: only networks of this validation accuracy or more count.
        max_latency_ms: only networks of this latency or less count.
        max_parameters: only networks of so many parameters at most are proposed.
        priors: metrics to predictors of earlier measurements, such as those of a calibrated device.
        device_type: ``cuda`` or ``cpu``: where the networks are trained, for what is expected of costs without priors.

    A trial's training energy is read from the objective ``train_energy_j`` or from the user attribute
    ``metrics`` (a dictionary with that key); without either, training FLOPs stand in for the cost. Metrics that
    are limited and no objective are read there too.
    """

    _alike = 0.1
    """Log of predicted energies that the initial design takes for the same."""
    _loss_model: type[LossModel] = LossModel
    """Predicts an objective's loss."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[str] = ("accuracy", COST),
        *,
        input_shape: InputShape = (3, 32, 32),
        num_classes: int = 10,
        batch_size: int = 128,
        seed: int = 0,
        initial: int = 4,
        pool: int = 400,
        shortlist: int = 8,
        probe: Callable[[Sequence[Candidate]], Sequence[Probe]] | None = None,
        max_energy_j: float | None = None,
        min_accuracy: float | None = None,
        max_latency_ms: float | None = None,
        max_parameters: float | None = None,
        priors: Mapping[str, EnergyPredictor] | None = None,
        device_type: str = "cuda",
    ) -> None:
        self._limits = limits(max_energy_j, min_accuracy, max_latency_ms, max_parameters)
        self._most_parameters = math.inf if max_parameters is None else max_parameters
        self._objectives = tuple(objectives)
        self._seed = seed
        self._initial = initial
        self._pool = pool
        self._shortlist = shortlist
        self._probe = probe
        self._factory = CandidateFactory(space, input_shape, num_classes, batch_size)
        self._reader = HistoryReader(self._factory, objectives)
        self._models = FittedModels(priors, device_type)
        self._chosen: dict[int, Mapping[str, Any]] = {}
        self._one_at_a_time = threading.Lock()

    # The strategy, in two steps so that a caller can probe in between.

    def shortlist(self, study: optuna.Study) -> Shortlist:
        """Propose, predict and rank; the result goes to ``choose``, with probes or without.

        Raises:
            ConfigError: the study's number of objectives is not ``objectives``'.
            ExhaustedError: nothing new is left to propose.
        """
        with _threads().limit(limits=1):  # these matrices are small: further threads would only burn energy
            return self._ranked(study)

    def _ranked(self, study: optuna.Study) -> Shortlist:
        maximize = self._maximize(study)
        history = self._reader.read(study)
        rng = np.random.default_rng([self._seed, history.started])
        if history.started < self._initial or len(history.measured) < 2:
            return self._design_step(history, rng)
        scales = self._scales(history, maximize)
        losses = self._losses(history, scales)
        feasible = np.array(history.feasible(self._limits))
        pool = self._proposed(history, self._parents(history, losses, feasible))
        mean, deviation = self._predict(history, scales, [*pool, *history.pending])
        # What is being trained counts as if it had come out as predicted, so that no two workers chase one gain.
        front = np.vstack([losses[feasible], mean[len(pool) :, :-1]])
        if not len(front):  # nothing keeps the limits yet: all of the pool that may is a gain
            front = losses.max(axis=0, keepdims=True)
        front = front[is_non_dominated(front)]
        mean, deviation = mean[: len(pool)], deviation[: len(pool)]
        chance = self._chance(history, pool)
        reference = self._reference(front, mean[:, :-1], scales)
        gain = self._gain_per_joule(mean, deviation, front, reference, scales, chance)
        best = np.argsort(-gain, kind="stable")[: self._shortlist]
        # A few probes are needed to learn how good probes are.
        error, known = history.probe_error[1], len(history.probe_ratios)
        uncertain = [i for i, k in enumerate(best) if deviation[k, -1] > error or (known < LEARNING and i == 0)]
        return Shortlist(
            [pool[i] for i in best],
            mean[best],
            deviation[best],
            front,
            reference,
            len(pool),
            scales,
            uncertain=tuple(uncertain),
            chance=chance[best],
        )

    def choose(self, shortlist: Shortlist, study: optuna.Study, probes: Mapping[str, Probe] | None = None) -> Proposal:
        """Choose the candidate of ``shortlist`` to train, after its probes by architecture id."""
        probes = probes or {}
        self._use_probes(shortlist, study, probes)
        predicted = [shortlist.predicted(i) for i in range(len(shortlist.candidates))]
        if shortlist.design is not None:
            return Proposal(shortlist.candidates[0], predicted[0], shortlist.design, pool=shortlist.pool)
        args = shortlist.front, shortlist.reference
        gain = self._gain_per_joule(shortlist.mean, shortlist.deviation, *args, shortlist.scales, shortlist.chance)
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
        if failures[winner] is not None:
            reason = "every probe of the shortlist failed: the first of it, to learn from"
        return Proposal(shortlist.candidates[winner], predicted[winner], reason, tuple(screened), shortlist.pool)

    # Optuna's side.

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the trial's architecture, unless the trial was enqueued with its own."""
        if "fixed_params" in trial.system_attrs:
            return
        with self._one_at_a_time:  # threads of one study must see each other's choices
            shortlist = self.shortlist(study)
            probes = {}
            asked = [shortlist.candidates[i] for i in shortlist.uncertain]
            if self._probe is not None and asked:
                probes = {c.id: probe for c, probe in zip(asked, self._probe(asked), strict=True)}
            proposal = self.choose(shortlist, study, probes)
            candidate = proposal.candidate
            self._chosen[trial.number] = candidate.suggestions
            told = {"reason": proposal.reason, "predicted": proposal.predicted}
            study._storage.set_trial_user_attr(trial._trial_id, PROPOSAL, told)
            study._storage.set_trial_system_attr(trial._trial_id, CHOICE, dict(candidate.suggestions))
            probe = probes.get(candidate.id)
            if probe is not None and probe.train_energy_j is not None:  # kept to learn how good probes are
                study._storage.set_trial_user_attr(trial._trial_id, PROBE, probe.train_energy_j)

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

    def _scales(self, history: History, maximize: Sequence[bool]) -> tuple[Scale, ...]:
        """Of the objectives and of the training energy."""
        values = np.array(history.values, dtype=float)
        objectives = [Scale.of(*known) for known in zip(self._objectives, maximize, values.T, strict=True)]
        return *objectives, Scale(COST, False)

    def _losses(self, history: History, scales: Sequence[Scale]) -> Array:
        values = np.array(history.values, dtype=float)
        return np.column_stack([scale.losses(column) for scale, column in zip(scales, values.T, strict=False)])

    def _design_step(self, history: History, rng: np.random.Generator) -> Shortlist:
        """The step-th architecture of a geometric spread over predicted energy, from the cheapest to the median.

        Dear trainings would use up most of what the start costs, and tell no more. Of networks of about the same
        energy it takes the one that computes most for each byte that it moves, with which searches on most tables of
        ``experiments/search_efficiency`` need less. What a FLOP and a byte cost here, the trainings before tell.
        """
        step = history.started
        pool = self._proposed(history, [], 0)
        predictor = self._models.cost(COST, *history.metered())
        score = np.log(predictor.predict([candidate.profile for candidate in pool]).mean_j)
        if step < self._initial:
            spacing = (np.median(score) - score.min()) / max(self._initial - 1, 1)
            distance = np.abs(score - score.min() - step * spacing)
            alike = min(self._alike, spacing / 2) if step else 0.0  # the first is the cheapest there is
            near = np.flatnonzero(distance <= max(alike, distance.min()))
            chosen = max((pool[i] for i in near), key=_intensity)
            name = f"initial design, {step + 1} of {self._initial}"
        else:  # too few trainings have succeeded for a model
            chosen = pool[int(rng.integers(len(pool)))]
            name = "drawn at random: fewer than two trainings have succeeded"
        empty = np.zeros((0, len(self._objectives)))
        return Shortlist([chosen], np.zeros((1, 0)), np.zeros((1, 0)), empty, np.zeros(0), len(pool), design=name)

    def _parents(self, history: History, losses: Array, feasible: NDArray[np.bool_]) -> list[Candidate]:
        """The best candidates, those that keep the limits first; spread over a front that has too many of them."""
        rank = non_domination_rank(losses) + np.where(feasible, 0, len(losses))
        order = np.lexsort((losses[:, 0], rank))
        first = order[: max(PARENTS, int((rank == 0).sum()))]
        return [history.measured[first[i]] for i in spread_over(len(first), PARENTS)]

    def _proposed(self, history: History, parents: list[Candidate], step: int | None = None) -> list[Candidate]:
        step = history.started if step is None else step
        size = self._pool * min(max(len(history.measured) // _GROWTH, 1), _LARGEST)
        pool = self._factory.pool(size, step, self._seed, parents, history.tried)
        if not pool:
            raise ExhaustedError("Every architecture of the search space has been tried; nothing is left to search.")
        return [c for c in pool if c.profile.parameters <= self._most_parameters] or pool

    def _chance(self, history: History, pool: Sequence[Candidate]) -> Array:
        """Probability that a candidate keeps the limits on metrics that are neither objectives nor the energy."""
        chance = np.ones(len(pool))
        for limit in self._limits:
            known = [(c, m.get(limit.metric)) for c, m in zip(history.measured, history.metrics, strict=True)]
            measured = [(c, value) for c, value in known if value is not None]
            if limit.metric not in (*self._objectives, COST) and measured:
                candidates, values = zip(*measured, strict=True)
                scale = Scale.of(limit.metric, limit.maximize, values)
                mean, deviation = self._loss_model(scale, self._models).predict(candidates, values, pool)
                chance *= norm.cdf((scale.losses(limit.value) - mean) / np.maximum(deviation, 1e-9))
        return chance

    def _predict(self, history: History, scales: Sequence[Scale], pool: Sequence[Candidate]) -> tuple[Array, Array]:
        columns: list[tuple[Array, Array]] = []

        def predict(scale: Scale, measured: Sequence[Candidate], values: Sequence[float]) -> None:
            mean, deviation = self._loss_model(scale, self._models).predict(measured, values, pool)
            columns.append((mean, deviation * history.factor(scale)))

        for i, (metric, scale) in enumerate(zip(self._objectives, scales, strict=False)):
            measured, values = list(history.measured), [row[i] for row in history.values]
            if metric == "accuracy":
                for candidate, value in history.promised():
                    measured.append(candidate)
                    values.append(value)
            predict(scale, measured, values)
        if COST in self._objectives:
            columns.append(columns[self._objectives.index(COST)])
        else:
            measured, joules = history.metered()
            if not measured:
                measured, joules = history.measured, [c.profile.training_flops for c in history.measured]
            predict(scales[-1], measured, joules)
        mean, deviation = zip(*columns, strict=True)
        return np.column_stack(mean), np.column_stack(deviation)

    def _reference(self, front: Array, pool: Array, scales: Sequence[Scale]) -> Array:
        """Worst values that still count: of a physical cost the pool's, of other objectives the front's.

        Costs are known well for all candidates, so that their range does not depend on what was trained so far: a
        front that begins among the cheap networks must not make all dear ones worthless.
        """
        reference = reference_point(np.vstack([front, pool]))
        costs = [is_cost(scale.metric, scale.maximize) for scale in scales[: len(reference)]]
        return np.where(costs, np.maximum(reference, pool.max(axis=0)), reference)

    def _gain_per_joule(
        self,
        mean: Array,
        deviation: Array,
        front: Array,
        reference: Array,
        scales: Sequence[Scale],
        chance: Array | None = None,
    ) -> Array:
        gain = expected_improvement(mean[:, :-1], deviation[:, :-1], front, reference)
        # Where next to nothing is to be gained, the least hopeless is the best: ties are broken by optimism.
        hope = hypervolume_improvement(mean[:, :-1] - NORMAL_HALF_WIDTH * deviation[:, :-1], front, reference)
        chance = np.ones(len(mean)) if chance is None else chance
        for limit in self._limits:
            if limit.metric in (*self._objectives, COST):
                i = self._objectives.index(limit.metric) if limit.metric in self._objectives else -1
                allowed = scales[i].losses(limit.value)
                chance = chance * norm.cdf((allowed - mean[:, i]) / np.maximum(deviation[:, i], 1e-9))
        return np.asarray(chance * (gain + 1e-6 * hope + 1e-12) / np.exp(mean[:, -1] - mean[:, -1].min()))

    def _use_probes(self, shortlist: Shortlist, study: optuna.Study, probes: Mapping[str, Probe]) -> None:
        """Put the probes' energy, corrected by how earlier probes came out, in place of the predicted one."""
        if shortlist.design is not None:
            return
        bias, error = self._reader.read(study).probe_error
        columns = [-1, *([self._objectives.index(COST)] if COST in self._objectives else [])]
        for i, candidate in enumerate(shortlist.candidates):
            energy = probes.get(candidate.id, Probe()).train_energy_j
            if energy is None or energy <= 0:
                continue
            # Precision-weighted mean of the prediction and the probe, both normal in the logarithm.
            variance = shortlist.deviation[i, -1] ** 2
            weight = variance / (variance + error**2)
            mean = (1 - weight) * shortlist.mean[i, -1] + weight * (math.log(energy) + bias)
            shortlist.mean[i, columns] = mean
            shortlist.deviation[i, columns] = math.sqrt(weight) * error


def _intensity(candidate: Candidate) -> float:
    """FLOPs for each byte of activations: the arithmetic intensity of the roofline model (Williams et al. 2009)."""
    return candidate.profile.total_flops / max(candidate.profile.activation_bytes, 1.0)
