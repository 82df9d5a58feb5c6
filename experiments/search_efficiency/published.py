"""The search runs that EC-NAS's authors published, normalised on their own: they do not compare with the rest.

Their trials have budgets of 4, 12, 36 and 108 epochs, mixed and not marked, and energies beyond 4 epochs are those of 4
epochs scaled linearly. So a kWh there buys other accuracies than a kWh of the 4-epoch tables, and no front of the space
is known: hypervolume is normalised by the front of all published trials of the space.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import median, table
from problem import KWH, Array, curve

from greennas.pareto import hypervolume, is_non_dominated, reference_point
from greennas.tabular import PublishedRun, read_published_runs

NAMES = {"rs": "random", "semoa": "SEMOA", "shemoa": "SH-EMOA", "msehvi": "MS-EHVI"}
MARKS_KWH = (0.3, 1.0, 3.0, 10.0, 30.0)


def read(path: Path) -> dict[str, dict[str, list[PublishedRun]]]:
    """Space to method to runs."""
    found: dict[str, dict[str, list[PublishedRun]]] = defaultdict(lambda: defaultdict(list))
    for run in read_published_runs(path):
        found[run.space][run.method].append(run)
    return found


def figures(methods: Mapping[str, Sequence[PublishedRun]]) -> dict[str, Any]:
    """Medians of one space's runs with 95% intervals, JSON-ready: hypervolume (log energy) after some kWh."""
    losses = {method: [_losses(run) for run in runs] for method, runs in methods.items()}
    fronts = [each[is_non_dominated(each)] for own in losses.values() for each in own]
    front = np.vstack(fronts)
    reference = reference_point(front)
    best = hypervolume(front, reference)
    found: dict[str, Any] = {}
    for method, runs in methods.items():
        curves = []
        for each in losses[method]:
            inside = np.all(each < reference, axis=1)  # nothing else counts
            curves.append((np.cumsum(np.exp(each[:, 1]))[inside], curve(each[inside], reference) / best))
        found[NAMES[method]] = {
            "runs": len(runs),
            "trials": median([len(run) for run in runs])[0],
            "invalid": float(np.mean([1 - run.valid.mean() for run in runs])),
            "kwh": median([float(run.energy_j.sum()) / KWH for run in runs])[0],
            "kwh_without_repeats": median([_without_repeats(each) for each in losses[method]])[0],
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


def _losses(run: PublishedRun) -> Array:
    """Error and log kWh of the valid trials, (n, 2)."""
    return np.column_stack([1 - run.accuracy[run.valid], np.log(run.energy_j[run.valid] / KWH)])


def _without_repeats(losses: Array) -> float:
    return float(np.exp(np.unique(losses, axis=0)[:, 1]).sum())


def _at(spent: Array, volumes: Array, kwh: float) -> float:
    done = int(np.searchsorted(spent, kwh, side="right"))
    return float(volumes[done - 1]) if done else 0.0
