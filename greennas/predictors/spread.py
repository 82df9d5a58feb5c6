"""Which few networks to measure first: spread over what networks cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from greennas.predictors.physics import cost_features, feature_units
from greennas.profile import CostProfile

_FEWEST = 1e-9  # a feature with less spread says nothing


def choose_spread(profiles: Sequence[CostProfile], count: int, seed: int = 0) -> list[int]:
    """Indices of up to ``count`` different profiles, ascending: of each cluster by k-means the one nearest its centre.

    Clusters are of the standardised cost features, on the energy predictor's scale. For the first 10 to 20: more of
    such typical networks are easier to predict than others, so that intervals from their errors become too narrow.

    Args:
        profiles: what can be measured; a few thousand at most.
        count: how many to choose, 1 or more.
        seed: of the clusters' beginnings.
    """
    if count >= len(profiles):
        return list(range(len(profiles)))
    raw = cost_features(profiles)
    inputs = np.log1p(raw / feature_units(raw))
    spread = inputs.std(axis=0)
    x = ((inputs - inputs.mean(axis=0)) / np.where(spread > _FEWEST, spread, np.inf)).clip(-5, 5)
    centres = KMeans(count, n_init=1, random_state=seed).fit(x).cluster_centers_
    distances = ((x[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return sorted({int(i) for i in distances.argmin(axis=0)})
