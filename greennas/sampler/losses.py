"""How the strategy sees a metric: as a loss, which is less where the metric is better.

A minimised physical cost (energy, latency, FLOPs) is seen in the logarithm, since its errors are relative. So is the
error that an accuracy leaves, above a few hundredths: among good networks small differences count, among bad ones
large ones do not. Any other metric is seen as it is, negative where it is maximised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greennas.errors import ConfigError

Array = NDArray[np.float64]
_COST = re.compile(r"energy|latency|flops|macs|param|time|second|duration|memory|power|bytes|size|cost|co2|carbon|_ms$")
_ACCURACY = re.compile(r"acc|top_?-?[15]")
_BLUR = 0.02  # share of errors below which differences are luck: without it a perfect score would be infinitely good


def is_cost(metric: str, maximize: bool) -> bool:
    """Whether a metric is a physical cost by its name: positive, predicted from the cost profile, errors relative."""
    return not maximize and _COST.search(metric.lower()) is not None


def loss_of(value: float, maximize: bool, metric: str) -> float:
    """The loss of one value as hypervolumes are reported: logarithm of a cost, negative of a maximised metric.

    Raises:
        ConfigError: a cost that is not positive has no logarithm.
    """
    if not is_cost(metric, maximize):
        return -value if maximize else value
    if value <= 0:
        raise ConfigError(f"The minimised objective {metric} has the value {value}; it has to be above 0.")
    return math.log(value)


def losses_of(values: ArrayLike, maximize: Sequence[bool], metrics: Sequence[str]) -> Array:
    """The losses of many values, shape ``(n, m)``, each column as ``loss_of`` of a metric.

    Raises:
        ConfigError: a cost that is not positive has no logarithm.
    """
    losses = np.array(values, dtype=float).reshape(-1, len(metrics))
    for column, up, metric in zip(losses.T, maximize, metrics, strict=True):
        if not is_cost(metric, up):
            column *= -1 if up else 1
            continue
        if len(column):
            loss_of(column.min(), up, metric)  # refuses what is not positive
        np.log(column, out=column)
    return losses


@dataclass(frozen=True)
class Scale:
    """A metric as the strategy sees it.

    Attributes:
        metric: its name.
        maximize: its direction.
        perfect: of an accuracy the value without an error, 1 or 100; None of other metrics.
    """

    metric: str
    maximize: bool
    perfect: float | None = None

    @classmethod
    def of(cls, metric: str, maximize: bool, values: ArrayLike) -> Scale:
        """The scale of a metric with these values: an accuracy may be a share or in percent."""
        seen = np.asarray(values, dtype=float)
        if not (maximize and _ACCURACY.search(metric.lower()) and len(seen)) or seen.min() < 0 or seen.max() > 100:
            return cls(metric, maximize)
        return cls(metric, maximize, 1.0 if seen.max() <= 1 else 100.0)

    def losses(self, values: ArrayLike) -> Array:
        """Losses of values of any shape.

        Raises:
            ConfigError: a cost that is not positive has no logarithm.
        """
        values = np.asarray(values, dtype=float)
        if self.perfect is not None:
            return np.asarray(np.log(np.maximum(1 - values / self.perfect, 0.0) + _BLUR))
        return losses_of(values, [self.maximize], [self.metric]).reshape(values.shape)

    def value(self, loss: float) -> float:
        """The value of one loss."""
        if self.perfect is not None:
            return float(np.clip(1 - (math.exp(loss) - _BLUR), 0.0, 1.0) * self.perfect)
        if is_cost(self.metric, self.maximize):
            return math.exp(loss)
        return -loss if self.maximize else loss
