"""Training energy of a network, predicted from its cost profile and the joules measured so far.

Log energy = log of a physical model (non-negative prices of few terms) + a Gaussian process on the cost
features, which counts as much as cross-validation says that it helps. Intervals come from the same errors.
Where training times are known, too, the same is tried with power: energy = predicted time x predicted power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greennas.predictors.gaussian_process import Array, GaussianProcess, spread_over
from greennas.predictors.inputs import PredictorError, vector
from greennas.predictors.intervals import cautious_half_width, half_width
from greennas.predictors.physics import (
    PRIOR_PRICES,
    cost_features,
    feature_units,
    fit_prices,
    physical_score,
    physical_terms,
)
from greennas.predictors.prediction import Prediction
from greennas.profile import CostProfile

_MAX_POINTS = 5_000
_MAX_REFITTED = 250  # up to so many points errors come from refitting without a fold, beyond in closed form
_RELEVANCE = 1.0
_TAIL = 4.0  # degrees of freedom of the noise of single measurements
_ITERATIONS = 20, 5  # of L-BFGS, and more with unequal noise from where those ended ...
_FOLD_ITERATIONS = 8, 3  # ... and of a fit without a fold, which begins where the fit to all points ended
_EXPECTED_SPREAD = 0.05  # of log joules around the physical model, before anything is measured ...
_EXPECTED_COUNT = 3.0  # ... and how many measurements that belief is worth
_EXPECTED_ERROR = 0.1  # of a prediction from fewer than _FEW points: cautious, since few often agree by luck
_FEW = 10
_FEW_TO_JUDGE = 5  # held-out errors of fewer points do not tell whether a prior misleads
_STRANGE = 0.2  # share of networks outside of what a prior has seen, from which on it only extrapolates
_LEAST_PRICE = 0.1  # of the built-in price
_SHARE_COUNT = 3.0  # errors that shrink the share of the process
_OUTSIDE = 0.1  # beyond the range seen by so much of it


class EnergyPredictor:
    """Energy of networks from 0, 1, 2, ... up to thousands of measured ones, with 90% intervals.

    Args:
        prior: a fitted predictor of earlier measurements - of another run, search space, training length or device -
            that are like the ones to come up to a factor. Its prices of the physical terms are where the own ones
            begin; where it has seen such networks and held-out errors agree, all of its predictions are rescaled.
        device_type: of the built-in prices where nothing is known: ``cuda`` or ``cpu``, as ``torch.device.type``.

    Raises:
        PredictorError: another type of device.
    """

    def __init__(self, prior: EnergyPredictor | None = None, device_type: str = "cuda") -> None:
        if device_type not in PRIOR_PRICES:
            raise PredictorError(f"There are prices for {' and '.join(PRIOR_PRICES)} devices, not for {device_type!r}.")
        self._builtin = PRIOR_PRICES[device_type]
        self._device_type = device_type
        self._prior = prior if prior is not None and prior._fit is not None else None
        self._fit: _Fit | None = None
        self._reference: EnergyPredictor | None = None  # whose predictions the fit multiplies

    def fit(
        self,
        profiles: Sequence[CostProfile],
        joules: ArrayLike,
        noise: ArrayLike | None = None,
        seconds: ArrayLike | None = None,
    ) -> EnergyPredictor:
        """Learn from measured energies, replacing what was learnt before.

        Args:
            profiles: cost profiles of n measured networks, n >= 0; of more than 5,000 a part is used.
            joules: measured energy of each, (n,), positive.
            noise: standard deviation of each measurement's relative error, (n,), positive, in any common unit;
                equal by default.
            seconds: how long each measured training took, (n,), positive, in any common unit. Energy is then
                predicted as time x power, each from the costs, where held-out errors say that this is better.

        Raises:
            PredictorError: numbers that are missing, not positive or not one for each network.
        """
        energy = vector(joules, len(profiles), "energies", positive=True)
        variance = np.ones(len(energy))
        if noise is not None:
            variance = vector(noise, len(energy), "noise levels", positive=True) ** 2
        duration = None if seconds is None else vector(seconds, len(energy), "training times", positive=True)
        self._fit, self._reference = None, None
        if len(energy) == 0:
            return self
        if not physical_terms(profiles).any(axis=1).all():
            raise PredictorError("One of the networks computes and moves nothing on paper; leave it out.")
        kept = spread_over(len(energy), _MAX_POINTS)
        profiles = [profiles[i] for i in kept]
        energy, variance = energy[kept], variance[kept] * np.mean(1 / variance[kept])
        costs = _Costs.of(profiles)
        begin = self.prices
        self._fit = alone = _Fit(costs, energy, variance, begin)
        if len(energy) < _FEW_TO_JUDGE:
            return self
        fits: list[tuple[_Fit, EnergyPredictor | None]] = [(alone, None)]
        known = None if self._prior is None else self._prior.predict(profiles)
        if known is not None and known.outside.mean() < _STRANGE:
            fits.append((_Fit(costs.beside(known.mean_j), energy, variance, begin), self._prior))
        if duration is not None:
            time = EnergyPredictor(self._prior, self._device_type).fit(profiles, duration[kept], np.sqrt(variance))
            assert time._fit is not None
            measured, predicted = costs.beside(duration[kept]), costs.beside(time._fit.held_out)
            fits.append((_Fit(measured, energy, variance, alone.prices, predicted), time))
        self._fit, self._reference = min(fits, key=lambda fit: fit[0].error)
        return self

    @property
    def prices(self) -> Array:
        """Prices of the physical terms, (5,): fitted, else the prior's, else the built-in ones."""
        if self._fit is not None:
            return self._fit.prices
        if self._prior is None:
            return self._builtin
        found = self._prior.prices
        scale = np.median(found / self._builtin)  # what seemed to cost nothing there may cost something here
        return np.asarray(np.maximum(found, _LEAST_PRICE * scale * self._builtin))

    def predict(self, profiles: Sequence[CostProfile]) -> Prediction:
        """Predict the energies of m networks, as long and on such data as the measured ones were trained."""
        m = len(profiles)
        if self._fit is None:  # a prior's joules may be of another scale, so they only rank
            score = physical_score(physical_terms(profiles), self.prices)
            return Prediction(score, np.zeros(m), np.full(m, np.inf), np.ones(m, dtype=bool), True)
        costs = _Costs.of(profiles)
        if self._reference is None:
            return self._fit.predict(costs)
        known = self._reference.predict(profiles)
        found = self._fit.predict(costs.beside(known.mean_j))
        return replace(found, outside=found.outside & known.outside)


@dataclass(frozen=True)
class _Costs:
    """Physical terms (n, 5), raw cost features (n, d), and logs (n,) of what energies are multiples of, if known."""

    terms: Array
    raw: Array
    reference: Array | None = None

    @classmethod
    def of(cls, profiles: Sequence[CostProfile]) -> _Costs:
        return cls(physical_terms(profiles), cost_features(profiles))

    def beside(self, amounts: Array) -> _Costs:
        """With joules of a prior or training times, (n,), as what energies are multiples of."""
        return replace(self, reference=np.log(amounts))

    def only(self, chosen: NDArray[np.bool_]) -> _Costs:
        reference = None if self.reference is None else self.reference[chosen]
        return _Costs(self.terms[chosen], self.raw[chosen], reference)


class _Fit:
    """A model of measured energies (n,), its share of the process, and its intervals.

    Args:
        unseen: the same costs beside what is known of the reference where nothing was measured, if that is less:
            held-out points are predicted from it, so that errors and intervals are those of new networks.

    Attributes:
        error: weighted mean squared error of log energy of held-out points.
        held_out: energy of each point, predicted without it, (n,).
        prices: of the physical terms, (5,).
    """

    def __init__(
        self, costs: _Costs, energy: Array, variance: Array, prior_prices: Array, unseen: _Costs | None = None
    ) -> None:
        self._prior_prices = prior_prices
        self._unit = feature_units(costs.raw)
        inputs = self._inputs(costs.raw)
        self._low, self._high = inputs.min(axis=0), inputs.max(axis=0)
        costs = replace(costs, raw=inputs)
        unseen = costs if unseen is None else replace(unseen, raw=inputs)
        self._model = _Model(costs, energy, variance, prior_prices)
        self.prices = prior_prices if self._model.prices is None else self._model.prices
        error, added, std = self._hold_out(costs, energy, variance, unseen)
        weighted = added / variance
        shrinkage = _SHARE_COUNT / len(energy) * ((error / variance) @ error) + 1e-12
        self._share = float(np.clip(weighted @ error / (weighted @ added + shrinkage), 0, 1))
        left = error - self._share * added
        self.held_out = energy * np.exp(-left)
        self.error = float(np.average(left**2, weights=1 / variance))
        self._set_half_width(left, std)

    def predict(self, costs: _Costs) -> Prediction:
        inputs = self._inputs(costs.raw)
        base, added, std = self._model.predict(replace(costs, raw=inputs))
        mean = base + self._share * added
        half = np.maximum(self._factor * self._deviation(std), self._floor)
        margin = _OUTSIDE * (self._high - self._low) + 1e-9
        outside = ((inputs < self._low - margin) | (inputs > self._high + margin)).any(axis=1)
        return Prediction(np.exp(mean), np.exp(mean - half), np.exp(mean + half), outside)

    def _inputs(self, raw: Array) -> Array:
        """Features on a scale that is linear around what was seen and logarithmic far beyond it, (m, d)."""
        return np.asarray(np.log1p(np.maximum(raw, 0.0) / self._unit))

    def _hold_out(self, costs: _Costs, energy: Array, variance: Array, unseen: _Costs) -> tuple[Array, Array, Array]:
        """Of each point, without that point: what the base model misses, what the process adds, its std; (n,)."""
        n = len(energy)
        if n == 1:
            return np.zeros(1), np.zeros(1), np.full(1, _EXPECTED_SPREAD)
        if n > _MAX_REFITTED:
            added, std = self._model.process.leave_one_out(variance)
            return np.log(energy) - self._model.base(unseen), added, std
        base, added, std = np.empty(n), np.empty(n), np.empty(n)
        for out in _folds(n):
            model = _Model(costs.only(~out), energy[~out], variance[~out], self._prior_prices, self._model)
            base[out], added[out], std[out] = model.predict(unseen.only(out), variance[out])
        return np.log(energy) - base, added, std

    def _set_half_width(self, error: Array, std: Array) -> None:
        self._constant = float((1 - self._share) * np.mean(std**2))
        scores = error / self._deviation(std)
        if len(error) < _FEW:
            self._factor = cautious_half_width(scores, 1.0)
            self._floor = cautious_half_width(error, _EXPECTED_ERROR)
        else:
            self._factor, self._floor = half_width(scores), 0.0

    def _deviation(self, std: Array) -> Array:
        """Relative size of the errors, (m,): as the process says where it counts, else the same everywhere.

        Held-out points of a design that keeps its distances lie farther from the rest than others do. Without much of
        the process in the prediction that makes no difference to errors, and scaling by its deviation would narrow
        all intervals.
        """
        return np.asarray(np.sqrt(self._share * std**2 + self._constant))


class _Model:
    """Physical prices, or the factor of a reference, and a Gaussian process on what they miss, both in log joules.

    One fitted to a part of another's points starts from it: same scale of the inputs, close hyperparameters.
    """

    process: GaussianProcess

    def __init__(
        self, costs: _Costs, energy: Array, variance: Array, prior_prices: Array, start: _Model | None = None
    ) -> None:
        inputs = costs.raw
        self.prices: Array | None = None
        if costs.reference is None:
            self.prices = fit_prices(costs.terms, energy, 1 / variance, prior_prices)
        else:
            self.factor = float(np.average(np.log(energy) - costs.reference, weights=1 / variance))
        self.residual = np.log(energy) - self.base(costs)
        if start is None:
            spread = inputs.std(axis=0)
            self.centre, self.spread = inputs.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)
        else:
            self.centre, self.spread = start.centre, start.spread
        x = self._standardised(inputs)
        iterations, more = _ITERATIONS if start is None else _FOLD_ITERATIONS
        self.process = _process(iterations).fit(x, self.residual, variance, None if start is None else start.process)
        if len(energy) >= _FEW:
            self._resist(x, variance, more)

    def _resist(self, x: Array, variance: Array, iterations: int) -> None:
        """Give outliers more noise: a step of expectation maximisation for noise of Student's t.

        Lange, Little & Taylor, "Robust Statistical Modeling Using the t Distribution", JASA 84 (1989).
        """
        mean, std = self.process.leave_one_out()
        widened = variance * (_TAIL + ((self.residual - mean) / std) ** 2) / (_TAIL + 1)
        widened *= np.mean(1 / widened)
        self.process = _process(iterations).fit(x, self.residual, widened, self.process)

    def base(self, costs: _Costs) -> Array:
        """Log joules before the process, (m,)."""
        if self.prices is not None:
            return np.asarray(np.log(costs.terms @ self.prices))
        assert costs.reference is not None
        return np.asarray(costs.reference + self.factor)

    def _standardised(self, inputs: Array) -> Array:
        """Inputs of order 1, without those that never varied."""
        varied = np.isfinite(self.spread)
        if not varied.any():
            return np.zeros((len(inputs), 1))
        return np.asarray(np.clip((inputs - self.centre) / self.spread, -5, 5)[:, varied])

    def predict(self, costs: _Costs, variance: Array | float = 1.0) -> tuple[Array, Array, Array]:
        """Log joules of the base model, what the process adds, its standard deviation with noise; each (m,)."""
        added, std = self.process.predict(self._standardised(costs.raw), variance)
        return self.base(costs), added, std


def _process(max_iterations: int) -> GaussianProcess:
    expected = (_EXPECTED_SPREAD, _EXPECTED_COUNT)
    return GaussianProcess(relevance=_RELEVANCE, prior_scale=expected, max_iterations=max_iterations)


def _folds(n: int) -> Iterator[NDArray[np.bool_]]:
    """Masks (n,) of points to hold out: each point once."""
    count = min(n, 10 if n <= 100 else 4)
    label = np.random.default_rng(0).permutation(n) % count
    for fold in range(count):
        yield label == fold
