"""EC-NAS-Bench (Bakhtiarifard, Igel and Selvan, ICASSP 2024): its tree of measured trainings, its surrogate's data."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from greennas.architecture import Params
from greennas.errors import DataError, InvalidArchitectureError
from greennas.space import SearchSpace
from greennas.tabular.table import Table, make_table

JOULES_PER_KWH = 3.6e6
_OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")  # labels 0, 1, 2
_SURROGATE_LABELS = {2: _OPERATIONS[1], 3: _OPERATIONS[0], 4: _OPERATIONS[2]}


def read_ec_nas(path: str | Path, space: SearchSpace, *, epochs: int = 4, energy: str | None = None) -> Table:
    """Read the results tree of EC-NAS-Bench's repository: ``nasbench/data``, or a tar archive of it.

    Graphs are in ``graphs/generated_graphs_5V9E.json``, trainings in
    ``train_model_results/energy/5V9E/4_epochs/<xx>/<hash>/repeat_<n>/results.json``. The part of the space's number of
    vertices is read. Metrics: accuracy (validation), test_accuracy and train_accuracy in 0..1; train_energy_j and
    train_seconds up to the last evaluation; total_energy_j of the whole run with its evaluations; parameters.

    Args:
        path: folder or archive.
        space: ``nasbench101`` with the option ``vertices``.
        epochs: budget of the trainings.
        energy: column that a replay is charged; None for train_energy_j.

    Raises:
        DataError: nothing of this space and budget in it, or a file of another form.
    """
    part = f"{ {**space.default_options, **space.options}.get('vertices', 7) }V9E"
    graphs: dict[str, Any] = {}
    results: list[tuple[str, Any]] = []
    for name, content in _documents(Path(path), part, f"{epochs}_epochs"):
        if PurePosixPath(name).name == "results.json":
            results.append((PurePosixPath(name).parts[-3], content))
        else:
            graphs |= content
    if not results or not graphs:
        raise DataError(
            f"{path} has no trainings of {part} over {epochs} epochs; set space_options.vertices to its part."
        )
    try:
        trainings = [(_cell(graphs.get(key), space), _metrics(content)) for key, content in results]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not of EC-NAS-Bench's form ({error!r}); give its nasbench/data folder.") from error
    return make_table(f"EC-NAS-Bench {part}, {epochs} epochs", space, trainings, energy)


def read_surrogate_data(path: str | Path, space: SearchSpace) -> Table:
    """Read ``7v_data.pt``, the training data of EC-NAS's energy surrogate: train_energy_j and parameters.

    Raises:
        DataError: not a file of four tensors.
    """
    try:
        adjacency, labels, energy_kwh, parameters = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} is not EC-NAS's 7v_data.pt ({type(error).__name__}); check the file.") from error
    trainings: list[tuple[Params | None, dict[str, float]]] = []
    for matrix, row, kwh, count in zip(
        adjacency.tolist(), labels.tolist(), energy_kwh.double().tolist(), parameters.double().tolist(), strict=True
    ):
        size = sum(label > 0 for label in row)
        operations = [_SURROGATE_LABELS[label] for label in row[1 : size - 1]]
        metrics = {"train_energy_j": kwh * JOULES_PER_KWH, "parameters": count}
        trainings.append((space.from_matrix([line[:size] for line in matrix[:size]], operations), metrics))
    return make_table(Path(path).name, space, trainings)


def _documents(path: Path, part: str, budget: str) -> Iterator[tuple[str, Any]]:
    """Names and contents of the JSON files that belong to a part and a budget, in the order of their names."""

    def wanted(name: str) -> bool:
        if name.endswith(f"generated_graphs_{part}.json"):
            return True
        return name.endswith("/results.json") and f"/{part}/{budget}/" in name

    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                if wanted(file.as_posix()):
                    yield file.as_posix(), json.loads(file.read_text())
            return
        with tarfile.open(path) as archive:
            members = {f"/{member.name}": member for member in archive if member.isfile()}
            for name in sorted(members):
                if wanted(name):
                    content = archive.extractfile(members[name])
                    assert content is not None
                    yield name, json.load(content)
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); give EC-NAS's data folder or its tar.gz.") from error


def _cell(graph: Any, space: SearchSpace) -> Params | None:
    if graph is None:
        return None
    matrix, labels = graph
    try:
        params: Params = space.from_matrix(matrix, [_OPERATIONS[label] for label in labels[1:-1]])
    except InvalidArchitectureError:
        return None
    return params


def _metrics(content: Mapping[str, Any]) -> dict[str, float]:
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
