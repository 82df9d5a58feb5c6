"""Training energy of a network, predicted from its cost profile and the joules measured so far.

Log energy = log of a physical model (non-negative prices of few terms) + a Gaussian process on the cost
features, which counts as much as cross-validation says that it helps. Intervals come from the same errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greennas.predictors.gaussian_process import Array, GaussianProcess, spread_over
from greennas.predictors.inputs import vector
from greennas.predictors.intervals import conformal_half_width, student_half_width
from greennas.predictors.physics import cost_features, fit_prices, physical_score, physical_terms
from greennas.predictors.prediction import Prediction
from greennas.profile import CostProfile

_MAX_POINTS = 5_000
_MAX_REFITTED = 250  # up to so many points errors come from refitting without a fold, beyond in closed form
_CONFORMAL = 50  # from so many points quantiles of the errors are used as they are
_RELEVANCE = 1.0
_EXPECTED_SPREAD = 0.05  # of log joules around the physical model, before anything is measured ...
_EXPECTED_COUNT = 3.0  # ... and how many measurements that belief is worth
_EXPECTED_ERROR = 0.1  # of a prediction from fewer than _FEW points: cautious, since few often agree by luck
_FEW = 10
_SHARE_COUNT = 3.0  # errors that shrink the share of the process
_OUTSIDE = 0.1  # beyond the range seen by so much of it


class EnergyPredictor:
    """Energy of networks from 0, 1, 2, ... up to thousands of measured ones, with 90% intervals."""

    def __init__(self) -> None:
        self._count = 0

    def fit(
        self, profiles: Sequence[CostProfile], joules: ArrayLike, noise: ArrayLike | None = None
    ) -> EnergyPredictor:
        """Learn from measured energies, replacing what was learnt before.

        Args:
            profiles: cost profiles of n measured networks, n >= 0; of more than 5,000 a part is used.
            joules: measured energy of each, (n,), positive.
            noise: standard deviation of each measurement's relative error, (n,), positive, in any common unit;
                equal by default.

        Raises:
            PredictorError: numbers that are missing, not positive or not one for each network.
        """
        energy = vector(joules, len(profiles), "energies", positive=True)
        variance = np.ones(len(energy))
        if noise is not None:
            variance = vector(noise, len(energy), "noise levels", positive=True) ** 2
        self._count = min(len(energy), _MAX_POINTS)
        if self._count == 0:
            return self
        kept = spread_over(len(energy), _MAX_POINTS)
        terms, raw = physical_terms(profiles)[kept], cost_features(profiles)[kept]
        energy, variance = energy[kept], variance[kept] * np.mean(1 / variance[kept])

        self._unit = 3 * np.maximum(np.median(raw, axis=0), 0.2 * raw.mean(axis=0))
        self._unit[self._unit <= 0] = 1.0
        inputs = self._inputs(raw)
        self._low, self._high = inputs.min(axis=0), inputs.max(axis=0)
        self._model = _Model(terms, inputs, energy, variance)
        error, added, std = self._held_out(terms, inputs, energy, variance)
        weighted = added / variance
        shrinkage = _SHARE_COUNT / self._count * ((error / variance) @ error) + 1e-12
        self._share = float(np.clip(weighted @ error / (weighted @ added + shrinkage), 0, 1))
        self._set_half_width(error - self._share * added, std)
        return self

    def predict(self, profiles: Sequence[CostProfile]) -> Prediction:
        """Predict the energies of m networks, as long and on such data as the measured ones were trained."""
        terms, m = physical_terms(profiles), len(profiles)
        if self._count == 0:
            return Prediction(physical_score(terms), np.zeros(m), np.full(m, np.inf), np.ones(m, dtype=bool), True)
        inputs = self._inputs(cost_features(profiles))
        base, added, std = self._model.predict(terms, inputs)
        mean = base + self._share * added
        half = np.maximum(self._factor * std, self._floor)
        margin = _OUTSIDE * (self._high - self._low) + 1e-9
        outside = ((inputs < self._low - margin) | (inputs > self._high + margin)).any(axis=1)
        return Prediction(np.exp(mean), np.exp(mean - half), np.exp(mean + half), outside)

    def _inputs(self, raw: Array) -> Array:
        """Features on a scale that is linear around what was seen and logarithmic far beyond it, (m, d)."""
        return np.asarray(np.log1p(np.maximum(raw, 0.0) / self._unit))

    def _held_out(self, terms: Array, inputs: Array, energy: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Of each point, without that point: what the physical model misses, what the process adds, its std; (n,)."""
        n = len(energy)
        if n == 1:
            return np.zeros(1), np.zeros(1), np.ones(1)
        if n > _MAX_REFITTED:
            added, std = self._model.process.leave_one_out()
            return self._model.residual, added, std
        base, added, std = np.empty(n), np.empty(n), np.empty(n)
        for out in _folds(n):
            model = _Model(terms[~out], inputs[~out], energy[~out], variance[~out], self._model)
            base[out], added[out], std[out] = model.predict(terms[out], inputs[out], variance[out])
        return np.log(energy) - base, added, std

    def _set_half_width(self, error: Array, std: Array) -> None:
        n = len(error)
        scores = error / std
        self._factor = conformal_half_width(scores) if n >= _CONFORMAL else student_half_width(scores, 1.0)
        self._floor = student_half_width(error, _EXPECTED_ERROR) if n < _FEW else 0.0


class _Model:
    """Physical prices and a Gaussian process on what they miss, both in log joules.

    One fitted to a part of another's points starts from it: same scale of the inputs, close hyperparameters.
    """

    def __init__(
        self, terms: Array, inputs: Array, energy: Array, variance: Array, start: _Model | None = None
    ) -> None:
        self.prices = fit_prices(terms, energy, 1 / variance)
        self.residual = np.log(energy / (terms @ self.prices))
        if start is None:
            spread = inputs.std(axis=0)
            self.centre, self.spread = inputs.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)
        else:
            self.centre, self.spread = start.centre, start.spread
        process = GaussianProcess(relevance=_RELEVANCE, prior_scale=(_EXPECTED_SPREAD, _EXPECTED_COUNT))
        self.process: GaussianProcess = process.fit(
            self._standardised(inputs), self.residual, variance, None if start is None else start.process
        )

    def _standardised(self, inputs: Array) -> Array:
        """Inputs of order 1, without those that never varied."""
        varied = np.isfinite(self.spread)
        if not varied.any():
            return np.zeros((len(inputs), 1))
        return np.asarray(np.clip((inputs - self.centre) / self.spread, -5, 5)[:, varied])

    def predict(self, terms: Array, inputs: Array, variance: Array | float = 1.0) -> tuple[Array, Array, Array]:
        """Log joules of the physical model, what the process adds, its standard deviation with noise; each (m,)."""
        added, std = self.process.predict(self._standardised(inputs), variance)
        return np.log(terms @ self.prices), added, std


def _folds(n: int) -> Iterator[NDArray[np.bool_]]:
    """Masks (n,) of points to hold out: each point once."""
    count = min(n, 10 if n <= 100 else 4)
    label = np.random.default_rng(0).permutation(n) % count
    for fold in range(count):
        yield label == fold
