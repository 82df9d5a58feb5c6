"""One model an objective: from measured candidates to a mean and a deviation of each candidate's loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from greennas.pareto import free_boxes, non_domination_rank
from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.predictors.accuracy import MOST_CONDITIONED
from greennas.predictors.gaussian_process import spread_over
from greennas.sampler.candidates import Candidate, coordinate_names, feature_table
from greennas.sampler.losses import Scale, is_cost

Array = NDArray[np.float64]
_OFTEN = 30  # up to so many trainings models are fitted anew after each
EXACT = {"flops": "total_flops", "parameters": "parameters"}
"""Metrics that the cost profile knows exactly, and its attribute."""
_SAME = 0.01
"""Share by which measured values of such a metric may be off the profile's."""


class FittedModels:
    """Models of metrics, fitted anew when there is a tenth more to learn from: each time would cost more than it tells.

    What they are fitted to is a function of the trainings alone, so that a search that goes on elsewhere does the same.

    Args:
        priors: metrics to predictors of earlier measurements, such as those of a calibrated device.
        device_type: ``cuda`` or ``cpu``, whose built-in prices are where costs without a prior begin.
    """

    def __init__(self, priors: Mapping[str, EnergyPredictor] | None = None, device_type: str = "cuda") -> None:
        self._priors = dict(priors or {})
        self._device_type = device_type
        self._costs: dict[str, tuple[_Learnt, EnergyPredictor]] = {}
        self._others: dict[str, tuple[_Learnt, tuple[list[str], AccuracyPredictor]]] = {}

    def cost(self, metric: str, measured: Sequence[Candidate], values: Sequence[float]) -> EnergyPredictor:
        """The predictor of a physical cost (joules, milliseconds) from the first of the measured candidates."""
        learnt = _first(measured, values)
        if metric not in self._costs or self._costs[metric][0] != learnt:
            kept = spread_over(len(learnt[0]), MOST_CONDITIONED)
            profiles = [measured[i].profile for i in kept]
            predictor = EnergyPredictor(self._priors.get(metric), self._device_type)
            predictor.fit(profiles, [values[i] for i in kept])
            self._costs[metric] = learnt, predictor
        return self._costs[metric][1]

    def other(
        self, metric: str, measured: Sequence[Candidate], losses: Sequence[float]
    ) -> tuple[list[str], AccuracyPredictor]:
        """The predictor of another metric's loss, that knows all measured candidates, and its coordinates' names."""
        learnt = _first(measured, losses)
        if metric not in self._others or self._others[metric][0] != learnt:
            names = coordinate_names(learnt[0])
            self._others[metric] = learnt, (names, AccuracyPredictor().fit(feature_table(learnt[0], names), learnt[1]))
        names, predictor = self._others[metric][1]
        if len(learnt[0]) == len(measured) <= MOST_CONDITIONED:
            return names, predictor
        kept = _telling(measured, losses)
        table = feature_table([measured[i] for i in kept], names)
        return names, predictor.updated(table, [losses[i] for i in kept])


_Learnt = tuple[list[Candidate], list[float]]
"""Candidates and values that a model was fitted to."""


def _first(measured: Sequence[Candidate], values: Sequence[float]) -> _Learnt:
    """The first of the measured candidates: all up to ``_OFTEN``, then a number that grows by a tenth at a time."""
    count, more = min(len(measured), _OFTEN), _OFTEN
    while more <= len(measured):
        count, more = more, more + more // 10
    return list(measured[:count]), list(values[:count])


def _telling(measured: Sequence[Candidate], losses: Sequence[float]) -> NDArray[np.intp]:
    """Indices of those that say most about where the search is: all up to ``MOST_CONDITIONED``.

    Of more, half are the best by loss and FLOPs, a quarter the newest, a quarter spread over the others.
    """
    n = len(measured)
    if n <= MOST_CONDITIONED:
        return np.arange(n)
    rank = non_domination_rank(np.column_stack([losses, [c.profile.total_flops for c in measured]]))
    newest = np.arange(n - MOST_CONDITIONED // 4, n)
    order = np.argsort(rank, kind="stable")
    best = order[order < newest[0]]
    others = np.sort(best[MOST_CONDITIONED // 2 :])
    spread = others[spread_over(len(others), MOST_CONDITIONED // 4)]
    return np.sort(np.concatenate([best[: MOST_CONDITIONED // 2], spread, newest]))


class LossModel:
    """Predicts one objective's loss.

    Args:
        scale: the objective's metric and how it is seen.
        models: fitted models, kept from one choice to the next.
    """

    def __init__(self, scale: Scale, models: FittedModels) -> None:
        self._scale = scale
        self._models = models

    def predict(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the losses of ``pool``, each of shape ``(len(pool),)``.

        Args:
            measured: candidates with a value; at least one.
            values: the metric's value of each of them.
            pool: candidates to predict.
        """
        metric = self._scale.metric
        # A table's column of this name may have another unit or count something else.
        if metric in EXACT and np.allclose(_exact(metric, measured), values, rtol=_SAME):
            return self._scale.losses(np.maximum(_exact(metric, pool), 1.0)), np.zeros(len(pool))
        if is_cost(metric, self._scale.maximize):
            return self._physical(measured, values, pool)
        return self._statistical(measured, values, pool)

    def _physical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        predictor = self._models.cost(self._scale.metric, measured, values)
        prediction = predictor.predict([candidate.profile for candidate in pool])
        return np.log(prediction.mean_j), prediction.log_std

    def _statistical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        losses = self._scale.losses(values).tolist()
        names, predictor = self._models.other(self._scale.metric, measured, losses)
        mean, deviation = predictor.predict(feature_table(pool, names))
        # Of what a training will reach, its luck included: a lucky network is kept as it was trained.
        return mean, np.hypot(deviation, predictor.noise_std)


def _exact(metric: str, candidates: Sequence[Candidate]) -> Array:
    return np.array([getattr(candidate.profile, EXACT[metric]) for candidate in candidates], dtype=float)


def expected_improvement(mean: Array, deviation: Array, front: Array, reference: Array) -> Array:
    """Expected hypervolume improvement of each candidate, shape ``(n,)``, exactly.

    In a box that nothing dominates yet, the expected gain is a product over independent objectives (Emmerich, Deutz &
    Klinkenberg, "Hypervolume-based expected improvement", 2011; by boxes Yang et al. 2019).

    Args:
        mean: losses, shape ``(n, m)``; objectives are normal and taken as independent.
        deviation: standard deviations, shape ``(n, m)``.
        front: losses of the front so far, shape ``(k, m)``.
        reference: reference point, shape ``(m,)``.
    """
    low, high = free_boxes(front, reference)
    gain = np.ones((len(mean), 1))
    for j in range(len(reference)):
        edges, place = np.unique(np.append(low[:, j], high[:, j]), return_inverse=True)  # boxes share most of them
        below = _expected_below(mean[:, j, None], deviation[:, j, None], edges)[:, place]
        gain = gain * np.maximum(below[:, len(low) :] - below[:, : len(low)], 0.0)
    return np.asarray(gain.sum(axis=1))


def _expected_below(mean: Array, deviation: Array, edges: Array) -> Array:
    """By how much normal losses lie below each edge on average, shape ``(n, k)``: 0 below minus infinity."""
    deviation = np.maximum(deviation, 1e-12)
    z = (np.where(np.isfinite(edges), edges, 0.0) - mean) / deviation
    below = deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
    return np.asarray(np.where(np.isfinite(edges), below, 0.0))
