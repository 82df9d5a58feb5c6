"""Growing budgets: which trainings go on after a rung."""

from __future__ import annotations

import math

import numpy as np

from greennas.pareto import non_domination_rank
from greennas.trainer import RungReport


class RungKeeper:
    """Asynchronous successive halving on non-domination rank, in its stopping variant.

    Trainings that have reached a rung are ranked by validation accuracy and by the time that it took them (all
    have done the same number of epochs, so that their times compare as their energies do). A training goes on if
    it is among the best ``keep`` of those seen at the rung so far; the first ``grace`` always go on.

    Source: ASHA (Li et al. 2020) with the ranking of MO-ASHA (Schmucker et al. 2021).

    Args:
        keep: share that goes on, above 0 to 1.
        grace: how many of the first go on in any case.
    """

    def __init__(self, keep: float, grace: int) -> None:
        self._keep = keep
        self._grace = grace
        self._seen: dict[float, list[tuple[float, float]]] = {}

    def go_on(self, report: RungReport) -> bool:
        """Take note of a training at a rung and say whether it goes on."""
        losses = self._seen.setdefault(report.epoch, [])
        losses.append((-report.accuracy, report.seconds))
        if len(losses) <= self._grace:
            return True
        ranks = non_domination_rank(np.array(losses))
        # Within a rank the more accurate goes first.
        order = sorted(range(len(losses)), key=lambda i: (ranks[i], losses[i]))
        return order.index(len(losses) - 1) < math.ceil(self._keep * len(losses))
