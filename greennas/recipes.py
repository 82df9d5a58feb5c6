"""Recipe book: a table of architectures and their costs, and what one wants to know from it.

    book = RecipeBook.read("cells.parquet")
    best = book.best("accuracy", under={"energy_j": 5000})
    cheaper = book.changes(best["id"])

Any CSV or Parquet file with a row an architecture will do; ``table build`` makes such files for a whole space.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greennas.errors import DataError, GreenNASError, bare_reason
from greennas.space import load_space

Row = dict[str, Any]
Array = NDArray[np.float64]
_MAXIMISED = ("acc", "auc", "f1", "iou", "score")
"""Parts of the names of columns of which more is better; of any other, less is."""
_NOT_SCORES = ("physical_score",)
_IDS = ("id", "architecture_id", "canonical", "hash")


class RecipeError(GreenNASError):
    """A recipe book has not what was asked for."""


@dataclass(frozen=True, eq=False)
class RecipeBook:
    """A table of architectures.

    Attributes:
        name: for people.
        numbers: columns of numbers by name, each (n,); NaN where a row has none.
        texts: the other columns by name, n values each.
    """

    name: str
    numbers: Mapping[str, Array] = field(repr=False)
    texts: Mapping[str, Sequence[Any]] = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> RecipeBook:
        """Read ``.csv`` or ``.parquet`` (which needs pyarrow).

        Raises:
            DataError: no such file, another format, or no rows.
        """
        path = Path(path)
        if path.suffix == ".parquet":
            numbers, texts = _parquet(path)
        elif path.suffix == ".csv":
            numbers, texts = _csv(path)
        else:
            raise DataError(f"{path} is neither .csv nor .parquet; give a table of one of these formats.")
        if not numbers or not len(next(iter(numbers.values()))):
            raise DataError(f"The table {path} has no rows with numbers; check the file.")
        return cls(path.name, numbers, texts)

    def __len__(self) -> int:
        return len(next(iter(self.numbers.values())))

    def best(self, metric: str, under: Mapping[str, float] | None = None, count: int = 1) -> Any:
        """The row with the best ``metric`` among those with no more than ``under`` of each column.

        Args:
            metric: a column, or the end of one's name.
            under: columns to their limits.
            count: 1 gives a row; more gives a list of rows, the best first.

        Raises:
            RecipeError: no such column, or no row within the limits.
        """
        losses = self._losses(metric)
        allowed = np.flatnonzero(self._within(under) & np.isfinite(losses))
        if not len(allowed):
            limits = ", ".join(f"{name} <= {limit:g}" for name, limit in (under or {}).items())
            least = ", ".join(f"{self.column(n)} {np.nanmin(self.numbers[self.column(n)]):.6g}" for n in under or {})
            raise RecipeError(f"No row of {self.name} has {metric} with {limits}; the least there is: {least}.")
        order = allowed[np.argsort(losses[allowed], kind="stable")]
        rows = [self.row(i) for i in order[:count]]
        return rows[0] if count == 1 else rows

    def front(self, metric: str, cost: str | None = None, under: Mapping[str, float] | None = None) -> list[Row]:
        """Rows that no other beats in ``metric`` without costing more, the cheapest first."""
        losses, costs = self._losses(metric), self.numbers[self.cost(cost)]
        usable = np.flatnonzero(self._within(under) & np.isfinite(losses) & np.isfinite(costs))
        order = usable[np.lexsort((losses[usable], costs[usable]))]
        before = np.concatenate([[np.inf], np.minimum.accumulate(losses[order])[:-1]]) if len(order) else losses[order]
        return [self.row(i) for i in order[losses[order] < before]]

    def cheapest_within(
        self, share: float, metric: str, cost: str | None = None, under: Mapping[str, float] | None = None
    ) -> Row:
        """The cheapest row whose ``metric`` is at most ``share`` (0.01: one percent of it) worse than the best."""
        best = self.best(metric, under)[self.column(metric)]
        losses, costs = self._losses(metric), self.numbers[self.cost(cost)]
        limit = (-best if self.maximised(metric) else best) + share * abs(best)
        allowed = np.flatnonzero(self._within(under) & (losses <= limit) & np.isfinite(costs))
        if not len(allowed):
            raise RecipeError(f"{self.name} gives no {self.cost(cost)} for any row with such {metric}; fill it in.")
        return self.row(allowed[np.argmin(costs[allowed])])

    def changes(
        self,
        id_: str,
        cost: str | None = None,
        metric: str | None = None,
        under: Mapping[str, float] | None = None,
    ) -> list[Row]:
        """Rows that are one change away from an architecture and cost less, the one that saves most first.

        Each row also has ``change`` (words), ``saves`` (in the unit of ``cost``) and ``saves_share``; with ``metric``
        the rows also have to be as good as the architecture in it, and with ``under`` to keep the limits.

        Raises:
            RecipeError: no such architecture, or rows without the parameters that say what differs.
        """
        column = self.cost(cost)
        here = self.find(id_)
        costs = self.numbers[column]
        losses = None if metric is None else self._losses(metric)
        allowed = self._within(under)
        found: dict[int, str] = {}
        for change, i in self._neighbours(here):
            better = costs[i] < costs[here] and (losses is None or losses[i] <= losses[here])
            if better and allowed[i] and i != here:
                found.setdefault(i, change)
        order = sorted(found, key=lambda i: float(costs[i]))
        saved = {i: float(costs[here] - costs[i]) for i in order}
        return [
            {**self.row(i), "change": found[i], "saves": saved[i], "saves_share": saved[i] / float(costs[here])}
            for i in order
        ]

    def find(self, id_: str) -> int:
        """Number of the row with this id or canonical hash."""
        for column in _IDS:
            if id_ in self._positions(column):
                return self._positions(column)[id_]
        raise RecipeError(f"{self.name} has no architecture {id_!r}; give one of its ids.")

    def row(self, i: int) -> Row:
        """Row number ``i``: what is known of it."""
        texts = {name: values[i] for name, values in self.texts.items() if values[i] not in ("", None)}
        return texts | {name: float(values[i]) for name, values in self.numbers.items() if np.isfinite(values[i])}

    def column(self, name: str) -> str:
        """The column of this name, or the first whose name ends with it.

        Raises:
            RecipeError: there is none.
        """
        found = [column for column in self.numbers if column == name]
        found += [column for column in self.numbers if column.endswith(f"_{name}")]
        if not found:
            raise RecipeError(f"{self.name} has no column {name!r} of numbers; it has: {', '.join(self.numbers)}.")
        return found[0]

    def cost(self, name: str | None) -> str:
        """The column of the cost: ``name``, else the first of energy, else of FLOPs."""
        if name is not None:
            return self.column(name)
        for word in ("train_energy", "energy", "physical_score", "flops"):
            for column in self.numbers:
                if word in column.lower() and not column.endswith(("_low", "_high")):
                    return column
        raise RecipeError(f"{self.name} has no column of energy; say with --cost which column is the cost.")

    def maximised(self, metric: str) -> bool:
        """Whether more of a column is better, by its name."""
        column = self.column(metric).lower()
        return column not in _NOT_SCORES and any(part in column for part in _MAXIMISED)

    def _losses(self, metric: str) -> Array:
        values = self.numbers[self.column(metric)]
        return -values if self.maximised(metric) else values

    def _within(self, under: Mapping[str, float] | None) -> NDArray[np.bool_]:
        mask = np.ones(len(self), dtype=bool)
        for name, limit in (under or {}).items():
            mask &= self.numbers[self.column(name)] <= limit
        return mask

    @cached_property
    def _indices(self) -> dict[str, dict[Any, int]]:
        return {}

    def _positions(self, column: str) -> dict[Any, int]:
        if column not in self._indices:
            self._indices[column] = {value: i for i, value in enumerate(self.texts.get(column, ()))}
        return self._indices[column]

    def _neighbours(self, here: int) -> list[tuple[str, int]]:
        if "params" not in self.texts:
            raise RecipeError(
                f"{self.name} has no column params, which tells what differs between rows; give a table of 'greennas "
                "table build'."
            )
        params = json.loads(self.texts["params"][here])
        space = None
        if "space" in self.texts:
            options = json.loads(self.texts["options"][here]) if "options" in self.texts else {}
            space = load_space(self.texts["space"][here], **options)
        if space is not None and hasattr(space, "changes"):
            known = self._positions("canonical")
            pairs = [(change, known.get(space.canonical(other), -1)) for change, other in space.changes(params)]
            return [(change, i) for change, i in pairs if i >= 0]
        found = []
        for i, text in enumerate(self.texts["params"]):
            other = json.loads(text)
            if other.keys() != params.keys():
                continue
            different = [name for name in params if params[name] != other[name]]
            if len(different) == 1:
                name = different[0]
                found.append((f"{name}: {params[name]} becomes {other[name]}", i))
        return found


def _csv(path: Path) -> tuple[dict[str, Array], dict[str, Sequence[Any]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            columns = list(zip(*(row for row in rows if len(row) == len(header)), strict=True)) or [()] * len(header)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"The table {path} cannot be read ({bare_reason(error)}); check the path and that it is CSV."
        ) from error
    numbers: dict[str, Array] = {}
    texts: dict[str, Sequence[Any]] = {}
    for name, values in zip(header, columns, strict=True):
        try:
            if name in _IDS:  # hexadecimal digits may look like a number
                raise ValueError
            numbers[name] = np.array([float(value) if value else math.nan for value in values])
        except ValueError:
            texts[name] = values
    return numbers, texts


def _parquet(path: Path) -> tuple[dict[str, Array], dict[str, Sequence[Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"Reading {path} needs pyarrow: pip install 'greennas[tables]', or use CSV.") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"The table {path} cannot be read ({bare_reason(error)}); check the path and that it is Parquet."
        ) from error
    numbers: dict[str, Array] = {}
    texts: dict[str, Sequence[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type):
            numbers[name] = column.to_numpy().astype(np.float64)
        else:
            texts[name] = column.to_pylist()
    return numbers, texts
