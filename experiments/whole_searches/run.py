"""Whole searches on real trainings: what front the same joules buy with GreenNAS's strategy and with Optuna's.

    python experiments/whole_searches/run.py --data-dir DIR [--spaces mobilenet nasbench201] [--seeds 5] [--joules 1200]

Each search is ``greennas.search`` on a part of Fashion-MNIST until ``--joules`` are spent in all: trainings,
evaluations, probes, predictions and the strategy's own computing, as far as they are of the kind that the trainings'
joules have, since kinds do not add up. Only the sampler differs; everything else is the
default. A training is charged with its share of all that its search spent, in proportion to its own joules.
Hypervolume is that of error and log training energy over that of all trainings of the space together; reference:
their front's worst values and a tenth of their range. Searches of different samplers take turns, so that a busy machine
disturbs all alike.

``FOLDER/searches/`` keeps each search as a JSON file: what is there is not run again, and several processes may fill
it with different samplers or spaces. ``FOLDER`` gets table.md and result.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

import greennas
from greennas.files import write_text
from greennas.pareto import hypervolume, is_non_dominated

Array = NDArray[np.float64]
SAMPLERS: dict[str, dict[str, Any]] = {
    "GreenNAS": {},
    "Optuna TPE, proposals screened by GreenNAS": {"sampler": "tpe"},
    "Optuna TPE": {"sampler": "tpe", "screen.predict": False},
    "random": {"sampler": "random", "screen.predict": False},
}
"""Settings by name. Optuna's NSGA-II begins with 50 random trainings, more than these budgets have."""
SPACES = ("mobilenet", "nasbench201")
SETTINGS: dict[str, Any] = {"data.train_images": 3000, "data.validation_images": 2000, "energy.confirm": 0}
SHARES = (0.25, 0.5, 1.0)
"""Of the budget, where hypervolume is read off."""
MARGIN = 0.1  # of the range of all trainings, beyond the front's worst values
Search = Mapping[str, Any]


def run(space: str, sampler: str, seed: int, joules: float, data_dir: Path | None) -> dict[str, Any]:
    """One search: accuracy and joules of each training in their order, and what the whole search spent.

    Raises:
        KeyboardInterrupt: it was stopped before its joules were spent.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = greennas.search(
            space,
            "fashion-mnist",
            data_dir=data_dir,
            trials=10_000,
            out=Path(folder) / "run",
            seed=seed,
            workers=1,
            **{"energy_budget_j": joules, **SETTINGS, **SAMPLERS[sampler]},
        )
        joules_of = [trial.metrics["train_energy_j"] or 0.0 for trial in result.completed]
        (kind,) = {greennas.Kind(trial.kinds["train_energy_j"]) for trial in result.completed}
        total = result.cost.totals()[kind].energy_j
        assert total is not None
        if total + np.mean(joules_of) < joules:  # Ctrl-C or SIGTERM: one more training would have fitted
            raise KeyboardInterrupt
        return {
            "accuracy": [trial.metrics["accuracy"] for trial in result.completed],
            "train_energy_j": joules_of,
            "failed": len(result.trials) - len(result.completed),
            "kind": str(kind),
            "total_j": total,
        }


def losses(search: Search) -> Array:
    """Error and log joules of a search's trainings, (n, 2)."""
    return np.column_stack([1 - np.array(search["accuracy"]), np.log(search["train_energy_j"])])


def volumes(search: Search, reference: Array, marks: Sequence[float]) -> list[float]:
    """Hypervolume of what a search had trained when it had spent each of ``marks`` joules."""
    own = np.array(search["train_energy_j"])
    spent = np.cumsum(own) * search["total_j"] / own.sum()
    points = losses(search)
    return [hypervolume(points[spent <= mark], reference) for mark in marks]


def analyse(searches: Mapping[str, Mapping[str, Search]], joules: float) -> dict[str, Any]:
    """Means over seeds with 95% bootstrap intervals, by sampler.

    Args:
        searches: of one space, by sampler and seed; their joules are of one kind.
        joules: of a search, in all.
    """
    every = np.vstack([losses(search) for seeds in searches.values() for search in seeds.values()])
    front = every[is_non_dominated(every)]
    reference = front.max(axis=0) + MARGIN * np.ptp(every, axis=0)
    whole = hypervolume(front, reference)
    marks = [share * joules for share in SHARES]
    (kind,) = {search["kind"] for seeds in searches.values() for search in seeds.values()}
    point = [float(reference[0]), float(np.exp(reference[1]))]
    found: dict[str, Any] = {"kind": kind, "reference": point, "samplers": {}}
    for sampler, seeds in searches.items():
        rows = np.array([volumes(search, reference, marks) for search in seeds.values()]) / (whole or 1.0)
        found["samplers"][sampler] = {
            "seeds": len(rows),
            "trainings": float(np.mean([len(search["accuracy"]) for search in seeds.values()])),
            "failed": sum(search["failed"] for search in seeds.values()),
            "best_accuracy": _mean([max(search["accuracy"]) for search in seeds.values()]),
            "hypervolume": {f"{mark:g}": _mean(column) for mark, column in zip(marks, rows.T, strict=True)},
        }
    return found


def _mean(values: Sequence[float] | Array) -> list[float]:
    """Mean and its 95% bootstrap interval; of one value, itself."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2 or np.ptp(numbers) == 0:
        return [float(numbers.mean())] * 3
    ends = bootstrap((numbers,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return [float(numbers.mean()), float(ends.low), float(ends.high)]


def markdown(space: str, found: Mapping[str, Any]) -> str:
    """A table of a space."""
    error, joules = found["reference"]
    first = next(iter(found["samplers"].values()))
    heads = ["", "seeds", "trainings", "best accuracy", *(f"hypervolume at {mark} J" for mark in first["hypervolume"])]
    lines = [f"### {space}", "", f"Reference: error {error:.3f}, {joules:.3g} J. All joules are {found['kind']}.", ""]
    lines += [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for name, row in found["samplers"].items():
        cells = [name, str(row["seeds"]), f"{row['trainings']:.1f}", _cell(row["best_accuracy"], 4)]
        lines.append(f"| {' | '.join([*cells, *(_cell(value, 2) for value in row['hypervolume'].values())])} |")
    return "\n".join([*lines, ""])


def _cell(value: Sequence[float], digits: int) -> str:
    mean, low, high = value
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    """Run what is missing and write table and JSON of what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder with Fashion-MNIST's published files")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), choices=SPACES)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--joules", type=float, default=1200.0, help="of a search, in all")
    parser.add_argument("--out", type=Path, default=Path("whole_searches"))
    arguments = parser.parse_args()
    folder = arguments.out / "searches"
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"joules": arguments.joules, "machine": platform.machine(), "spaces": {}}
    text = []
    for space in arguments.spaces:
        searches: dict[str, dict[str, Search]] = {name: {} for name in SAMPLERS if name in arguments.samplers}
        for seed in range(arguments.seeds):
            for sampler, made in searches.items():
                path = folder / f"{space}-{list(SAMPLERS).index(sampler)}-{seed}-{arguments.joules:g}J.json"
                if not path.is_file():
                    write_text(path, json.dumps(run(space, sampler, seed, arguments.joules, arguments.data_dir)))
                made[str(seed)] = json.loads(path.read_text())
        result["spaces"][space] = analyse(searches, arguments.joules)
        text.append(markdown(space, result["spaces"][space]))
        print(text[-1], flush=True)
    write_text(arguments.out / "table.md", "\n".join(text))
    write_text(arguments.out / "result.json", json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
