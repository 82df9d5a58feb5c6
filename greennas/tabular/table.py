"""A table of architectures with the metrics of their trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from greennas.architecture import Params
from greennas.errors import DataError, InvalidArchitectureError
from greennas.space import SearchSpace

JOULES = {"j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3.6e3, "kwh": 3.6e6}
"""Units of an energy column, as the end of its name; ``mj`` is millijoules."""

Row = Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """Trainings that somebody has done, by architecture.

    Attributes:
        name: for people.
        space: the search space of the architectures.
        params: canonical id to parameters.
        rows: canonical id to the metrics of each of its trainings.
        skipped: rows whose architecture is not of the space, such as cells without a path from input to output.
        energy: column with what a training cost, which a replay is charged; its name ends in its unit
            (``_j``, ``_mj`` for millijoules, ``_kj``, ``_wh``, ``_kwh``). None: a replay costs nothing that is known.
    """

    name: str
    space: SearchSpace
    params: Mapping[str, Params]
    rows: Mapping[str, tuple[Row, ...]] = field(repr=False)
    skipped: int = 0
    energy: str | None = None

    def __post_init__(self) -> None:
        if self.energy is not None and (self.energy not in self.columns or unit_j(self.energy) is None):
            raise DataError(
                f"{self.energy!r} is no energy column of {self.name}; name one that ends in its unit, "
                f"as in energy_j, energy_mj or energy_kwh, out of: {', '.join(self.columns)}."
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the metrics, sorted."""
        return tuple(sorted({name for rows in self.rows.values() for row in rows for name in row}))

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, params: Params, rng: np.random.Generator) -> Row | None:
        """The metrics of one training of ``params``, drawn from its repeats; None where the table has none."""
        try:
            rows = self.rows.get(self.space.architecture(params).id, ())
        except InvalidArchitectureError:
            return None
        return rows[int(rng.integers(len(rows)))] if rows else None

    def energy_j(self, row: Row) -> float | None:
        """What the training of ``row`` cost, in joules; None where the table does not say."""
        if self.energy is None:
            return None
        value, unit = row.get(self.energy), unit_j(self.energy)
        return None if value is None or unit is None or not value >= 0 else value * unit


def unit_j(column: str) -> float | None:
    """Joules in one unit of a column, by the end of its name; None for a column that is no energy."""
    return JOULES.get(column.lower().rpartition("_")[2]) if "energy" in column.lower() else None


def energy_column(columns: Iterable[str]) -> str | None:
    """The column that is taken as the cost of a training: ``train_energy_*`` before other energies."""
    found = [name for name in columns if unit_j(name) is not None]
    return min(found, key=lambda name: (not name.startswith("train_energy"), len(name), name), default=None)


def make_table(
    name: str, space: SearchSpace, trainings: Iterable[tuple[Params | None, Row]], energy: str | None = None
) -> Table:
    """A table of ``trainings``: parameters (None: not of the space) and metrics, of which the finite ones count.

    Args:
        name: for people.
        space: of the architectures.
        trainings: in any order; several of one architecture are its repeats. An ``accuracy`` in percent becomes
            a share of 1.
        energy: see ``Table``; None for ``energy_column`` of what there is.

    Raises:
        DataError: nothing usable in it.
    """
    params: dict[str, Params] = {}
    rows: dict[str, list[Row]] = {}
    skipped = 0
    for given, metrics in trainings:
        try:
            if given is None:
                raise InvalidArchitectureError("")
            architecture_id = space.architecture(given).id
        except (InvalidArchitectureError, KeyError, TypeError, ValueError):
            skipped += 1
            continue
        params.setdefault(architecture_id, given)
        rows.setdefault(architecture_id, []).append({k: v for k, v in metrics.items() if math.isfinite(v)})
    if not rows:
        raise DataError(f"No row of {name} is an architecture of the space {space.name}; check the space's options.")
    if any(row.get("accuracy", 0.0) > 1 for group in rows.values() for row in group):  # percent
        rows = {k: [{**r, **_fraction(r)} for r in group] for k, group in rows.items()}
    columns = sorted({key for group in rows.values() for row in group for key in row})
    grouped = {key: tuple(group) for key, group in rows.items()}
    return Table(name, space, params, grouped, skipped, energy or energy_column(columns))


def _fraction(row: Row) -> dict[str, float]:
    return {"accuracy": row["accuracy"] / 100} if "accuracy" in row else {}
