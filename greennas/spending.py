"""What a search has spent so far, kept up training by training: adding up a long bill for each choice takes long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from greennas.carbon import CostEntry
from greennas.results import SearchResult
from greennas.sampler.history import COST


class Spending:
    """Joules of a search, to hold against its budget.

    Args:
        result: the search so far.
    """

    def __init__(self, result: SearchResult) -> None:
        self._by_kind: defaultdict[str, float] = defaultdict(float)
        self._kinds: set[str | None] = set()
        self.trainings = 0
        """Number of finished trainings."""
        self.trained_j = 0.0
        """Joules of all finished trainings."""
        self.largest_j = 0.0
        """Joules of the dearest of them."""
        self.add(result.cost.entries)
        for trial in result.completed:
            self.add_training(trial.metrics.get(COST), trial.kinds.get(COST))

    def add(self, entries: Iterable[CostEntry]) -> None:
        """Take in what stands on the bill."""
        for entry in entries:
            self._by_kind[str(entry.reading.kind)] += entry.reading.energy_j or 0.0

    def add_training(self, energy_j: float | None, kind: str | None) -> None:
        """Take in the energy of a finished training, which is on the bill already."""
        self.trained_j += energy_j or 0.0
        self.largest_j = max(self.largest_j, energy_j or 0.0)
        self._kinds.add(kind)
        self.trainings += 1

    @property
    def spent_j(self) -> float:
        """Joules spent, of the kind that trainings are compared by: kinds do not add up."""
        comparable = [joules for kind, joules in self._by_kind.items() if kind in self._kinds]
        # None are before the first training, and where trainings are compared by converted joules.
        return max(comparable or self._by_kind.values(), default=0.0)

    @property
    def typical_j(self) -> float:
        """Joules of a training on average; 0 before any."""
        return self.trained_j / self.trainings if self.trainings else 0.0
