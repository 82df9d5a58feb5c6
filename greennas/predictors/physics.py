"""Physical model of training energy: a price for each unit of work, traffic and launches.

Energy is close to a non-negative sum of few terms per trained example: joules per FLOP (other for 3x3
and for other convolutions, which reach different throughputs), per byte moved, per operator launched, and
per such 3x3 convolution launched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from greennas.predictors.gaussian_process import Array
from greennas.profile import FEATURE_NAMES, CostProfile
from greennas.walk import OP_KINDS

PRIOR_PRICES: Mapping[str, Array] = {
    "cuda": np.array([1.0, 3.0, 28.0, 3.1e9, 9.3e9]),
    "cpu": np.array([1.0, 3.6, 13.0, 1e7, 1e7]),
}
"""Prices of the terms relative to a FLOP of a 3x3 convolution, before anything is measured, by type of device:
non-negative least squares of relative errors. ``cuda``: the 273 trainings of EC-NAS-Bench's 4-vertex cells (Quadro RTX
6000, batches of 256). ``cpu``: 48 networks of the four built-in spaces on an AMD EPYC core in batches of 64
(``experiments/energy_predictor/prices.py``); a launch costs far less beside the work of a core than beside a GPU's."""

_TERMS = 5
_PRIOR_STRENGTH = 0.1  # squared: relative error of a measurement over that of a prior price
_HUBER = 1.5  # residuals beyond so many robust standard deviations lose weight


def physical_terms(profiles: Sequence[CostProfile]) -> Array:
    """Costs of one example, (n, 5): FLOPs of dense 3x3 and larger convolutions, other FLOPs, bytes, launches of all
    operators and those of the convolutions of the first term, which cost more each the smaller they are.
    """
    return _rows(profiles, _terms, _TERMS)


def cost_features(profiles: Sequence[CostProfile]) -> Array:
    """Entries of ``CostProfile.features()``, then bytes per launch and FLOPs per byte of each kind of operator, (n, d).

    The ratios say how large and how dense operators are on average, on which their efficiency depends.
    """
    return _rows(profiles, _features, len(FEATURE_NAMES) + 2 * len(OP_KINDS))


def _terms(p: CostProfile) -> list[float]:
    large = p.flops.get("conv3x3", 0.0) + p.flops.get("conv_large", 0.0)
    moved = p.activation_bytes + p.weight_bytes / p.batch_size
    launches = p.kernels.get("conv3x3", 0) + p.kernels.get("conv_large", 0)
    return [large, p.total_flops - large, moved, p.num_kernels / p.batch_size, launches / p.batch_size]


def _features(p: CostProfile) -> list[float]:
    per_launch = [p.bytes.get(kind, 0.0) / max(p.kernels.get(kind, 0), 1) for kind in OP_KINDS]
    per_byte = [p.flops.get(kind, 0.0) / max(p.bytes.get(kind, 0.0), 1.0) for kind in OP_KINDS]
    return [*p.features(), *per_launch, *per_byte]


def _rows(profiles: Sequence[CostProfile], row: Callable[[CostProfile], list[float]], width: int) -> Array:
    """One row a profile, kept with it as a cached property is: a search predicts the same networks many times."""
    rows = []
    for profile in profiles:
        kept = vars(profile)
        if row.__name__ not in kept:
            kept[row.__name__] = np.array(row(profile), dtype=np.float64)
        rows.append(kept[row.__name__])
    return np.concatenate([np.zeros(0), *rows]).reshape(len(profiles), width)


def feature_units(raw: Array) -> Array:
    """Unit of each cost feature, (d,), given a sample (n, d): around it log1p(feature / unit) is linear."""
    unit = 3 * np.maximum(np.median(raw, axis=0), 0.2 * raw.mean(axis=0))
    return np.where(unit > 0, unit, 1.0)


def physical_score(terms: Array, prices: Array) -> Array:
    """Energy of physical terms (n, 5) in equivalents of a 3x3-convolution FLOP, (n,): ranks without a measurement."""
    return np.asarray(terms @ prices)


def fit_prices(terms: Array, joules: Array, weights: Array, prior_prices: Array) -> Array:
    """Joules per unit of each term, (5,): robust non-negative least squares of the relative errors.

    Ridge towards the prior prices times one scale, so that a single measurement is enough; Huber weights.

    Args:
        terms: physical terms, (n, 5), n >= 1.
        joules: measured energies, (n,), positive.
        weights: weight of each measurement, (n,).
        prior_prices: prices up to one factor, (5,); those at 0 stay there.
    """
    scale = np.exp(np.average(np.log(joules / physical_score(terms, prior_prices)), weights=weights))
    unit = scale * prior_prices
    design = terms * unit / joules[:, None]  # share of the measured energy that each term explains
    prior = np.sqrt(_PRIOR_STRENGTH) * np.eye(len(unit))
    robust = np.ones(len(joules))
    solution = np.ones(len(unit))
    for _ in range(5):
        root = np.sqrt(weights * robust)
        solution, _ = nnls(np.vstack([design * root[:, None], prior]), np.append(root, prior.sum(axis=1)))
        error = np.abs(design @ solution - 1)
        spread = 1.4826 * np.median(error) + 1e-9
        robust = np.minimum(1.0, _HUBER * spread / np.maximum(error, 1e-12))
    return np.asarray(solution * unit)
