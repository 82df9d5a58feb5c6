"""Looks halfway in EC-NAS-Bench's published trainings: 4 epochs on CIFAR-10, annealed, measured on a GPU.

Each training was evaluated after 2 and after 4 epochs. The learning rate falls to 0 over the whole training, as in
NAS-Bench-101, so that a look halfway sees a network that is not annealed yet.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from looked import Array, Looked, tau

from greennas.space import load_space
from greennas.tabular.nasbench101 import cell_reader

ARCHIVE = "nasbench-data-4epochs.tar.gz"
_RESULT = re.compile(r".*/energy/(\d)V9E/4_epochs/[^/]+/([^/]+)/[^/]+/results\.json")
_GRAPHS = re.compile(r".*/generated_graphs_(\d)V9E\.json")
_OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
# Columns of a training.
_HALF, _HALF_KWH, _HALF_S, _LAST, _LAST_KWH, _PARAMETERS = range(6)


class Published:
    """The trainings by vertices and network.

    Args:
        folder: with EC-NAS-Bench's archive.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ARCHIVE
        self.parts: dict[int, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
        self.graphs: dict[int, dict[str, Any]] = {}
        with tarfile.open(self.path) as archive:
            for member in archive:
                result, graphs = (pattern.fullmatch(f"/{member.name}") for pattern in (_RESULT, _GRAPHS))
                content = archive.extractfile(member) if result or graphs else None
                if content is None:
                    continue
                read = json.load(content)
                if graphs:
                    self.graphs[int(graphs[1])] = read
                elif result:
                    _, half, last = read["evaluation_results"]
                    self.parts[int(result[1])][result[2]].append(
                        [
                            half["validation_accuracy"],
                            half["energy (kWh)"],
                            half["training_time"],
                            last["validation_accuracy"],
                            last["energy (kWh)"],
                            read["trainable_params"],
                        ]
                    )

    def table(self, vertices: int) -> Array:
        """Trainings of a part, (networks, repeats, columns)."""
        networks = self.parts[vertices].values()
        repeats = min(map(len, networks))
        return np.array([each[:repeats] for each in networks], dtype=float)

    def signals(self) -> list[dict[str, Any]]:
        """Taus with the final accuracy, a row a part and signal, JSON-ready.

        Where a network was trained several times, a look is held against another training of it.
        """
        rows = []
        for vertices in sorted(self.parts):
            table = self.table(vertices)
            final, other = table[:, 0, _LAST], table[:, -1, _LAST]
            share = float(np.median(table[:, :, _HALF_KWH] / table[:, :, _LAST_KWH]))
            signals = {"parameters": (table[:, 0, _PARAMETERS], 0.0)}
            signals["2 of 4 epochs: accuracy"] = table[:, 0, _HALF], share
            if table.shape[1] > 1:
                signals = {"the full training, another one": (final, 1.0)} | signals
            for name, (values, cost) in signals.items():
                value, low, high = tau(values, other)
                row = {"part": f"{vertices}V", "networks": len(table), "repeats": table.shape[1], "signal": name}
                rows.append(row | {"tau": value, "low": low, "high": high, "share": cost})
        return rows

    def looked(self, vertices: int) -> Looked:
        """The first training of each network of a part."""
        space = load_space("nasbench101", vertices=vertices)
        params_of = cell_reader(space, self.path)
        cells = [self.graphs[vertices][key] for key in self.parts[vertices]]
        first = self.table(vertices)[:, 0]
        return Looked(
            title=f"EC-NAS {vertices}V, CIFAR-10, 4 epochs",
            rung="2 of 4 epochs",
            epochs=2.0,
            space=space,
            params=[params_of((matrix, [_OPERATIONS[label] for label in labels[1:-1]])) for matrix, labels in cells],
            look=first[:, _HALF],
            look_cost=first[:, _HALF_KWH],
            look_seconds=first[:, _HALF_S],
            final=first[:, _LAST],
            cost=first[:, _LAST_KWH],
            unit="kWh",
            shares=(0.005, 0.01, 0.02, 0.04),
            input_shape=(3, 32, 32),
            batch_size=256,
            device_type="cuda",
        )


def markdown(signals: Sequence[dict[str, Any]]) -> str:
    """The rows of ``Published.signals`` as a table."""
    lines = [
        "| part | networks | trainings of each | signal | tau (95% interval) | % of the full training's joules |",
        "| --- | ---: | ---: | --- | --- | ---: |",
    ]
    for row in signals:
        lines.append(
            f"| {row['part']} | {row['networks']:,} | {row['repeats']} | {row['signal']} | {row['tau']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f}) | {100 * row['share']:.0f} |"
        )
    return "\n".join(lines)
