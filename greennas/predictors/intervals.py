"""Half widths of prediction intervals from the errors of held-out points."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, t

from greennas.predictors.gaussian_process import Array

COVERAGE = 0.90
NORMAL_HALF_WIDTH = float(norm.ppf(0.5 + COVERAGE / 2))
"""Half width of the central interval of a normal distribution, in standard deviations."""

_PRIOR_COUNT = 4.0
_GIVEN_UP = 2
_CONFORMAL = 100  # from so many errors their quantiles are used as they are
_ADAPTATION = 0.2  # log of the factor on deviations that a missed interval brings
_MOST_ADAPTED = math.log(10)


def half_width(scores: Array) -> float:
    """90% half width for a further error like ``scores``: of Student's t for few, conformal for many.

    Two degrees of freedom are given up: the share of the process was fitted to the same errors, and the fits without
    a fold began where the fit to all points ended.

    Args:
        scores: errors of held-out points over their predicted standard deviations, (n,), n >= 3.
    """
    n = len(scores)
    if n >= _CONFORMAL:
        return conformal_half_width(scores)
    free = n - _GIVEN_UP
    return float(t.ppf(0.5 + COVERAGE / 2, free) * np.sqrt(scores @ scores / free))


def conformal_half_width(scores: Array) -> float:
    """The (n + 1) 0.9-th smallest absolute score, interpolated: covers a further, exchangeable one with 90%.

    Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World" (2005).

    Args:
        scores: errors of held-out points over their predicted standard deviations, (n,), n >= 9.
    """
    n = len(scores)
    return float(np.interp((n + 1) * COVERAGE, np.arange(1, n + 1), np.sort(np.abs(scores))))


def cautious_half_width(errors: Array, expected: float) -> float:
    """90% half width for few errors (n,): Student's t of their root mean square, with a prior worth 4 errors.

    Args:
        errors: errors of held-out points, (n,), n >= 1.
        expected: root mean square error expected before any was seen.
    """
    count = len(errors) + _PRIOR_COUNT
    scale = np.sqrt((errors @ errors + _PRIOR_COUNT * expected**2) / count)
    return float(t.ppf(0.5 + COVERAGE / 2, count - 1) * scale)


def adapted(widening: float, missed: bool) -> float:
    """Log of the factor on the next intervals, after an outcome that its own missed or not.

    Networks that are chosen by what they promise are those that a model overrates, so that intervals which hold for
    others are too narrow. Each miss widens the next intervals, each hit narrows them by a ninth of that (Gibbs &
    Candès, "Adaptive conformal inference under distribution shift", 2021), within a factor of ten.

    Args:
        widening: log of the factor so far; 0 at first.
        missed: whether the outcome lay outside of its 90% interval.
    """
    step = _ADAPTATION * (missed - (1 - COVERAGE))
    return min(max(widening + step, -_MOST_ADAPTED), _MOST_ADAPTED)
