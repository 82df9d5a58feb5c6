"""What a search has spent so far, kept up training by training: adding up a long bill for each choice takes long."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from greennas.carbon import CostEntry
from greennas.energy import Kind
from greennas.results import SearchResult
from greennas.sampler.history import COST, PROBE, PROPOSAL

_KNOWING = 4
"""Trainings after which the dearest of them says what others may cost."""


class Spending:
    """Joules of a search, to hold against its budget, and what a training is expected to take at most.

    Args:
        result: the search so far.
    """

    def __init__(self, result: SearchResult) -> None:
        self._by_kind: defaultdict[str, float] = defaultdict(float)
        self._kinds: set[str | None] = set()
        config = result.config
        self._replayed = config.table is not None
        confirms = config.energy.confirm and not self._replayed
        self._kept_back = config.energy.confirm_share if confirms else 0.0
        self.trainings = 0
        """Number of finished trainings."""
        self.trained_j = 0.0
        """Joules of all finished trainings."""
        self.largest_j = 0.0
        """Joules of the dearest of them."""
        self._timed = 0
        self._seconds_per_joule = 0.0
        self.add(result.cost.entries)
        for trial in result.completed:
            self.add_training(trial.metrics.get(COST), trial.kinds.get(COST))

    def add(self, entries: Iterable[CostEntry]) -> None:
        """Take in what stands on the bill."""
        for entry in entries:
            self._by_kind[str(entry.reading.kind)] += entry.reading.energy_j or 0.0

    def add_training(self, energy_j: float | None, kind: str | None, seconds: float | None = None) -> None:
        """Take in the energy of a finished training, which is on the bill already, and how long all of it took."""
        if energy_j and seconds:
            self._timed += 1
            self._seconds_per_joule = max(self._seconds_per_joule, seconds / energy_j)
        self.trained_j += energy_j or 0.0
        self.largest_j = max(self.largest_j, energy_j or 0.0)
        self._kinds.add(kind)
        self.trainings += 1

    @property
    def spent_j(self) -> float:
        """Joules spent, of the kind that trainings are compared by: kinds do not add up."""
        if self._replayed:
            return self._by_kind[Kind.TABULAR]
        comparable = [joules for kind, joules in self._by_kind.items() if kind in self._kinds]
        # None are before the first training, and where trainings are compared by converted joules.
        return max(comparable or self._by_kind.values(), default=0.0)

    @property
    def typical_j(self) -> float:
        """Joules of a training on average; 0 before any."""
        return self.trained_j / self.trainings if self.trainings else 0.0

    @property
    def with_another_j(self) -> float:
        """Joules spent, kept back to measure the front again, and of one more training, to hold against a budget."""
        return self.spent_j + self._kept_back * self.trained_j + self.typical_j

    def at_most_j(self, known: Mapping[str, Any]) -> float:
        """Joules that a training is reckoned with: its probe, the upper end of its prediction, the dearest so far.

        Infinite while too few have ended to say: what trainings cost is found out one by one.

        Args:
            known: attributes of its trial.
        """
        predicted = known.get(PROPOSAL, {}).get("predicted", {}).get(COST, {})
        found: float | None = known.get(PROBE) or predicted.get("high")
        if found is None:
            found = self.largest_j if self.trainings >= _KNOWING else math.inf
        return found

    def at_most_s(self, known: Mapping[str, Any]) -> float:
        """Seconds that a training is reckoned with: these joules, drawn as slowly as in the slowest training so far.

        Infinite while too few have ended in this session.
        """
        return self.at_most_j(known) * self._seconds_per_joule if self._timed >= _KNOWING else math.inf
