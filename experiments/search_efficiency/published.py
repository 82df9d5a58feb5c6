"""The search runs that EC-NAS's authors published, normalised on their own: they do not compare with the rest.

Their trials have budgets of 4, 12, 36 and 108 epochs, mixed and not marked, and energies beyond 4 epochs are those of 4
epochs scaled linearly. So a kWh there buys other accuracies than a kWh of the 4-epoch tables, and no front of the space
is known: hypervolume is normalised by the front of all published trials of the space.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from figures import median, table
from problem import MARGIN, Array, curve

from greennas.pareto import hypervolume

FILE = "published_runs.csv.gz"
NAMES = {"rs": "random", "semoa": "SEMOA", "shemoa": "SH-EMOA", "msehvi": "MS-EHVI"}
MARKS_KWH = (0.3, 1.0, 3.0, 10.0, 30.0)


def read(path: Path) -> dict[str, dict[str, list[Array]]]:
    """Space to method to runs, each (n, 2): error and kWh in the order of the trials; error 1 where it was invalid."""
    trials: dict[tuple[str, str, int], list[tuple[int, float, float]]] = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            trial = int(row["trial_index"]), 1 + float(row["val_acc"]) / 100, float(row["energy"])
            trials[row["space"], row["method"], int(row["run"])].append(trial)
    found: dict[str, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for (space, method, _), rows in sorted(trials.items()):
        found[space][method].append(np.array(sorted(rows))[:, 1:])
    return found


def figures(methods: Mapping[str, list[Array]]) -> dict[str, Any]:
    """Medians of one space's runs with 95% intervals, JSON-ready: hypervolume (log energy) after some kWh."""
    fronts = [_front(_logged(run[run[:, 1] > 0])) for runs in methods.values() for run in runs]
    front = _front(np.vstack(fronts))
    reference = front.max(axis=0) + MARGIN * np.ptp(front, axis=0)
    best = hypervolume(front, reference)
    found: dict[str, Any] = {}
    for method, runs in methods.items():
        curves = []
        for run in runs:
            valid = run[run[:, 1] > 0]
            inside = np.all(_logged(valid) < reference, axis=1)  # nothing else counts
            volumes = curve(_logged(valid[inside]), reference) / best
            curves.append((np.cumsum(valid[:, 1])[inside], volumes))
        found[NAMES[method]] = {
            "runs": len(runs),
            "trials": median([len(run) for run in runs])[0],
            "invalid": float(np.mean([np.mean(run[:, 1] == 0) for run in runs])),
            "kwh": median([float(run[:, 1].sum()) for run in runs])[0],
            "kwh_without_repeats": median([float(np.unique(run, axis=0)[:, 1].sum()) for run in runs])[0],
            "at_kwh": {mark: median([_at(*each, mark) for each in curves]) for mark in MARKS_KWH},
            "end": median([float(volumes[-1]) if len(volumes) else 0.0 for _, volumes in curves]),
        }
    return {"reference_error_and_kwh": [float(reference[0]), float(np.exp(reference[1]))], "methods": found}


def markdown(space: str, found: Mapping[str, Any]) -> str:
    """The table of one space."""
    error, kwh = found["reference_error_and_kwh"]
    rows = [
        [
            name,
            str(each["runs"]),
            f"{each['trials']:.0f}",
            f"{each['invalid']:.0%}",
            f"{each['kwh']:.3g}",
            f"{each['kwh_without_repeats']:.3g}",
            *(f"{mid:.3f} ({low:.3f} to {high:.3f})" for mid, low, high in (*each["at_kwh"].values(), each["end"])),
        ]
        for name, each in found["methods"].items()
    ]
    marks = [f"at {mark:g} kWh" for mark in MARKS_KWH]
    header = ["", "runs", "trials", "invalid", "kWh in all", "kWh, repeats free", *marks, "at the end"]
    title = (
        f"{space}, hypervolume of error and log kWh; reference: error {error:.3f}, {kwh:.3g} kWh; 1 = all runs together"
    )
    return f"#### {title}\n\n{table(header, rows)}"


def _front(losses: Array) -> Array:
    """Non-dominated rows of many, (n, 2): with the first loss rising, the second has to fall."""
    rows = losses[np.lexsort((losses[:, 1], losses[:, 0]))]
    before = np.concatenate([[np.inf], np.minimum.accumulate(rows[:, 1])[:-1]])
    return np.asarray(rows[rows[:, 1] < before])


def _logged(points: Array) -> Array:
    return np.column_stack([points[:, 0], np.log(points[:, 1])])


def _at(spent: Array, volumes: Array, kwh: float) -> float:
    done = int(np.searchsorted(spent, kwh, side="right"))
    return float(volumes[done - 1]) if done else 0.0
