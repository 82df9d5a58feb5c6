"""The search runs that EC-NAS-Bench's authors published, as their pickles or gathered in one CSV file."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greennas.data.pickles import decode
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import DataError, bare_reason

_COLUMNS = ("val_acc", "tst_acc", "energy", "train_time", "params")
_FILE = re.compile(r"(\d)v_([a-z]+)_(\d+)\.pickle")
_FRAME, _MANAGER = "pandas.core.frame DataFrame", "pandas.core.internals.managers BlockManager"
_BLOCK, _SLICE = "pandas._libs.internals _unpickle_block", "builtins slice"
_NEW_INDEX, _INDEX = "pandas.core.indexes.base _new_Index", "pandas.core.indexes.base Index"
_INDICES = ("pandas.core.indexes.numeric Int64Index", "pandas.core.indexes.range RangeIndex")
_PANDAS = (_FRAME, _MANAGER, _BLOCK, _SLICE, _NEW_INDEX, _INDEX, *_INDICES)

Key = tuple[str, str, int]


@dataclass(frozen=True)
class PublishedRun:
    """One run of a search method. Arrays have an entry a trial, in the order of the search, shape ``(trials,)``.

    The authors' methods train for 4, 12, 36 or 108 epochs, and the files do not say which trial for how many; energy
    and time beyond 4 epochs are scaled linearly from 4.

    Attributes:
        method: ``rs`` (random search), ``semoa``, ``msehvi`` or ``shemoa``.
        space: ``4V``, ``5V`` or ``7V``, by the vertices of its cells.
        number: of the run, from 0.
        valid: whether the benchmark has the proposed architecture; what it has not was not trained.
        accuracy: on the validation split, 0..1; NaN where not valid.
        test_accuracy: on the test split, 0..1; NaN where not valid.
        energy_j: of the training, in joules; 0 where not valid.
        train_seconds: of the training; 0 where not valid.
        parameters: trainable ones; NaN where not valid.
    """

    method: str
    space: str
    number: int
    valid: NDArray[np.bool_]
    accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    train_seconds: NDArray[np.float64]
    parameters: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.valid)


def read_published_runs(path: str | Path) -> list[PublishedRun]:
    """Read published search runs, sorted by method, space and number.

    - A folder with the authors' files, ``experiments/runs/<method>/5v_<method>_<number>.pickle``, or one of them: a
      pandas table with a row a trial and metric (columns trial_index, metric_name, mean). It is decoded, not executed.
    - A CSV file, also ``.csv.gz``, of all runs with a row a trial: method, space, run, trial_index, val_acc, tst_acc,
      energy, train_time, params.

    In both, accuracies are negative percentages, 0 for an architecture that the benchmark does not have; energy is in
    kWh, train_time in seconds, and params the decimal logarithm of the number of parameters.

    Raises:
        DataError: a file that cannot be read, or of another form.
    """
    path = Path(path)
    trials: dict[Key, dict[int, dict[str, float]]] = {}
    try:
        found = _pickled(path) if path.is_dir() or path.suffix == ".pickle" else _gathered(path)
        for key, trial, values in found:
            trials.setdefault(key, {}).setdefault(trial, {}).update(values)
        runs = [_run(key, trials[key]) for key in sorted(trials)]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({bare_reason(error)}); check the path.") from error
    except (LookupError, TypeError, ValueError, AttributeError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path} is not of the form of EC-NAS's search runs ({error!r}); check the file.") from error
    if not runs:
        raise DataError(f"{path} has no search runs of EC-NAS; give experiments/runs, a file of it, or a CSV file.")
    return runs


def _run(key: Key, trials: Mapping[int, Mapping[str, float]]) -> PublishedRun:
    values = np.array([[trials[trial][name] for name in _COLUMNS] for trial in sorted(trials)], np.float64)
    validation, test, energy_kwh, seconds, log_parameters = values.T
    valid = validation < 0
    return PublishedRun(
        *key,
        valid=valid,
        accuracy=np.where(valid, -validation / 100, np.nan),
        test_accuracy=np.where(valid, -test / 100, np.nan),
        energy_j=energy_kwh * JOULES_PER_KWH,
        train_seconds=seconds,
        parameters=np.where(valid, np.rint(10**log_parameters), np.nan),
    )


def _gathered(path: Path) -> Iterator[tuple[Key, int, dict[str, float]]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            key = (row["method"], row["space"], int(row["run"]))
            yield key, int(row["trial_index"]), {name: float(row[name]) for name in _COLUMNS}


def _pickled(path: Path) -> Iterator[tuple[Key, int, dict[str, float]]]:
    for file in path.rglob("*.pickle") if path.is_dir() else [path]:
        name = _FILE.fullmatch(file.name)
        if name is None:
            raise ValueError(f"{file.name} is not named as 5v_semoa_0.pickle")
        table = _frame(decode(file.read_bytes(), str(file), "one of EC-NAS's search runs", _PANDAS, ("f8", "O8", "b1")))
        for trial, metric, mean in zip(table["trial_index"], table["metric_name"], table["mean"], strict=True):
            yield (name[2], f"{name[1]}V", int(name[3])), int(trial), {metric: float(mean)}


def _frame(table: Any) -> dict[str, NDArray[Any]]:
    """Columns of a pandas table by their names: each block has the values of some columns, one a row."""
    manager = table.state["_mgr"]
    if manager.arguments:
        blocks, axes = manager.arguments
        parts = [block.arguments[:2] for block in blocks]
    else:  # pandas before 1.3
        state = manager.state[3]["0.14.1"]
        axes, parts = state["axes"], [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
    names = axes[0].arguments[1]["data"].values
    columns: dict[str, NDArray[Any]] = {}
    for array, placement in parts:
        columns |= zip(names[slice(*placement.arguments)], array.values, strict=True)
    return columns
