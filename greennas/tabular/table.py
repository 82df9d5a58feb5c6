"""A table of architectures with the metrics of their trainings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from greennas.architecture import Params
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import DataError, InvalidArchitectureError
from greennas.space import SearchSpace

JOULES = {"j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3.6e3, "kwh": JOULES_PER_KWH}
"""Units of an energy column, as the end of its name; ``mj`` is millijoules, and only ``MJ`` is megajoules."""

Row = Mapping[str, float]
Given = TypeVar("Given")


@dataclass(frozen=True)
class Table:
    """Trainings that somebody has done, by architecture.

    Attributes:
        name: for people.
        space: the search space of the architectures.
        params: canonical id to parameters.
        rows: canonical id to the metrics of each of its trainings.
        skipped: why rows were left out, and how many: their architecture is not of the space, such as a cell without a
            path from input to output.
        energy: column with what a training cost, which a replay is charged; its name ends in its unit
            (``_j``, ``_mj`` for millijoules, ``_kj``, ``_wh``, ``_kwh``; also as in ``energy (kWh)``). None: a replay
            costs nothing that is known.
        epochs: passes over the train split of a training; None where the table does not say.
    """

    name: str
    space: SearchSpace
    params: Mapping[str, Params]
    rows: Mapping[str, tuple[Row, ...]] = field(repr=False)
    skipped: Mapping[str, int] = field(default_factory=dict)
    energy: str | None = None
    epochs: int | None = None

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
        return None if value is None or unit is None else value * unit


def unit_j(column: str) -> float | None:
    """Joules in one unit of a column, by the end of its name; None for a column that is no energy."""
    words = re.findall("[A-Za-z]+", column)
    if "energy" not in column.lower():
        return None
    return 1e6 if words[-1] == "MJ" else JOULES.get(words[-1].lower())


def energy_column(columns: Iterable[str]) -> str | None:
    """The column that is taken as the cost of a training: ``train_energy_*`` before other energies."""
    found = [name for name in columns if unit_j(name) is not None]
    return min(found, key=lambda name: (not name.startswith("train_energy"), len(name), name), default=None)


def make_table(
    name: str,
    space: SearchSpace,
    trainings: Iterable[tuple[Given, Row]],
    params_of: Callable[[Given], Params],
    energy: str | None = None,
    epochs: int | None = None,
) -> Table:
    """A table of ``trainings``: architectures and metrics, of which the finite ones count.

    Args:
        name: for people.
        space: of the architectures.
        trainings: in any order; several of one architecture are its repeats. An ``accuracy`` in percent becomes
            a share of 1.
        params_of: parameters of an architecture as ``trainings`` gives it; raises ``InvalidArchitectureError`` for
            what is none of the space.
        energy: see ``Table``; None for ``energy_column`` of what there is.
        epochs: see ``Table``.

    Raises:
        DataError: nothing usable in it, or a negative energy.
    """
    params: dict[str, Params] = {}
    rows: dict[str, list[Row]] = {}
    skipped: Counter[str] = Counter()
    for given, metrics in trainings:
        try:
            found = params_of(given)
            architecture_id = space.architecture(found).id
        except InvalidArchitectureError as error:
            skipped[str(error)] += 1
            continue
        except (LookupError, TypeError, ValueError) as error:  # a space's own canonical form of other parameters
            skipped[f"{found!r} is not of the space ({error!r})."] += 1
            continue
        params.setdefault(architecture_id, found)
        rows.setdefault(architecture_id, []).append({k: v for k, v in metrics.items() if math.isfinite(v)})
    if not rows and not skipped:
        raise DataError(f"{name} has no trainings; check the file.")
    if not rows:
        raise DataError(
            f"No row of {name} is an architecture of the space {space.name}; the first: {next(iter(skipped))}"
        )
    if any(row.get("accuracy", 0.0) > 1 for group in rows.values() for row in group):  # percent
        rows = {k: [{**r, **_fraction(r)} for r in group] for k, group in rows.items()}
    columns = sorted({key for group in rows.values() for row in group for key in row})
    energy = energy or energy_column(columns)
    if any(row.get(energy or "", 0.0) < 0 for group in rows.values() for row in group):
        raise DataError(
            f"The column {energy} of {name} has negative energies; mend them, or name another energy column."
        )
    grouped = {key: tuple(group) for key, group in rows.items()}
    return Table(name, space, params, grouped, skipped, energy, epochs)


def _fraction(row: Row) -> dict[str, float]:
    return {"accuracy": row["accuracy"] / 100} if "accuracy" in row else {}
