"""Limits on what a network may cost or has to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A metric's limit: the most of a cost, the least of a metric to maximise.

    Attributes:
        metric: name of the metric.
        value: in the metric's unit.
        maximize: the metric is to be high, so that ``value`` is its least.
    """

    metric: str
    value: float
    maximize: bool

    def excess(self, value: float) -> float:
        """By how much ``value`` misses the limit; 0 or less where it keeps it, as Optuna counts constraints."""
        return self.value - value if self.maximize else value - self.value


def limits(
    max_energy_j: float | None = None,
    min_accuracy: float | None = None,
    max_latency_ms: float | None = None,
    max_parameters: float | None = None,
) -> tuple[Limit, ...]:
    """The limits that are given: on train_energy_j, accuracy, latency_ms and parameters."""
    given = (
        ("train_energy_j", max_energy_j, False),
        ("accuracy", min_accuracy, True),
        ("latency_ms", max_latency_ms, False),
        ("parameters", max_parameters, False),
    )
    return tuple(Limit(metric, value, up) for metric, value, up in given if value is not None)


def within(allowed: tuple[Limit, ...], metrics: Mapping[str, float | None]) -> bool:
    """Whether known metrics keep all limits; an unknown metric keeps none."""
    return all(_keeps(limit, metrics.get(limit.metric)) for limit in allowed)


def _keeps(limit: Limit, value: float | None) -> bool:
    return value is not None and math.isfinite(value) and limit.excess(value) <= 0
