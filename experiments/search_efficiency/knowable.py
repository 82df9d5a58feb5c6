"""What can be known of a table's accuracies before a training: what most other networks of the table say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from problem import Problem

from greennas.predictors import AccuracyPredictor
from greennas.sampler.losses import Scale

Array = NDArray[np.float64]
ERROR = Scale("accuracy", True, 1.0)
"""Of accuracies, as the strategy sees them."""
_FOLDS = 10
_ALIKE = 5  # groups of networks by their expected error
_FEWEST = 30  # networks of a group


@dataclass(frozen=True)
class Knowable:
    """Losses of a table's networks, as ``ERROR`` has them, and what of them can be predicted.

    Attributes:
        keys: the networks' ids, (n).
        expected: the loss of each, predicted by the accuracy predictor from nine tenths of the table, it not
            among them, (n,).
        losses: what its training gave, (n,).
    """

    keys: tuple[str, ...]
    expected: Array
    losses: Array

    @property
    def explained(self) -> float:
        """Share of the variance of the losses that is predicted."""
        return float(1 - np.var(self.losses - self.expected) / np.var(self.losses))

    @property
    def alike(self) -> list[NDArray[np.intp]]:
        """Positions of networks of about the same expected loss, a group each."""
        return np.array_split(np.argsort(self.expected), max(1, min(_ALIKE, len(self.keys) // _FEWEST)))

    @property
    def told(self) -> Mapping[str, tuple[float, float]]:
        """Of each network, the loss to expect, and the standard deviation of what is left; unbiased in each group."""
        rest = self.losses - self.expected
        return {
            self.keys[i]: (float(self.expected[i] + rest[group].mean()), float(rest[group].std()))
            for group in self.alike
            for i in group
        }


@cache
def knowable(problem: Problem) -> Knowable:
    """What can be known of a problem's accuracies; of one that was made from another, of that one's."""
    if problem.made_from is not None:
        return knowable(problem.made_from)
    keys = sorted(problem.table.rows)
    losses = ERROR.losses([1 - problem.truth[key][0] for key in keys])
    x = _features(problem, keys)
    fold = np.random.default_rng(0).permutation(len(keys)) % _FOLDS
    expected = np.zeros(len(keys))
    for number in range(_FOLDS):
        others = fold != number
        expected[~others] = AccuracyPredictor().fit(x[others], losses[others]).predict(x[~others]).mean
    return Knowable(tuple(keys), expected, losses)


def _features(problem: Problem, keys: Sequence[str]) -> Array:
    """Of networks, (n, d): the space's features, or the parameters one-hot, beside the logarithms of the costs."""
    said = []
    for key in keys:
        params = problem.table.params[key]
        named = problem.space.features(params)
        said.append(dict(named) if named is not None else {f"{k}={v}": 1.0 for k, v in params.items()})
    names = sorted(set().union(*said))
    shape, classes, batch = problem.input_shape, problem.num_classes, problem.batch_size
    costs = [problem.space.profile(problem.table.params[key], shape, classes, batch).features() for key in keys]
    return np.hstack([np.array([[each.get(name, 0.0) for name in names] for each in said]), np.log1p(np.stack(costs))])
