"""Tables of 12, 36 and 108 epochs, put together from the search runs that EC-NAS published.

The runs name no architecture, but its parameters, energy and seconds, and those beyond 4 epochs are the measured ones
of 4 epochs scaled linearly: together they tell every architecture of the 4-epoch table apart. Accuracies are those of
NAS-Bench-101. An architecture that no run tried for so long is missing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from greennas.energy.units import JOULES_PER_KWH
from greennas.tabular import Table, read_published_runs

RUNS = "published_runs.csv.gz"
MEASURED_EPOCHS = 4
_ROUNDED_J = 1e-6 * JOULES_PER_KWH  # digits of the published energies
_SECONDS = 1e-3  # relative


def longer(table: Table, space: str, runs: Path, epochs: int) -> Table:
    """EC-NAS's table with trainings of ``epochs`` epochs in place of its own.

    Args:
        table: of 4 epochs.
        space: ``4V`` or ``5V``.
        runs: the file of the published runs.
        epochs: 12, 36 or 108.
    """
    factor = epochs / MEASURED_EPOCHS
    by_parameters = defaultdict(list)
    for key, measured in table.rows.items():
        for row in measured:
            by_parameters[round(row["parameters"])].append((key, row))
    rows: dict[str, tuple[dict[str, Any], ...]] = {}
    for run in read_published_runs(runs):
        if run.space != space:
            continue
        columns = run.parameters, run.energy_j, run.train_seconds, run.accuracy, run.test_accuracy
        for parameters, joules, seconds, accuracy, test in set(zip(*(c[run.valid] for c in columns), strict=True)):
            for key, row in by_parameters[round(parameters)]:
                alike = abs(joules - factor * row["train_energy_j"]) < _ROUNDED_J
                if alike and abs(seconds / (factor * row["train_seconds"]) - 1) < _SECONDS:
                    values = {"accuracy": accuracy, "test_accuracy": test}
                    rows[key] = (row | values | {"train_energy_j": joules, "train_seconds": seconds},)
    params = {key: known for key, known in table.params.items() if key in rows}
    return replace(table, name=f"EC-NAS-Bench {space}, {epochs} epochs", params=params, rows=rows)
