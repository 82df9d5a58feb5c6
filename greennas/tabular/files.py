"""Generic tables: CSV or Parquet with a row a training, and the published EC-NAS results by their form."""

from __future__ import annotations

import ast
import csv
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from greennas.architecture import Params
from greennas.errors import DataError, InvalidArchitectureError
from greennas.space import SearchSpace
from greennas.tabular.ec_nas import read_ec_nas, read_surrogate_data
from greennas.tabular.table import Table, make_table

ARCHITECTURE_COLUMNS = ("params", "architecture", "arch", "arch_str", "cell")
INDEX_COLUMNS = ("index", "arch_index", "nb201_index")
MATRIX_COLUMNS = ("matrix", "adjacency", "module_adjacency")
OPERATION_COLUMNS = ("operations", "ops", "module_operations")
_NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def read_table(path: str | Path, space: SearchSpace, energy: str | None = None) -> Table:
    """Read a table of trained architectures.

    - CSV (``.csv``) or Parquet (``.parquet``, needs pyarrow): one row a training. The architecture is in one
      of the columns params, architecture, arch, arch_str or cell (parameters as JSON or a NAS-Bench-201 string),
      or in index, arch_index or nb201_index (a NAS-Bench-201 index), or in the two columns matrix (or adjacency) and
      operations of a NAS-Bench-101 cell. Every other column with numbers is a metric.
    - The results tree of EC-NAS-Bench, as a folder or ``.tar.gz``; ``7v_data.pt`` of its surrogate.

    Args:
        path: the file or folder.
        space: the search space of the architectures.
        energy: column with the cost of a training; None for the likeliest, see ``energy_column``.

    Raises:
        DataError: a file that cannot be read, or without architectures of the space.
    """
    path = Path(path)
    if path.suffix.lower() == ".pt":
        return read_surrogate_data(path, space)
    if path.is_dir() or path.name.lower().endswith((".tar.gz", ".tgz", ".tar")):
        return read_ec_nas(path, space, energy=energy)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"{path} is no table that can be read; give .csv, .parquet, an EC-NAS tree (.tar.gz) or .pt.")
    rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    if not rows:
        raise DataError(f"The table {path} has no rows; check the file.")
    columns = _architecture_columns(rows[0], path)
    return make_table(path.name, space, _trainings(rows, columns, space), energy)


def from_index(index: int) -> str:
    """The cell string of a NAS-Bench-201 index, 0 to 15,624.

    The published order is that of all operations edge by edge, shuffled by Python's ``random`` seeded with 88
    (``generate_meta_info`` of the benchmark's scripts, which asserts the strings of indices 0, 9 and 123).

    Raises:
        InvalidArchitectureError: no such index.
    """
    if not 0 <= index < len(_NB201) ** 6:
        raise InvalidArchitectureError(f"{index} is no NAS-Bench-201 index; they go from 0 to 15,624.")
    a, b, c, d, e, f = _published_order()[index]
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@cache
def _published_order() -> list[tuple[str, ...]]:
    cells = list(product(_NB201, repeat=6))
    random.Random(88).shuffle(cells)
    return cells


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table {path} cannot be read ({error}); check the path and that it is CSV.") from error


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"Reading {path} needs pyarrow; install it, or give the table as CSV.") from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"The table {path} cannot be read ({error}); check the path and that it is Parquet.") from error
    return rows


def _architecture_columns(row: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    for names in (ARCHITECTURE_COLUMNS, INDEX_COLUMNS):
        found = [name for name in names if name in row]
        if found:
            return (found[0],)
    matrix = [name for name in MATRIX_COLUMNS if name in row]
    operations = [name for name in OPERATION_COLUMNS if name in row]
    if matrix and operations:
        return (matrix[0], operations[0])
    raise DataError(
        f"The table {path} has no column with the architecture; name one of its columns params (JSON), architecture, "
        f"index (NAS-Bench-201), or two of them matrix and operations (NAS-Bench-101)."
    )


def _trainings(
    rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], space: SearchSpace
) -> Iterator[tuple[Params | None, dict[str, float]]]:
    for row in rows:
        numbers = {name: _number(value) for name, value in row.items() if name is not None and name not in columns}
        metrics = {name: value for name, value in numbers.items() if value is not None}
        try:
            yield _params(row, columns, space), metrics
        except (InvalidArchitectureError, ValueError, SyntaxError, TypeError, AttributeError):
            yield None, metrics


def _params(row: Mapping[str, Any], columns: tuple[str, ...], space: SearchSpace) -> Params:
    value = row[columns[0]]
    if columns[0] in MATRIX_COLUMNS:
        operations = [op for op in _literal(row[columns[1]]) if op not in ("input", "output")]
        return dict(space.from_matrix(_literal(value), operations))
    if columns[0] in INDEX_COLUMNS:
        value = from_index(int(value))
    if isinstance(value, str) and value.strip().startswith("|"):
        return dict(space.from_string(value))
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise ValueError("parameters are names to values")
    return dict(value)


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return ast.literal_eval(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
