"""Tables of NAS-Bench-201 cells with made-up trainings."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np

from search_spaces.nasbench201 import OPERATIONS

CHAIN = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"


def nasbench201_rows(seed: int = 0) -> list[dict[str, object]]:
    """All cell strings, with made-up accuracies and energies of their convolutions."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for a, b, c, d, e, f in itertools.product(OPERATIONS, repeat=6):
        cell = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        convolutions = cell.count("nor_conv_3x3") * 3 + cell.count("nor_conv_1x1")
        accuracy = 70 + 2.5 * convolutions - 0.08 * convolutions**2 + rng.normal(0, 0.3)
        rows.append({"arch": cell, "accuracy": accuracy, "error": 100 - accuracy, "energy_mj": 3 + convolutions})
    return rows


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
