"""Generic tables: CSV or Parquet with a row a training, and the published EC-NAS results by their form."""

from __future__ import annotations

import ast
import csv
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from greennas.architecture import Params
from greennas.errors import DataError, InvalidArchitectureError, bare_reason
from greennas.space import SearchSpace
from greennas.tabular.ec_nas import read_ec_nas, read_surrogate_data
from greennas.tabular.nasbench101 import read_nasbench101
from greennas.tabular.table import Table, make_table

ARCHITECTURE_COLUMNS = ("params", "architecture", "arch", "arch_str", "cell")
INDEX_COLUMNS = ("index", "arch_index", "nb201_index")
MATRIX_COLUMNS = ("matrix", "adjacency", "module_adjacency", "raw_adjacency")
OPERATION_COLUMNS = ("operations", "ops", "module_operations", "raw_operations")
_EMPTY = ("", "nan", "none", "null", "na", "n/a")
_NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def read_table(path: str | Path, space: SearchSpace, energy: str | None = None, epochs: int | None = None) -> Table:
    """Read a table of trained architectures.

    - CSV (``.csv``) or Parquet (``.parquet``, needs pyarrow): one row a training. The architecture is in one
      of the columns params, architecture, arch, arch_str or cell (parameters as JSON or a NAS-Bench-201 string),
      or in index, arch_index or nb201_index (a NAS-Bench-201 index), or in the two columns matrix (or adjacency) and
      operations of a NAS-Bench-101 cell. Every other column with numbers is a metric.
    - TFRecord files (``.tfrecord``) of NAS-Bench-101 and EC-NAS-Bench, see ``read_nasbench101``.
    - The results tree of EC-NAS-Bench, as a folder or ``.tar.gz``; ``7v_data.pt`` of its surrogate.

    Args:
        path: the file or folder.
        space: the search space of the architectures. NAS-Bench-101's and EC-NAS's tables have cells of their own
            size where the space's option ``vertices`` is not given.
        energy: column with the cost of a training; None for the likeliest, see ``energy_column``.
        epochs: which of a benchmark's budgets; None for the longest. Other tables have none to choose from.

    Raises:
        DataError: a file that cannot be read, or without architectures of the space.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".tfrecord":
        return read_nasbench101(path, space, epochs=epochs, energy=energy)
    if path.is_dir() or path.name.lower().endswith((".tar.gz", ".tgz", ".tar")):
        return read_ec_nas(path, space, epochs=epochs, energy=energy)
    if epochs is not None:
        raise DataError(f"{path} has no budgets to choose from by table.epochs; leave it out.")
    if kind == ".pt":
        return read_surrogate_data(path, space)
    if kind not in (".csv", ".parquet"):
        raise DataError(
            f"{path} is no table that can be read; give .csv, .parquet, .tfrecord, or EC-NAS's tree (.tar.gz) or .pt."
        )
    rows = _parquet(path) if kind == ".parquet" else _csv(path)
    if not rows:
        raise DataError(f"The table {path} has no rows; check the file.")
    columns = _architecture_columns(rows[0], path)
    metrics = _metric_columns(rows, columns, path)
    trainings = ((row, _numbers(row, metrics)) for row in rows)
    return make_table(path.name, space, trainings, lambda row: _params(row, columns, space), energy)


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
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            return list(reader)
    except OSError as error:
        raise DataError(f"The table {path} cannot be read ({bare_reason(error)}); check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table {path} is no CSV ({error}); check the file.") from error


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"Reading {path} needs pyarrow: pip install 'greennas[tables]', or use CSV.") from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"The table {path} cannot be read (no such file); check the path.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"The table {path} is no Parquet ({error}); check the file.") from error
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


def _metric_columns(rows: Sequence[Mapping[str, Any]], architecture: tuple[str, ...], path: Path) -> list[str]:
    """Columns of which most filled fields are numbers.

    Raises:
        DataError: such a column has something else in a row.
    """
    found = []
    for name in rows[0]:
        if name is None or name in architecture:
            continue
        values = [(place, row.get(name)) for place, row in enumerate(rows, 1)]
        wrong = [(place, value) for place, value in values if not _missing(value) and _number(value) is None]
        filled = sum(not _missing(value) for _, value in values)
        if wrong and 2 * len(wrong) < filled:
            place, value = wrong[0]
            raise DataError(
                f"The column {name} of {path} has {value!r} in row {place}, which is no number; mend the row."
            )
        if not wrong and filled:
            found.append(name)
    return found


def _numbers(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, float]:
    found = {name: _number(row.get(name)) for name in columns}
    return {name: value for name, value in found.items() if value is not None}


def _params(row: Mapping[str, Any], columns: tuple[str, ...], space: SearchSpace) -> Params:
    """The architecture of a row.

    Raises:
        InvalidArchitectureError: it cannot be read, or is none of the space.
    """
    value = row[columns[0]]
    try:
        if columns[0] in MATRIX_COLUMNS:
            return dict(_of_space("from_matrix", space)(_matrix(value), _operations(row[columns[1]])))
        if columns[0] in INDEX_COLUMNS:
            value = from_index(_whole(value))
        if isinstance(value, str) and value.strip().startswith("|"):
            return dict(_of_space("from_string", space)(value.strip()))
        if isinstance(value, str):
            value = json.loads(value)
        elif isinstance(value, Mapping):  # Arrow's structs have all rows' keys, null where a row has none
            value = {name: each for name, each in value.items() if each is not None}
        if not isinstance(value, Mapping):
            raise TypeError("parameters are names with values")
    except (ValueError, SyntaxError, TypeError) as error:
        raise InvalidArchitectureError(
            f"{value!r} is no architecture; give parameters as JSON, a NAS-Bench-201 string or index, or a "
            "NAS-Bench-101 matrix with its operations."
        ) from error
    return dict(value)


def _of_space(function: str, space: SearchSpace) -> Callable[..., Params]:
    found: Callable[..., Params] | None = getattr(space, function, None)
    if found is None:
        kind = {"from_matrix": "a NAS-Bench-101 cell", "from_string": "a NAS-Bench-201 cell"}[function]
        raise InvalidArchitectureError(f"{kind} is none of {space.name}; choose another --space.")
    return found


def _whole(value: Any) -> int:
    """A whole number, also as the ``1.0`` that a column with gaps is written with.

    Raises:
        ValueError: it is none.
    """
    number = float(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def _matrix(value: Any) -> Any:
    """Rows of 0 and 1, from nested lists, such lists as text, or digits row by row as in the published records."""
    if isinstance(value, str) and set(value) <= set("01"):
        size = math.isqrt(len(value))
        return [list(value[i : i + size]) for i in range(0, len(value), size)]
    return _literal(value)


def _operations(value: Any) -> list[Any]:
    """Operations between input and output, from a list, a list as text, or text with commas."""
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return [operation for operation in _literal(value) if operation not in ("input", "output")]


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return ast.literal_eval(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _EMPTY)


def _number(value: Any) -> float | None:
    """A number; None for what is missing or no number."""
    if isinstance(value, bool) or _missing(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
