"""Which few networks to measure first: spread over what networks cost, yet each as likely as any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from greennas.predictors.gaussian_process import Array
from greennas.predictors.physics import cost_features, feature_units
from greennas.profile import CostProfile

_FEWEST = 1e-9  # a feature with less spread says nothing
_CERTAIN = 1e-9  # probabilities so close to 0 or 1 are these


def choose_spread(profiles: Sequence[CostProfile], count: int, seed: int = 0) -> list[int]:
    """Indices of ``count`` of the profiles, ascending, by the local pivotal method on their costs.

    Each is chosen with the same probability, so that errors on the chosen ones tell those on all; two that cost
    alike are seldom chosen both, so that few of them stand for all. Distances are between standardised cost features on
    the energy predictor's scale. Grafström, Lundström & Schelin, "Spatially Balanced Sampling through the Pivotal
    Method", Biometrics 68 (2012), second variant.

    Args:
        profiles: what can be measured; a few thousand at most.
        count: how many to choose, 1 or more; all where there are fewer.
        seed: of the choice.
    """
    if count >= len(profiles):
        return list(range(len(profiles)))
    rng = np.random.default_rng(seed)
    x = _standardised(profiles)
    probability = np.full(len(x), count / len(x))
    open_ = np.arange(len(x))  # not yet decided
    while len(open_) > 1:
        one = rng.choice(open_)
        distances = ((x[open_] - x[one]) ** 2).sum(axis=1)
        distances[open_ == one] = np.inf
        other = rng.choice(open_[distances <= distances.min() + _CERTAIN])
        both = probability[one] + probability[other]
        # One of the two takes as much of both probabilities as it can, so that at least one is decided.
        most = min(both, 1.0)
        wins = rng.random() * (2 * most - both) < most - probability[other]
        probability[one], probability[other] = (most, both - most) if wins else (both - most, most)
        open_ = open_[(probability[open_] > _CERTAIN) & (probability[open_] < 1 - _CERTAIN)]
    return np.flatnonzero(probability > 0.5).tolist()


def _standardised(profiles: Sequence[CostProfile]) -> Array:
    raw = cost_features(profiles)
    inputs = np.log1p(raw / feature_units(raw))
    spread = inputs.std(axis=0)
    return np.asarray(((inputs - inputs.mean(axis=0)) / np.where(spread > _FEWEST, spread, np.inf)).clip(-5, 5))
