"""A table as a problem to search: evaluations with their joules, and figures of merit of what was evaluated when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greennas.pareto import hypervolume, is_non_dominated
from greennas.space import SearchSpace, load_space
from greennas.tabular import Table, read_ec_nas
from greennas.tabular.table import JOULES

Array = NDArray[np.float64]
KWH = JOULES["kwh"]
MARGIN = 0.1  # of the true front's range, beyond its worst point


@dataclass(frozen=True)
class Problem:
    """Error (1 - accuracy) and training energy of every architecture of a table.

    The truth of an architecture is the mean of its repeats; an evaluation draws one of them.
    """

    name: str
    table: Table
    batch_size: int = 256

    @property
    def space(self) -> SearchSpace:
        """The search space of the table."""
        return self.table.space

    @cached_property
    def truth(self) -> dict[str, tuple[float, float]]:
        """Error and kWh by architecture."""
        return {
            key: (
                1 - float(np.mean([row["accuracy"] for row in rows])),
                float(np.mean([self.table.energy_j(row) for row in rows])) / KWH,
            )
            for key, rows in self.table.rows.items()
        }

    @cached_property
    def points(self) -> Array:
        """Truth of all architectures, (n, 2)."""
        return np.array(list(self.truth.values()))

    @cached_property
    def tight_reference(self) -> Array:
        """Error and log kWh: the true front's worst value plus a tenth of its range."""
        losses = _logged(self.points)
        front = losses[is_non_dominated(losses)]
        return np.asarray(front.max(axis=0) + MARGIN * np.ptp(front, axis=0))

    @cached_property
    def loose_reference(self) -> Array:
        """Error 100% and the largest energy of the table, linear."""
        return np.array([1.0, self.points[:, 1].max()])

    @cached_property
    def best_volumes(self) -> tuple[float, float]:
        """Hypervolume of the whole table, tight and loose."""
        tight = hypervolume(_logged(self.points), self.tight_reference)
        return tight, hypervolume(self.points, self.loose_reference)

    @cached_property
    def bargain_points(self) -> int:
        """Fewest whole points of accuracy below the best within which half of its energy is enough."""
        best = self.points[np.argmin(self.points[:, 0])]
        half = self.points[self.points[:, 1] <= best[1] / 2]
        return int(np.ceil(100 * (half[:, 0].min() - best[0]) - 1e-9))

    def is_bargain(self, error: float, kwh: float) -> bool:
        """Within ``bargain_points`` of the best accuracy at half of that architecture's energy or less."""
        best = self.points[np.argmin(self.points[:, 0])]
        return bool(error <= best[0] + self.bargain_points / 100 and kwh <= best[1] / 2)


class OutOfBudgetError(Exception):
    """The budget of evaluations is used up."""


@dataclass
class Recorder:
    """One search: what it evaluates, and what that costs."""

    problem: Problem
    seed: int
    trials: int
    ids: list[str] = field(default_factory=list)
    spent_kwh: list[float] = field(default_factory=list)
    extra_kwh: float = 0.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 7])
        self._known: dict[str, tuple[float, float]] = {}

    def evaluate(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Accuracy and joules of a training; of one that was done before, what it gave then, for nothing.

        Raises:
            OutOfBudgetError: no training is left.
        """
        key = self.problem.space.architecture(params).id
        if key not in self._known:
            self._known[key] = self.train(params)
        return self._known[key]

    def train(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Accuracy and joules of one more training.

        Raises:
            OutOfBudgetError: no training is left.
        """
        if len(self.ids) >= self.trials:
            raise OutOfBudgetError
        row = self.problem.table.draw(params, self._rng)
        assert row is not None, "these tables are complete"
        joules = self.problem.table.energy_j(row)
        assert joules is not None
        self.ids.append(self.problem.space.architecture(params).id)
        self.spent_kwh.append((self.spent_kwh[-1] if self.spent_kwh else 0.0) + joules / KWH + self.extra_kwh)
        self.extra_kwh = 0.0
        return row["accuracy"], joules

    def probe(self, params: Mapping[str, Any], noise: float, share: float) -> float:
        """Joules of the training under relative noise, for a share of them."""
        row = self.problem.table.draw(params, self._rng)
        assert row is not None
        joules = self.problem.table.energy_j(row)
        assert joules is not None
        self.extra_kwh += share * joules / KWH
        return joules * float(np.exp(noise * self._rng.standard_normal()))

    def figures(self) -> dict[str, Any]:
        """Curves and figures of merit; None where something was not reached."""
        points = np.array([self.problem.truth[key] for key in self.ids])
        spent = np.array(self.spent_kwh)
        tight = _curve(_logged(points), self.problem.tight_reference) / self.problem.best_volumes[0]
        loose = _curve(points, self.problem.loose_reference) / self.problem.best_volumes[1]
        bargains = [self.problem.is_bargain(*point) for point in points]

        def first(reached: Callable[[int], bool]) -> int | None:
            return next((i for i in range(len(points)) if reached(i)), None)

        found: dict[str, Any] = {"tight": tight.round(5).tolist(), "loose": loose.round(5).tolist()}
        found["kwh"] = spent.round(6).tolist()
        events = {
            "95": first(lambda i: tight[i] >= 0.95),
            "99": first(lambda i: tight[i] >= 0.99),
            "bargain": first(lambda i: bargains[i]),
            "loose99": first(lambda i: loose[i] >= 0.99),
        }
        for name, index in events.items():
            found[f"kwh_{name}"] = None if index is None else float(spent[index])
            found[f"trials_{name}"] = None if index is None else index + 1
        return found


def load(name: str, data: Path) -> Problem:
    """EC-NAS ``5V`` or ``4V``, 4 epochs, measured."""
    space = load_space("nasbench101", vertices=int(name[0]))
    return Problem(name, read_ec_nas(data / "nasbench-data-4epochs.tar.gz", space))


def _logged(points: Array) -> Array:
    return np.column_stack([points[:, 0], np.log(points[:, 1])])


def _curve(losses: Array, reference: Array) -> Array:
    """Hypervolume after each point, (n,); only a point that is not dominated can change it."""
    volumes, front = [], np.zeros((0, losses.shape[1]))
    volume = 0.0
    for point in losses:
        if not np.any(np.all(front <= point, axis=1)):
            front = np.vstack([front[~np.all(point <= front, axis=1)], point])
            volume = hypervolume(front, reference)
        volumes.append(volume)
    return np.array(volumes)
