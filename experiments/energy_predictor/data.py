"""Trainings as cost profiles and joules: of EC-NAS-Bench (Bakhtiarifard et al., ICASSP 2024), and tables of ours."""

from __future__ import annotations

import csv
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from greennas.profile import CostProfile
from greennas.space import load_space

JOULES_PER_KWH = 3.6e6
BATCH_SIZE = 256
EPOCHS = 4
OWN = {"FM": "nasbench201", "MN": "mobilenet"}
"""Tables of ours, and the family of their networks."""
_OWN_BATCH_SIZE = 64
_OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
_LABELS_7V = {2: _OPERATIONS[1], 3: _OPERATIONS[0], 4: _OPERATIONS[2]}
_LABELS = {operation: label for label, operation in _LABELS_7V.items()}
_INPUT, _OUTPUT = 1, 5


@dataclass(frozen=True)
class Table:
    """Measured trainings: those of EC-NAS-Bench on a Quadro RTX 6000, those of ``OWN`` with modelled energy of a CPU.

    Attributes:
        name: "7V" (the published surrogate's data), "5V" or "4V" (4 epochs on CIFAR-10, energy of the training alone),
            or "FM" and "MN" (cells of NAS-Bench-201 and MobileNets on Fashion-MNIST).
        profiles: cost profiles, n.
        energy_j: joules, (n,).
        seconds: training times, (n,); None for 7V, which has none.
        device_type: ``cuda`` or ``cpu``: what they were trained on.
        encoding: equal for the same network; of EC-NAS-Bench as the published surrogate takes them, (n, 36): upper
            triangle of the adjacency matrix with its diagonal, label of each vertex (0 where there is none), and
            parameters in millions.
    """

    name: str
    profiles: list[CostProfile]
    energy_j: NDArray[np.float64]
    encoding: NDArray[np.float64]
    seconds: NDArray[np.float64] | None = None
    device_type: str = "cuda"

    def split(self, seed: int = 42) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Indices of training (70%), validation (10%) and test (20%), drawn by ``random_split`` as published."""
        count = len(self.profiles)
        sizes = [int(0.7 * count), int(0.1 * count)]
        parts = torch.utils.data.random_split(
            range(count),  # type: ignore[arg-type]
            [*sizes, count - sum(sizes)],
            generator=torch.Generator().manual_seed(seed),
        )
        train, validation, test = (np.array(part.indices) for part in parts)
        return train, validation, test

    def once(self) -> NDArray[np.int64]:
        """Indices of the first training of each network."""
        return np.sort(np.unique(self.encoding, axis=0, return_index=True)[1])


def load(name: str, directory: Path) -> Table:
    """Read "7V", "5V" or "4V" (a row each of its three repeats) from ``directory``'s published files, or ``OWN``."""
    if name in OWN:
        return _fashion_mnist(name)
    cells, energy_kwh, seconds = _seven_vertices(directory) if name == "7V" else _small_cells(directory, f"{name}9E")
    space = load_space("nasbench101")
    profiles = [
        space.profile(space.from_matrix(matrix, operations), batch_size=BATCH_SIZE) for matrix, operations in cells
    ]
    encoding = [_encode(matrix, operations) for matrix, operations in cells]
    parameters = [profile.parameters / 1e6 for profile in profiles]
    energy_j = np.array(energy_kwh) * JOULES_PER_KWH
    return Table(name, profiles, energy_j, np.column_stack([encoding, parameters]), seconds)


_Cells = list[tuple[list[list[int]], list[str]]]


def _seven_vertices(directory: Path) -> tuple[_Cells, list[float], None]:
    adjacency, labels, energy, _ = torch.load(directory / "7v_data.pt", weights_only=True)
    cells: _Cells = []
    for matrix, row in zip(adjacency.tolist(), labels.tolist(), strict=True):
        size = sum(label > 0 for label in row)
        cells.append(([line[:size] for line in matrix[:size]], [_LABELS_7V[label] for label in row[1 : size - 1]]))
    return cells, energy.double().tolist(), None


def _small_cells(directory: Path, space: str) -> tuple[_Cells, list[float], NDArray[np.float64]]:
    graphs: dict[str, Any] = {}
    results: dict[str, list[tuple[float, float]]] = {}
    with tarfile.open(directory / "nasbench-data-4epochs.tar.gz") as archive:
        for member in archive:
            if space not in member.name or not member.name.endswith(".json"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            content = json.load(file)
            if member.name.endswith("results.json"):
                last = content["evaluation_results"][-1]
                results.setdefault(Path(member.name).parts[-3], []).append(
                    (last["energy (kWh)"], last["training_time"])
                )
            else:
                graphs = content
    order = [key for key in sorted(results) for _ in results[key]]
    cells: _Cells = [(graphs[key][0], [_OPERATIONS[label] for label in graphs[key][1][1:-1]]) for key in order]
    figures = np.array([each for key in sorted(results) for each in results[key]])
    return cells, figures[:, 0].tolist(), figures[:, 1]


def _fashion_mnist(name: str) -> Table:
    """The trainings that ``experiments/search_efficiency/measure.py`` measured."""
    folder = Path(__file__).parents[1] / "search_efficiency"
    with (folder / f"{OWN[name]}_fashion_mnist.csv").open() as file:
        rows = list(csv.DictReader(file))
    space = load_space(str(folder / f"{OWN[name]}_subset.py"))
    profiles = [space.profile(json.loads(row["params"]), (1, 28, 28), 10, batch_size=_OWN_BATCH_SIZE) for row in rows]
    _, same = np.unique([row["params"] for row in rows], return_inverse=True)
    energy_j, seconds = (np.array([float(row[key]) for row in rows]) for key in ("train_energy_j", "train_seconds"))
    return Table(name, profiles, energy_j, same.astype(np.float64)[:, None], seconds, "cpu")


def _encode(matrix: list[list[int]], operations: list[str]) -> NDArray[np.float64]:
    size = len(matrix)
    edges = np.zeros((7, 7))
    edges[:size, :size] = matrix
    labels = np.zeros(7)
    labels[:size] = [_INPUT, *(_LABELS[operation] for operation in operations), _OUTPUT]
    return np.concatenate([edges[np.triu_indices(7)], labels])
