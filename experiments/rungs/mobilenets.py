"""Looks halfway in trainings of 192 MobileNets on Fashion-MNIST: ``experiments/search_efficiency/measure.py`` did them.

4 epochs at GreenNAS's defaults, looked at after each; joules modelled from the CPU time of the steps, on one core.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from looked import Looked

from greennas.space import load_space

_FOLDER = Path(__file__).resolve().parents[1] / "search_efficiency"
EPOCHS, LOOK = 4.0, 2.0


def looked() -> Looked:
    """The first training of each network."""
    with (_FOLDER / "mobilenet_fashion_mnist.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == "0"]
    final, look, joules, seconds = (
        np.array([float(row[name]) for row in rows])
        for name in ("accuracy", f"accuracy after {LOOK:g}", "train_energy_j", "train_seconds")
    )
    return Looked(
        title="MobileNets, Fashion-MNIST, 4 epochs",
        rung="2 of 4 epochs",
        epochs=LOOK,
        space=load_space(str(_FOLDER / "mobilenet_subset.py")),
        params=[json.loads(row["params"]) for row in rows],
        look=look,
        look_cost=joules * LOOK / EPOCHS,
        look_seconds=seconds * LOOK / EPOCHS,
        final=final,
        cost=joules,
        unit="J",
        shares=(0.05, 0.1, 0.2, 0.4),
        input_shape=(1, 28, 28),
        batch_size=64,
        device_type="cpu",
        halves=True,
    )
