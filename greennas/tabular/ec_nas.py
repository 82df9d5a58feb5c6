"""EC-NAS-Bench (Bakhtiarifard, Igel and Selvan, ICASSP 2024): its tree of measured trainings, its surrogate's data."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import DataError, bare_reason
from greennas.space import SearchSpace
from greennas.tabular.nasbench101 import Cell, cell_reader, of_size
from greennas.tabular.table import Row, Table, make_table

_OPERATIONS = {0: "conv3x3-bn-relu", 1: "conv1x1-bn-relu", 2: "maxpool3x3"}
_SURROGATE_OPERATIONS = {2: _OPERATIONS[1], 3: _OPERATIONS[0], 4: _OPERATIONS[2]}
_RESULT = re.compile(r".*/energy/(\d)V9E/(\d+)_epochs/[^/]+/([^/]+)/[^/]+/results\.json")
_GRAPHS = re.compile(r".*/generated_graphs_(\d)V9E\.json")


def read_ec_nas(path: str | Path, space: SearchSpace, *, epochs: int | None = None, energy: str | None = None) -> Table:
    """Read the results tree of EC-NAS-Bench's repository: ``nasbench/data``, or a tar archive of it.

    Graphs are in ``graphs/generated_graphs_5V9E.json``, trainings in
    ``train_model_results/energy/5V9E/4_epochs/<xx>/<hash>/repeat_<n>/results.json``. Metrics: accuracy (validation),
    test_accuracy and train_accuracy in 0..1; train_energy_j and train_seconds up to the last evaluation; total_energy_j
    of the whole run with its evaluations; parameters.

    Args:
        path: folder or archive.
        space: ``nasbench101``; its option ``vertices`` says which part is read, by default the largest.
        epochs: budget of the trainings; None for the longest of the part.
        energy: column that a replay is charged; None for train_energy_j.

    Raises:
        DataError: nothing of this space and budget in it, or a file of another form.
    """
    tree = _Tree.read(Path(path))
    part = _chosen(tree.results, space.options.get("vertices"), epochs, Path(path))
    return tree.table(part, space, energy)


def read_ec_nas_parts(path: str | Path, space: SearchSpace) -> list[Table]:
    """Every part and budget of such a tree, the smallest cells first; see ``read_ec_nas``.

    Raises:
        DataError: a file of another form.
    """
    tree = _Tree.read(Path(path))
    return [tree.table(part, space, None) for part in sorted(tree.results)]


def read_surrogate_data(path: str | Path, space: SearchSpace) -> Table:
    """Read ``7v_data.pt``, the training data of EC-NAS's energy surrogate: train_energy_j and parameters.

    Raises:
        DataError: another space, or not a file of four tensors.
    """
    params_of = cell_reader(space, path)
    try:
        adjacency, labels, energy_kwh, parameters = torch.load(path, weights_only=True)
        matrices, rows = adjacency.tolist(), labels.tolist()
        energies, counts = energy_kwh.double().tolist(), parameters.double().tolist()
        trainings: list[tuple[Cell, Row]] = []
        for matrix, row, kwh, count in zip(matrices, rows, energies, counts, strict=True):
            size = sum(label > 0 for label in row)
            cell = [line[:size] for line in matrix[:size]], [_SURROGATE_OPERATIONS[x] for x in row[1 : size - 1]]
            trainings.append((cell, {"train_energy_j": kwh * JOULES_PER_KWH, "parameters": count}))
    except (
        OSError,
        RuntimeError,
        LookupError,
        AttributeError,
        ValueError,
        TypeError,
        EOFError,
        UnpicklingError,
    ) as error:
        raise DataError(f"{path} is not EC-NAS's 7v_data.pt ({type(error).__name__}); check the file.") from error
    return make_table(Path(path).name, space, trainings, params_of)


@dataclass(frozen=True)
class _Tree:
    """Graphs by the part's vertices and a hash; results, each with its hash, by vertices and epochs."""

    path: Path
    graphs: Mapping[int, Mapping[str, Any]]
    results: Mapping[tuple[int, int], Sequence[tuple[str, Any]]]

    @classmethod
    def read(cls, path: Path) -> _Tree:
        graphs: dict[int, Mapping[str, Any]] = {}
        results: dict[tuple[int, int], list[tuple[str, Any]]] = {}
        for name, content in sorted(_documents(path), key=lambda document: document[0]):
            if found := _RESULT.fullmatch(name):
                results.setdefault((int(found[1]), int(found[2])), []).append((found[3], content))
            elif found := _GRAPHS.fullmatch(name):
                graphs[int(found[1])] = content
        return cls(path, graphs, results)

    def table(self, part: tuple[int, int], space: SearchSpace, energy: str | None) -> Table:
        vertices, budget = part
        try:
            trainings = [(_cell(self.graphs[vertices][key]), _metrics(each)) for key, each in self.results[part]]
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.path} is not of EC-NAS-Bench's form ({error!r}); give its nasbench/data folder."
            ) from error
        name = f"EC-NAS-Bench {vertices}V9E, {budget} epochs"
        return make_table(name, of_size(space, vertices), trainings, cell_reader(space, self.path), energy, budget)


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    """Names, from the root, and contents of the JSON files that hold graphs or results."""
    try:
        if path.is_dir():
            for file in path.rglob("*.json"):
                name = file.absolute().as_posix()
                if _RESULT.fullmatch(name) or _GRAPHS.fullmatch(name):
                    yield name, json.loads(file.read_bytes())
            return
        with tarfile.open(path) as archive:
            for member in archive:
                name = f"/{member.name}"
                if member.isfile() and (_RESULT.fullmatch(name) or _GRAPHS.fullmatch(name)):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield name, json.load(content)
    except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is damaged or no EC-NAS data ({reason}); give the data folder or its tar.gz."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({bare_reason(error)}); check the path.") from error


def _chosen(
    there: Collection[tuple[int, int]], vertices: int | None, epochs: int | None, path: Path
) -> tuple[int, int]:
    """The part's vertices and the budget: the largest that are there, where they are not given."""
    if not there:
        raise DataError(f"{path} has no trainings of EC-NAS-Bench; give its nasbench/data folder or a tar.gz of it.")
    found = [each for each in there if vertices in (None, each[0]) and epochs in (None, each[1])]
    if not found:
        parts = ", ".join(f"{part} vertices over {budget} epochs" for part, budget in sorted(there))
        raise DataError(f"{path} has cells of {parts}; set space_options.vertices and table.epochs to one of these.")
    return max(found)


def _cell(graph: Any) -> Cell:
    matrix, labels = graph
    return matrix, [_OPERATIONS[label] for label in labels[1:-1]]


def _metrics(content: Mapping[str, Any]) -> Row:
    last = content["evaluation_results"][-1]
    return {
        "accuracy": float(last["validation_accuracy"]),
        "test_accuracy": float(last["test_accuracy"]),
        "train_accuracy": float(last["train_accuracy"]),
        "train_energy_j": float(last["energy (kWh)"]) * JOULES_PER_KWH,
        "train_seconds": float(last["training_time"]),
        "total_energy_j": float(content["total_energy (kWh)"]) * JOULES_PER_KWH,
        "parameters": float(content["trainable_params"]),
    }
