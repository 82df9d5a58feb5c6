"""The TFRecord files of NAS-Bench-101 (Ying et al. 2019) and of EC-NAS-Bench, which adds energy to them."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from greennas.architecture import Params
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import DataError
from greennas.space import SearchSpace
from greennas.tabular.protobuf import fields
from greennas.tabular.table import Row, Table, make_table
from greennas.tabular.tfrecord import read_records

Cell = tuple[Sequence[Sequence[int]], Sequence[str]]
"""Adjacency matrix with input and output, and the operations of the vertices between them."""

# Field numbers in model_metrics.proto of NAS-Bench-101 and model_metrics_energy.proto of EC-NAS-Bench.
_EVALUATION, _PARAMETERS, _TOTAL_ENERGY_KWH = 1, 2, 4
_ENERGY_KWH = 6  # a double in EC-NAS-Bench; in NAS-Bench-101 a string, the path of a checkpoint
_METRICS = {2: "train_seconds", 3: "train_accuracy", 4: "accuracy", 5: "test_accuracy"}


def read_nasbench101(
    path: str | Path, space: SearchSpace, *, epochs: int | None = None, energy: str | None = None
) -> Table:
    """Read ``nasbench_full.tfrecord``, ``nasbench_only108.tfrecord`` or one of EC-NAS-Bench's ``energy_*.tfrecord``.

    A record is JSON: module hash, epochs, adjacency as digits, operations with commas between them, and the metrics as
    a protocol buffer in base64. Metrics, of the last evaluation: accuracy (validation), test_accuracy and
    train_accuracy in 0..1, train_seconds, parameters; with energy also train_energy_j, and total_energy_j of the whole
    run with its evaluations. EC-NAS-Bench measured 4 epochs and scaled energy and seconds linearly to longer budgets
    (``generate_dataset_energy.py``), but not the totals: these are left out there.

    Args:
        path: the file.
        space: ``nasbench101``; where its option ``vertices`` is not given, it is that of the file's largest cell.
        epochs: budget of the trainings; None for the longest in the file.
        energy: column that a replay is charged; None for train_energy_j where there is one.

    Raises:
        DataError: another space, a damaged file, or one without trainings over so many epochs.
    """
    params_of = cell_reader(space, path)
    longest = epochs or 0
    budgets: set[int] = set()
    chosen: list[_Training] = []  # decoded one at a time: the largest file has 1.7 million records
    for budget, training in _trainings(path):
        budgets.add(budget)
        if epochs is None and budget > longest:
            longest, chosen = budget, []
        if budget == longest:
            chosen.append(training)
    if not budgets:
        raise DataError(f"{path} has no records; check the file.")
    if not chosen:
        there = ", ".join(map(str, sorted(budgets)))
        raise DataError(f"{path} has no trainings over {epochs} epochs; set table.epochs to one of {there}.")
    return _table(path, longest, chosen, space, params_of, energy)


def read_nasbench101_budgets(path: str | Path, space: SearchSpace) -> list[Table]:
    """Every budget of such a file, the shortest trainings first; see ``read_nasbench101``.

    Raises:
        DataError: another space, or a damaged file.
    """
    params_of = cell_reader(space, path)
    found: dict[int, list[_Training]] = {}
    for budget, training in _trainings(path):
        found.setdefault(budget, []).append(training)
    return [_table(path, budget, found[budget], space, params_of, None) for budget in sorted(found)]


_Training = tuple[str, str, str]
"""Adjacency as digits, operations with commas between them, metrics in base64."""


def _trainings(path: str | Path) -> Iterator[tuple[int, _Training]]:
    try:
        for record in read_records(path):
            _, budget, adjacency, operations, metrics = json.loads(record)
            yield int(budget), (adjacency, sys.intern(operations), metrics)
    except (ValueError, TypeError) as error:
        raise _strange(path, error) from error


def _table(
    path: str | Path,
    epochs: int,
    chosen: Sequence[_Training],
    space: SearchSpace,
    params_of: Callable[[Cell], Params],
    energy: str | None,
) -> Table:
    name = f"{Path(path).name}, {epochs} epochs"
    try:
        largest = math.isqrt(max(len(adjacency) for adjacency, *_ in chosen))
        trainings = ((_cell(adjacency, operations), _metrics(metrics)) for adjacency, operations, metrics in chosen)
        return make_table(name, of_size(space, largest), trainings, params_of, energy, epochs)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise _strange(path, error) from error


def _strange(path: str | Path, error: Exception) -> DataError:
    return DataError(f"{path} has a record that is not NAS-Bench-101's ({error!r}); check the file.")


def cell_reader(space: SearchSpace, path: str | Path) -> Callable[[Cell], Params]:
    """What turns published cells into parameters of ``space``.

    Raises:
        DataError: the space has no such cells; names the table ``path``.
    """
    if not hasattr(space, "from_matrix"):
        raise DataError(f"{path} holds cells of NAS-Bench-101, not of {space.name}; take --space nasbench101.")
    return lambda cell: space.from_matrix(*cell)


def of_size(space: SearchSpace, vertices: int) -> SearchSpace:
    """``space`` with cells of at most ``vertices`` vertices (3 to 7), unless its options say how many."""
    if "vertices" in space.options:
        return space
    return replace(space, options={**space.options, "vertices": min(max(vertices, 3), 7)})


def _cell(digits: str, operations: str) -> Cell:
    size = math.isqrt(len(digits))
    matrix = [[int(digit) for digit in digits[i : i + size]] for i in range(0, len(digits), size)]
    return matrix, operations.split(",")[1:-1]


def _metrics(encoded: str) -> Row:
    """What a training's last evaluation says, and the totals of its run."""
    run = dict(fields(base64.b64decode(encoded)))  # of the repeated evaluations the last one stays
    evaluation = run[_EVALUATION]
    if not isinstance(evaluation, bytes):
        raise TypeError("an evaluation is a message")
    last = dict(fields(evaluation))
    found = {name: last[number] for number, name in _METRICS.items()}
    found["parameters"] = run[_PARAMETERS]
    energy_kwh, total_kwh = last.get(_ENERGY_KWH), run.get(_TOTAL_ENERGY_KWH)
    if isinstance(energy_kwh, float):
        found["train_energy_j"] = energy_kwh * JOULES_PER_KWH
        if isinstance(total_kwh, float) and total_kwh >= energy_kwh:  # else the total of the 4 epochs before scaling
            found["total_energy_j"] = total_kwh * JOULES_PER_KWH
    return {name: float(value) for name, value in found.items()}
