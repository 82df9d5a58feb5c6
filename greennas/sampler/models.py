"""One model an objective: from measured candidates to a mean and a deviation of each candidate's loss.

A loss is what the strategy minimises: the negative value of a maximised metric, the logarithm of a minimised
positive one (energy, latency, FLOPs), whose errors are relative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greennas.errors import ConfigError
from greennas.pareto import hypervolume_improvement
from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.sampler.candidates import Candidate, feature_table

Array = NDArray[np.float64]
EXACT = {"flops": "total_flops", "parameters": "parameters"}
"""Metrics that the cost profile knows exactly, and its attribute."""


def loss_of(value: float, maximize: bool, metric: str) -> float:
    """The loss of one value.

    Raises:
        ConfigError: a minimised value that is not positive has no logarithm.
    """
    if maximize:
        return -value
    if value <= 0:
        raise ConfigError(f"The minimised objective {metric} has the value {value}; it has to be above 0.")
    return math.log(value)


def value_of(loss: float, maximize: bool) -> float:
    """The value of one loss: the inverse of ``loss_of``."""
    return -loss if maximize else math.exp(loss)


def energy_predictor(
    measured: Sequence[Candidate], joules: Sequence[float], prior: EnergyPredictor | None = None
) -> EnergyPredictor:
    """A predictor of a physical cost (joules, milliseconds), fitted on what was measured so far and before."""
    return EnergyPredictor(prior).fit([candidate.profile for candidate in measured], list(joules))


class LossModel:
    """Predicts one objective's loss.

    Args:
        metric: name of the metric.
        maximize: its direction.
        prior: predicts such a cost from earlier measurements, as for ``EnergyPredictor``.
    """

    def __init__(self, metric: str, maximize: bool, prior: EnergyPredictor | None = None) -> None:
        self.metric = metric
        self.prior = prior
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
        if self.maximize:
            return self._statistical(measured, values, pool)
        return self._physical(measured, values, pool)

    def _physical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        prediction = energy_predictor(measured, values, self.prior).predict([candidate.profile for candidate in pool])
        return np.log(prediction.mean_j), prediction.log_std

    def _statistical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        features = feature_table([*measured, *pool])
        predictor = AccuracyPredictor().fit(features[: len(measured)], np.asarray(values, dtype=float))
        mean, deviation = predictor.predict(features[len(measured) :])
        return -mean, deviation


def expected_improvement(
    mean: Array, deviation: Array, front: Array, reference: Array, rng: np.random.Generator, samples: int = 64
) -> Array:
    """Expected hypervolume improvement of each candidate, shape ``(n,)``, by Monte Carlo.

    Args:
        mean: losses, shape ``(n, m)``; objectives are taken as independent.
        deviation: standard deviations, shape ``(n, m)``.
        front: losses of the front so far, shape ``(k, m)``.
        reference: reference point, shape ``(m,)``.
        rng: source of randomness; all candidates share the draws, so that they are compared fairly.
        samples: number of draws, taken in antithetic pairs.
    """
    draws = rng.standard_normal((samples // 2, 1, mean.shape[1]))
    draws = np.concatenate([draws, -draws])
    return np.asarray(hypervolume_improvement(mean + deviation * draws, front, reference).mean(axis=0))
