"""EC-NAS's published data, whatever of them a folder has, as columns of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import DataError
from greennas.reproduce.published import BUDGETS
from greennas.space import load_space
from greennas.tabular import (
    PublishedRun,
    Table,
    read_ec_nas_parts,
    read_nasbench101_budgets,
    read_published_runs,
    read_surrogate_data,
)

Array = NDArray[np.float64]
_RECORDS = re.compile(r"energy_(\d)V9E_?(\w*)\.tfrecord")
_LFS = b"version https://git-lfs"
_SCALED = 1e-4  # relative; energies were published with four digits or more


@dataclass(frozen=True)
class Trainings:
    """Trainings of networks of one space and budget.

    Attributes:
        space: "4V", "5V" or "7V".
        epochs: of each training; None where that is not said.
        origin: where they come from.
        columns: ``kwh``, and where known ``accuracy``, ``test_accuracy``, ``seconds``, ``parameters``, shape (n,)
            each; of repeats the mean.
        repeats: trainings in all.
        table: the networks, where they are known.
    """

    space: str
    epochs: int | None
    origin: str
    columns: Mapping[str, Array] = field(repr=False)
    repeats: int = 0
    table: Table | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """For people."""
        budget = f", {self.epochs} epochs" if self.epochs else ""
        return f"{self.space}{budget} ({self.origin})"

    def __len__(self) -> int:
        return len(self.columns["kwh"])


@dataclass(frozen=True)
class Data:
    """What a folder has.

    Attributes:
        trainings: spaces and budgets, sorted.
        surrogate: the trainings that the surrogate learnt from, in the published order.
        runs: published search runs.
        sources: files that were read, and what is missing or was left out.
    """

    trainings: Sequence[Trainings]
    surrogate: Table | None
    runs: Sequence[PublishedRun]
    sources: Sequence[str]


def read(folder: Path, vertices: Sequence[int] = (4, 5, 7)) -> Data:
    """Read all of EC-NAS's data below ``folder``: TFRecord files, trees of results, ``7v_data.pt``, search runs.

    Args:
        folder: a checkout of EC-NAS-Bench, its TFRecord files, or a folder with published archives.
        vertices: spaces to look at.

    Raises:
        DataError: no such folder, nothing of EC-NAS in it, or a damaged file.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give a checkout of EC-NAS-Bench, or a folder with its files.")
    wanted = {f"{each}V" for each in vertices}
    sources: list[str] = []
    trainings: list[Trainings] = []
    space = load_space("nasbench101")
    for path in sorted(folder.rglob("energy_*V9E*.tfrecord")):
        name = _RECORDS.fullmatch(path.name)
        if name is None or f"{name[1]}V" not in wanted:
            continue
        if _is_pointer(path):
            sources.append(f"{path.name}: left out, only Git LFS's pointer to it (git lfs pull fetches it)")
            continue
        sources.append(str(path))
        trainings += [_of_table(f"{name[1]}V", table, path.name) for table in read_nasbench101_budgets(path, space)]
    for path in _trees(folder):
        sources.append(str(path))
        for table in read_ec_nas_parts(path, space):
            part = f"{table.space.options['vertices']}V"
            if part in wanted:
                trainings.append(_of_table(part, table, path.name))
    surrogate = None
    for path in sorted(folder.rglob("7v_data.pt"))[:1]:
        if "7V" in wanted and not _is_pointer(path):
            sources.append(str(path))
            surrogate = read_surrogate_data(path, space)
            trainings.append(_of_table("7V", surrogate, path.name))
    runs: list[PublishedRun] = []
    for path in _runs(folder):
        sources.append(str(path))
        runs += [run for run in read_published_runs(path) if run.space in wanted]
    if not trainings and not runs:
        raise DataError(
            f"{folder} has nothing of EC-NAS; give a checkout of EC-NAS-Bench (with git lfs pull), its "
            "energy_*.tfrecord files, nasbench-data*.tar.gz, 7v_data.pt or its published search runs."
        )
    there = {(each.space, each.epochs) for each in trainings if "accuracy" in each.columns}
    trainings += [each for each in _visited(trainings, runs) if (each.space, each.epochs) not in there]
    trainings.sort(key=lambda each: (each.space, each.epochs or 0))
    return Data(trainings, surrogate, runs, sources)


def visited_budgets(measured: Trainings, run: PublishedRun) -> NDArray[np.int64]:
    """Epochs of each valid trial of a run, which the published files do not say.

    Energies beyond 4 epochs are those of 4 epochs, scaled: a trial's budget is that for which the measured training
    of a network with as many parameters, scaled to it, took the trial's energy. 0 where none or several do.
    """
    assert measured.table is not None
    known: dict[float, list[float]] = {}
    for rows in measured.table.rows.values():
        for row in rows:
            known.setdefault(row["parameters"], []).append(row["train_energy_j"])
    found = np.zeros(int(run.valid.sum()), np.int64)
    seen: dict[tuple[float, float], int] = {}
    for i, key in enumerate(zip(run.parameters[run.valid].tolist(), run.energy_j[run.valid].tolist(), strict=True)):
        if key not in seen:
            base = np.array(known.get(key[0], []))
            fits = [b for b in BUDGETS if np.any(np.abs(base * b / BUDGETS[0] / key[1] - 1) < _SCALED)]
            seen[key] = fits[0] if len(fits) == 1 else 0
        found[i] = seen[key]
    return found


def _of_table(space: str, table: Table, origin: str) -> Trainings:
    names = {"train_energy_j": "kwh", "train_seconds": "seconds"}
    columns = {
        names.get(name, name): np.array([np.mean([row[name] for row in rows]) for rows in table.rows.values()])
        for name in ("train_energy_j", "train_seconds", "accuracy", "test_accuracy", "parameters")
        if all(name in row for rows in table.rows.values() for row in rows)
    }
    if "kwh" not in columns:
        raise DataError(f"{origin} has no energies; give EC-NAS-Bench's files, not NAS-Bench-101's.")
    columns["kwh"] = columns["kwh"] / JOULES_PER_KWH
    return Trainings(space, table.epochs, origin, columns, sum(map(len, table.rows.values())), table)


def _visited(trainings: Sequence[Trainings], runs: Sequence[PublishedRun]) -> Iterator[Trainings]:
    """Distinct trainings of the search runs: by budget where the space's measured trainings are at hand, else mixed."""
    measured = {each.space: each for each in trainings if each.epochs == BUDGETS[0] and each.table is not None}
    names = ("kwh", "seconds", "accuracy", "test_accuracy", "parameters")
    for space in dict.fromkeys(run.space for run in runs):
        own = [run for run in runs if run.space == space]
        values = np.concatenate([_columns(run) for run in own])
        budgets = np.zeros(len(values), np.int64)
        if space in measured:
            budgets = np.concatenate([visited_budgets(measured[space], run) for run in own])
        for epochs in np.unique(budgets).tolist():
            part = np.unique(values[budgets == epochs], axis=0)
            columns = dict(zip(names, part.T, strict=True))
            origin = "visited by the published runs" + ("" if epochs else ", budgets mixed")
            yield Trainings(space, epochs or None, origin, columns, len(part))


def _columns(run: PublishedRun) -> Array:
    kwh = run.energy_j / JOULES_PER_KWH
    columns = (kwh, run.train_seconds, run.accuracy, run.test_accuracy, run.parameters)
    return np.column_stack([column[run.valid] for column in columns])


def _trees(folder: Path) -> list[Path]:
    archives = sorted(path for path in folder.rglob("nasbench-data*.tar*") if path.is_file())
    return archives + sorted({path.parents[1] for path in folder.rglob("train_model_results/energy")})


def _runs(folder: Path) -> list[Path]:
    gathered = sorted(folder.rglob("published_runs.csv*"))[:1]
    return gathered or sorted({path.parents[1] for path in folder.rglob("runs/*/?v_*_*.pickle")})[:1]


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LFS)) == _LFS
