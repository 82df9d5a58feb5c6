"""Accuracy of a network, predicted from its features and the noisy accuracies measured so far."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import ExtraTreesRegressor

from greennas.predictors.gaussian_process import Array, GaussianProcess, spread_over
from greennas.predictors.inputs import PredictorError, vector
from greennas.predictors.intervals import NORMAL_HALF_WIDTH, cautious_half_width
from greennas.profile import CostProfile

MOST_CONDITIONED = 500
"""Points that the process may know: its time grows with their cube."""
_RELEVANCE = 0.5
_TREES = 30
_FEWEST = 8  # points from which on the trees have a say
_UNKNOWN = 0.3  # relative deviation of networks that differ from the only kind measured


class AccuracyPrediction(NamedTuple):
    """Predicted accuracies of m networks, without the luck of a single training.

    Attributes:
        mean: predicted accuracy, (m,), in the unit of what was measured.
        std: its standard deviation, (m,).
    """

    mean: Array
    std: Array

    @property
    def low(self) -> Array:
        """Lower end of the 90% interval, (m,)."""
        return self.mean - NORMAL_HALF_WIDTH * self.std

    @property
    def high(self) -> Array:
        """Upper end of the 90% interval, (m,)."""
        return self.mean + NORMAL_HALF_WIDTH * self.std


class AccuracyPredictor:
    """Average of a Gaussian process and extremely randomised trees on standardised features.

    Accuracies of short trainings are noisy: the process fits the noise by marginal likelihood, the trees
    average over leaves, and the deviation is that of the accuracy without noise, widened where the
    process's leave-one-out errors say that it is too narrow.

    Attributes:
        noise_std: after ``fit``, the estimated standard deviation of one measurement's noise.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.noise_std = 0.0
        self._process: GaussianProcess | None = None

    def fit(
        self,
        networks: Sequence[CostProfile] | ArrayLike,
        accuracy: ArrayLike,
        noise: ArrayLike | None = None,
        signals: ArrayLike | None = None,
    ) -> AccuracyPredictor:
        """Learn from n >= 1 networks, replacing what was learnt before.

        Args:
            networks: n cost profiles, or a table of features with a row for each network, (n, d).
            accuracy: measured accuracy of each, (n,), in any unit.
            noise: standard deviation of each measurement, (n,), positive, in any common unit; equal by default.
            signals: what else is known of each network before it is trained, (n, k): zero-cost proxies, see
                ``zero_cost_proxies``, or the accuracy at an early rung.

        Raises:
            PredictorError: no points, shapes that do not belong together, a number that is not finite.
        """
        x, y, variance = _measured(_table(networks, signals), accuracy, noise)
        self._centre, spread = x.mean(axis=0), x.std(axis=0)
        self._used = spread > 1e-9
        self._spread = spread[self._used]
        x = self._standardised(x)
        kept = spread_over(len(y), MOST_CONDITIONED)
        self._process = GaussianProcess(relevance=_RELEVANCE).fit(x[kept], y[kept], variance[kept])
        self.noise_std = self._process.noise_std
        self._trees: ExtraTreesRegressor | None = None
        if len(y) >= _FEWEST:
            self._trees = ExtraTreesRegressor(
                _TREES, min_samples_leaf=2, max_features=0.5, n_jobs=1, random_state=self.seed
            ).fit(x, y, sample_weight=1 / variance)
        self._widen(y[kept])
        return self

    def updated(
        self,
        networks: Sequence[CostProfile] | ArrayLike,
        accuracy: ArrayLike,
        signals: ArrayLike | None = None,
    ) -> AccuracyPredictor:
        """This predictor with its process told of these networks in place of those that it was fitted to.

        Much cheaper than ``fit``: what was chosen there (the process's hyperparameters, the trees) stays.

        Args:
            networks: as for ``fit``; time grows with the cube of n.
            accuracy: as for ``fit``.
            signals: as for ``fit``.

        Raises:
            PredictorError: as ``fit`` and ``predict``.
        """
        x, y, variance = _measured(_table(networks, signals), accuracy, None)
        process = self._fitted(x)
        other = copy.copy(self)
        other._process = process.conditioned(self._standardised(x), y, variance)
        other._widen(y)
        return other

    def _widen(self, y: Array) -> None:
        """Widen intervals where leave-one-out errors of the process's points, (n,), say that they are too narrow."""
        self._widening = 1.0
        if self._trees is not None and self._process is not None:
            held_out, std = self._process.leave_one_out()
            self._widening = max(1.0, cautious_half_width((y - held_out) / std, 1.0) / NORMAL_HALF_WIDTH)

    def _fitted(self, x: Array) -> GaussianProcess:
        if self._process is None or x.shape[1] != len(self._used):
            raise PredictorError("Fit the accuracy predictor first, with the same columns of features.")
        return self._process

    def predict(
        self, networks: Sequence[CostProfile] | ArrayLike, signals: ArrayLike | None = None
    ) -> AccuracyPrediction:
        """Accuracies of m networks without measurement noise.

        Args:
            networks: cost profiles or a table, as in ``fit``.
            signals: as in ``fit``, (m, k).

        Raises:
            PredictorError: called before ``fit``, or other columns than were fitted.
        """
        x = _table(networks, signals)
        if self._process is not None and len(x) == 0:
            return AccuracyPrediction(np.zeros(0), np.zeros(0))
        process = self._fitted(x)
        new = (x != self._centre).any(axis=1)
        x = self._standardised(x)
        mean, std = process.predict(x)
        if not self._used.any():
            std = np.where(new, np.maximum(std, _UNKNOWN * np.abs(mean)), std)
        if self._trees is None:
            return AccuracyPrediction(mean, std)
        single = x.astype(np.float32)
        votes = np.stack([tree.predict(single, check_input=False) for tree in self._trees.estimators_])
        other, spread = votes.mean(axis=0), votes.var(axis=0)
        variance = (std**2 + spread) / 2 + (mean - other) ** 2 / 4  # of an equal mixture of the two
        if not self._used.any():  # the trees know no difference either
            variance = np.maximum(variance, std**2)
        return AccuracyPrediction((mean + other) / 2, self._widening * np.sqrt(variance))

    def _standardised(self, x: Array) -> Array:
        if not self._used.any():
            return np.zeros((len(x), 1))
        return np.asarray(np.clip((x - self._centre)[:, self._used] / self._spread, -5, 5))


def _measured(x: Array, accuracy: ArrayLike, noise: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Features (n, d), accuracies (n,) and noise variances (n,) whose harmonic mean is 1."""
    if len(x) == 0:
        raise PredictorError("There is no network to learn accuracies from; fit with one or more.")
    y = vector(accuracy, len(x), "accuracies")
    variance = np.ones(len(y)) if noise is None else vector(noise, len(y), "noise levels", positive=True) ** 2
    return x, y, variance * np.mean(1 / variance)


def _table(networks: Sequence[CostProfile] | ArrayLike, signals: ArrayLike | None = None) -> Array:
    """Features of networks, (n, d): of profiles the logarithms of their costs; further signals stand beside them."""
    if isinstance(networks, Sequence) and all(isinstance(network, CostProfile) for network in networks):
        if len(networks) == 0:
            return np.zeros((0, 0))
        x = np.log1p(np.stack([network.features() for network in networks]))  # type: ignore[union-attr]
    else:
        x = np.asarray(networks, dtype=np.float64)
    if signals is not None:
        beside = np.asarray(signals, dtype=np.float64)
        if beside.ndim != 2 or x.ndim != 2 or len(beside) != len(x):
            raise PredictorError(f"Give signals as a table with one row for each of the {len(x)} networks.")
        x = np.hstack([x, beside])
    if x.ndim != 2 or not np.isfinite(x).all():
        raise PredictorError("Features must be a table of finite numbers with one row for each network.")
    return x
