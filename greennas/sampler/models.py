"""One model an objective: from measured candidates to a mean and a deviation of each candidate's loss.

A loss is what the strategy minimises: the negative value of a maximised metric, the logarithm of a minimised
physical cost (energy, latency, FLOPs), whose errors are relative, and any other minimised metric as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from greennas.errors import ConfigError
from greennas.pareto import free_boxes
from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.sampler.candidates import Candidate, feature_table

Array = NDArray[np.float64]
_OFTEN = 30  # up to so many trainings the costs are learnt anew after each
EXACT = {"flops": "total_flops", "parameters": "parameters"}
"""Metrics that the cost profile knows exactly, and its attribute."""


_COST = re.compile(r"energy|latency|flops|macs|param|time|second|duration|memory|power|bytes|size|cost|co2|carbon|_ms$")


def is_cost(metric: str, maximize: bool) -> bool:
    """Whether a metric is a physical cost by its name: positive, predicted from the cost profile, errors relative."""
    return not maximize and _COST.search(metric.lower()) is not None


def loss_of(value: float, maximize: bool, metric: str) -> float:
    """The loss of one value.

    Raises:
        ConfigError: a cost that is not positive has no logarithm.
    """
    if not is_cost(metric, maximize):
        return -value if maximize else value
    if value <= 0:
        raise ConfigError(f"The minimised objective {metric} has the value {value}; it has to be above 0.")
    return math.log(value)


def value_of(loss: float, maximize: bool, metric: str) -> float:
    """The value of one loss: the inverse of ``loss_of``."""
    if is_cost(metric, maximize):
        return math.exp(loss)
    return -loss if maximize else loss


class CostModels:
    """Energy predictors of physical costs (joules, milliseconds), fitted anew when there is a tenth more to learn from.

    Costs are learnt from few trainings: refitting at each one would cost more time than it tells.

    Args:
        priors: metrics to predictors of earlier measurements, such as those of a calibrated device.
    """

    def __init__(self, priors: Mapping[str, EnergyPredictor] | None = None) -> None:
        self._priors = dict(priors or {})
        self._fitted: dict[str, tuple[object, EnergyPredictor]] = {}

    def fitted(self, metric: str, measured: Sequence[Candidate], values: Sequence[float]) -> EnergyPredictor:
        """The predictor of ``metric`` from the first of the measured candidates: all, or nearly all where many."""
        n = len(measured)
        kept = n if n <= _OFTEN else n - n % (n // 10)
        key = [(candidate.id, value) for candidate, value in zip(measured[:kept], values[:kept], strict=True)]
        known = self._fitted.get(metric)
        if known is None or known[0] != key:
            profiles = [candidate.profile for candidate in measured[:kept]]
            known = self._fitted[metric] = key, self._predictor(metric).fit(profiles, list(values[:kept]))
        return known[1]

    def _predictor(self, metric: str) -> EnergyPredictor:
        return EnergyPredictor(self._priors.get(metric))


class LossModel:
    """Predicts one objective's loss.

    Args:
        metric: name of the metric.
        maximize: its direction.
        costs: predictors of costs, kept from one choice to the next.
    """

    def __init__(self, metric: str, maximize: bool, costs: CostModels) -> None:
        self._costs = costs
        self.metric = metric
        self.maximize = maximize

    def predict(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the losses of ``pool``, each of shape ``(len(pool),)``.

        Args:
            measured: candidates with a value; at least one.
            values: the metric's value of each of them.
            pool: candidates to predict.
        """
        if self.metric in EXACT:
            exact = [getattr(candidate.profile, EXACT[self.metric]) for candidate in pool]
            return np.log(np.maximum(np.asarray(exact, dtype=float), 1.0)), np.zeros(len(pool))
        if is_cost(self.metric, self.maximize):
            return self._physical(measured, values, pool)
        return self._statistical(measured, values, pool)

    def _physical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        predictor = self._costs.fitted(self.metric, measured, values)
        prediction = predictor.predict([candidate.profile for candidate in pool])
        return np.log(prediction.mean_j), prediction.log_std

    def _statistical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        features = feature_table([*measured, *pool])
        predictor = AccuracyPredictor().fit(features[: len(measured)], np.asarray(values, dtype=float))
        mean, deviation = predictor.predict(features[len(measured) :])
        # Of what a training will reach, its luck included: a lucky network is kept as it was trained.
        deviation = np.hypot(deviation, predictor.noise_std)
        return -mean if self.maximize else mean, deviation


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
