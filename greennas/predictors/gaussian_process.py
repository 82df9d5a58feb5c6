"""Exact Gaussian process regression with a linear + Matérn-5/2 kernel and MAP hyperparameters.

Formulas: Rasmussen & Williams, "Gaussian Processes for Machine Learning" (2006), equations 2.25-2.26
(prediction), 5.8-5.9 (marginal likelihood and its gradient) and 5.10-5.12 (leave-one-out).
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import fmin_l_bfgs_b

Array = NDArray[np.float64]

_SQRT5 = 5**0.5
# log of: linear amplitude, Matérn amplitude, length scale, noise variance (targets have unit variance)
_PRIOR_MEAN = np.log(np.array([1.0, 0.3, 1.0, 0.1]))
_PRIOR_STD = np.array([1.5, 1.5, 1.0, 1.0])
_BOUND = 4.0  # prior standard deviations that the search may go from the prior mean


class GaussianProcess:
    """Regression y = constant + linear + Matérn-5/2 + noise on standardised inputs.

    Hyperparameters maximise the posterior (log-normal priors) by L-BFGS with analytic gradients. They are
    chosen on at most ``max_optimised`` points, evenly spaced in the order given; the posterior is
    conditioned on all points.

    Args:
        relevance: prior standard deviation of the log of each input's own length scale (automatic
            relevance determination); 0 gives all inputs the same one.
        max_optimised: points on which hyperparameters are chosen.
        max_iterations: iterations of L-BFGS.
    """

    def __init__(
        self,
        *,
        relevance: float = 0.0,
        prior_scale: tuple[float, float] = (1.0, 0.0),
        max_optimised: int = 300,
        max_iterations: int = 40,
    ) -> None:
        self.relevance = relevance
        self.prior_scale = prior_scale
        self.max_optimised = max_optimised
        self.max_iterations = max_iterations

    def fit(
        self, x: Array, y: Array, noise: Array | None = None, start: GaussianProcess | None = None
    ) -> GaussianProcess:
        """Fit to inputs (n, d) and targets (n,).

        Args:
            x: inputs, (n, d); columns should be of order 1.
            y: targets, (n,).
            noise: relative noise variance of each target, (n,); all 1 by default.
            start: a process, fitted to inputs of the same kind, whose hyperparameters the search starts from.
        """
        n = len(y)
        noise = np.ones(n) if noise is None else noise
        self._mean = float(np.average(y, weights=1 / noise))
        expected, count = self.prior_scale
        variance = float(np.average((y - self._mean) ** 2, weights=1 / noise))
        scale = np.sqrt((n * variance + count * expected**2) / (n + count))
        self._scale = (
            float(scale) if scale > 1e-9 * abs(self._mean) else 0.3 * abs(self._mean) or 1.0
        )  # nothing to go by
        self._theta = self._optimise(x, (y - self._mean) / self._scale, noise, start)
        self._condition(x, y, noise)
        return self

    def conditioned(self, x: Array, y: Array, noise: Array | None = None) -> GaussianProcess:
        """A process with this one's hyperparameters that knows other points, (n, d) and (n,), in place of its own."""
        other = copy.copy(self)
        other._condition(x, y, np.ones(len(y)) if noise is None else noise)
        return other

    def _condition(self, x: Array, y: Array, noise: Array) -> None:
        self._x, self._noise = x, noise
        self._target = (y - self._mean) / self._scale
        covariance = self._kernel(x, x)
        covariance.flat[:: len(y) + 1] += np.exp(self._theta[3]) * noise
        self._factor = _safe_cholesky(covariance)
        self._alpha = cho_solve((self._factor, True), self._target)

    def predict(self, x: Array, noise: Array | float = 0.0) -> tuple[Array, Array]:
        """Posterior mean and standard deviation, each (m,), at inputs (m, d).

        Args:
            x: inputs, (m, d).
            noise: relative noise variance, (m,) or one for all, that the deviation includes.
        """
        cross = self._kernel(x, self._x)
        mean = self._mean + self._scale * (cross @ self._alpha)
        solved = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self._diagonal(x) - np.einsum("ij,ij->j", solved, solved)
        variance = np.maximum(variance, 1e-10) + np.exp(self._theta[3]) * noise
        return mean, self._scale * np.sqrt(variance)

    def leave_one_out(self, noise: Array | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of each training target, predicted from the others, each (n,).

        Args:
            noise: relative noise variance, (n,), that the deviation includes; as fitted by default.
        """
        precision = np.diag(_inverse(self._factor))
        residual = self._alpha / precision
        mean = self._mean + self._scale * (self._target - residual)
        variance = 1 / precision
        if noise is not None:
            variance += np.exp(self._theta[3]) * (noise - self._noise)
        return mean, self._scale * np.sqrt(variance)

    @property
    def noise_std(self) -> float:
        """Fitted standard deviation of the noise (of a target with relative noise 1)."""
        return float(self._scale * np.exp(0.5 * self._theta[3]))

    def _scaled(self, x: Array) -> Array:
        """Inputs by their relevances; mean squares then stand for sums."""
        return np.asarray(x * np.exp(-self._theta[4:]) / np.sqrt(x.shape[1]))

    def _diagonal(self, x: Array) -> Array:
        return np.asarray(np.exp(self._theta[0]) * (self._scaled(x) ** 2).sum(axis=1) + np.exp(self._theta[1]))

    def _kernel(self, a: Array, b: Array) -> Array:
        linear, matern, length, _ = np.exp(self._theta[:4])
        a, b = self._scaled(a), self._scaled(b)
        return np.asarray(linear * (a @ b.T) + matern * _matern(_distances(a, b) / length)[0])

    def _optimise(self, x: Array, y: Array, noise: Array, start: GaussianProcess | None) -> Array:
        d = x.shape[1] if self.relevance else 0
        prior_mean: Array = np.append(_PRIOR_MEAN, np.zeros(d))
        prior_std = np.append(_PRIOR_STD, np.full(d, self.relevance))
        if len(y) < 3:
            return np.append(_PRIOR_MEAN, np.zeros(x.shape[1]))
        chosen = spread_over(len(y), self.max_optimised)
        x, y, noise = x[chosen], y[chosen], noise[chosen]
        x = x / np.sqrt(x.shape[1])
        fixed = None if d else (x @ x.T, _distances(x, x))

        def objective(theta: Array) -> tuple[float, Array]:
            """Negative log posterior and its gradient."""
            linear, matern, length, sigma = np.exp(theta[:4])
            z = x * np.exp(-theta[4:]) if d else x
            gram, distances = fixed or (z @ z.T, _distances(z, z))
            shape, slope = _matern(distances / length)
            covariance = linear * gram + matern * shape
            covariance.flat[:: len(y) + 1] += sigma * noise
            factor = _safe_cholesky(covariance)
            alpha = cho_solve((factor, True), y, check_finite=False)
            inner = np.outer(alpha, alpha) - _inverse(factor)
            slope *= inner * (matern / length**2)
            by_length = 2 * (slope.sum(1) @ z**2 - np.einsum("ij,ij->j", z, slope @ z))  # of each input
            traces = [
                linear * np.vdot(inner, gram),
                matern * np.vdot(inner, shape),
                by_length.sum(),
                sigma * (np.diag(inner) @ noise),
            ]
            if d:
                traces.extend(by_length - 2 * linear * np.einsum("ij,ij->j", z, inner @ z))
            deviation = (theta - prior_mean) / prior_std
            value = 0.5 * (y @ alpha + deviation @ deviation) + np.log(np.diag(factor)).sum()
            return float(value), deviation / prior_std - 0.5 * np.array(traces, dtype=np.float64)

        low, high = prior_mean - _BOUND * prior_std, prior_mean + _BOUND * prior_std
        begin = prior_mean if start is None else start._theta[: len(prior_mean)]
        best, _, _ = fmin_l_bfgs_b(
            objective, begin, bounds=list(zip(low, high, strict=True)), maxiter=self.max_iterations
        )
        return best if d else np.append(best, np.zeros(x.shape[1]))


def spread_over(n: int, most: int) -> NDArray[np.intp]:
    """Indices of at most ``most`` of n points, evenly spaced in the order given."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.intp)


def _distances(a: Array, b: Array) -> Array:
    """Euclidean distances (m, n)."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def _matern(r: Array) -> tuple[Array, Array]:
    """Matérn-5/2 correlation k at scaled distances r, and -k'(r) / r."""
    s = _SQRT5 * r
    decay = np.exp(-s)
    return (1 + s + s * s / 3) * decay, 5 / 3 * (1 + s) * decay


def _safe_cholesky(matrix: Array) -> Array:
    """Lower Cholesky factor; jitter grows until the matrix is positive definite."""
    scale = float(np.mean(np.diag(matrix)))
    for jitter in (0.0, 1e-10, 1e-8, 1e-6, 1e-4):
        tried = matrix + jitter * scale * np.eye(len(matrix)) if jitter else matrix
        try:
            return np.asarray(cholesky(tried, lower=True, check_finite=False))
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("the covariance is not positive definite")


def _inverse(factor: Array) -> Array:
    """Inverse of a matrix from its lower Cholesky factor, which is 0 above the diagonal."""
    lower, _ = dpotri(factor, lower=1)
    inverse = lower + lower.T
    np.fill_diagonal(inverse, lower.diagonal())
    return np.asarray(inverse)
