"""Measure every network of a small space on Fashion-MNIST with GreenNAS's own trainings: a row a training.

    python experiments/search_efficiency/measure.py [--table MN] --data-dir /usr/share/datasets/fashion-mnist --again 20

``--data-dir`` holds the published files of Fashion-MNIST. Trainings that the CSV has are not done again, so that it
can be stopped and goes on. Repeat r trains every network once with seed r, in an order of its own, so that what else
happens on the machine does not follow the networks; ``--again`` adds some of one repeat more, to see the noise. Energy
is that of the training steps, of the kind that the machine offers: without a hardware counter it is modelled from CPU
time. One training at a time.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from problem import OWN
from scipy.stats import kendalltau

from greennas.config import load_config
from greennas.executors import Executor, Finished
from greennas.measurement import EvaluationTask, Measurement
from greennas.prepare import prepare

TRAINING = {"batch_size": 64, "learning_rate": 0.05}
IMAGES = {"train_images": 3000, "validation_images": 3000}
COLUMNS = (
    "params",
    "seed",
    "accuracy",
    "loss",
    "train_energy_j",
    "train_energy_low_j",
    "train_energy_high_j",
    "kind",
    "train_seconds",
    "flops",
    "parameters",
    "machine",
)


def row(params: Mapping[str, Any], seed: int, found: Measurement) -> dict[str, Any]:
    """The row of one training.

    Raises:
        RuntimeError: the training failed; the message is its reason.
    """
    if not found.ok:
        raise RuntimeError(f"The training of {dict(params)} failed: {found.reason}")
    readings = found.readings["train"]
    metrics = {name: value for name, value in found.metrics.items() if name in COLUMNS and value is not None}
    return {
        "params": json.dumps(dict(params), separators=(",", ":")),
        "seed": seed,
        **{name: f"{value:.6g}" for name, value in metrics.items()},
        "train_energy_low_j": _sum(reading.low_j for reading in readings),
        "train_energy_high_j": _sum(reading.high_j for reading in readings),
        "kind": str(found.kinds["train_energy_j"]),
        "machine": f"{readings[0].device}, torch {found.environment['torch']}",
        **{look(report.epoch): f"{report.accuracy:.6g}" for report in found.rungs},
    }


def _sum(joules: Iterable[float | None]) -> str:
    """Of all windows of a training; nothing where one is unknown."""
    known = list(joules)
    return "" if None in known else f"{sum(filter(None, known)):.6g}"


def measured(executor: Executor, name: str, task: EvaluationTask) -> Measurement:
    """The outcome of one training, which is never stopped on its way."""
    executor.submit(name, task)
    while True:
        for event in executor.wait(60.0):
            if isinstance(event, Finished):
                return event.measurement
            executor.answer(name, go_on=True)


def look(epochs: float) -> str:
    """The column of the accuracy after so many epochs of a longer training."""
    return f"accuracy after {epochs:g}"


def noise(path: Path) -> str:
    """How far trainings of the same network with different seeds are apart, against how far the networks are."""
    networks: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            networks[line["params"]].append((float(line["accuracy"]), float(line["train_energy_j"])))
    repeated = np.array([values[:2] for values in networks.values() if len(values) > 1])
    first = np.array([values[0] for values in networks.values()])
    text = (
        f"{path.name}: {len(networks)} networks; accuracy {first[:, 0].min():.3f} to {first[:, 0].max():.3f} (standard "
        f"deviation {100 * first[:, 0].std():.1f} points), energy {first[:, 1].min():.1f} to {first[:, 1].max():.1f} J."
    )
    if len(repeated) < 2:
        return text
    accuracy, energy = repeated[:, :, 0], np.log(repeated[:, :, 1])
    shift = float(np.diff(energy, axis=1).mean())
    same = [kendalltau(*values.T).statistic for values in (accuracy, energy)]
    return (
        f"{text} {len(repeated)} networks trained twice: standard deviation of a repeat "
        f"{100 * _deviation(accuracy):.1f} points of accuracy and {_deviation(energy):.1%} of energy "
        f"({_deviation(energy - [0, shift]):.1%} beside a shift of all by {np.expm1(shift):+.1%}); Kendall's tau "
        f"between the repeats {same[0]:.2f} for accuracy, {same[1]:.2f} for energy."
    )


def _deviation(pairs: NDArray[np.float64]) -> float:
    """Standard deviation of one value, from differences within pairs, (n, 2)."""
    return float(np.sqrt(np.mean(np.diff(pairs, axis=1) ** 2) / 2))


def main() -> None:
    """Train what the table has not yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", default="FM", choices=OWN, help="whose networks")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of Fashion-MNIST's published files")
    parser.add_argument("--repeats", type=int, default=1, help="trainings of each network")
    parser.add_argument("--again", type=int, default=0, help="so many networks are trained once more, to see the noise")
    parser.add_argument("--out", type=Path, help="by default the table itself")
    arguments = parser.parse_args()
    own = OWN[arguments.table]
    out = arguments.out or own.file
    data = {"name": "fashion-mnist", "dir": str(arguments.data_dir), **IMAGES}
    training = {**TRAINING, "epochs": own.epochs, "rungs": list(own.looks)}
    config = load_config(overrides={"space": str(own.space), "data": data, "training": training, "workers": 1})
    setup = prepare(config)
    done: set[tuple[str, int]] = set()
    if out.is_file():
        with out.open(newline="") as file:
            done = {(line["params"], int(line["seed"])) for line in csv.DictReader(file)}
    networks = list(setup.space.architectures())
    with tempfile.TemporaryDirectory(prefix="greennas-") as folder, out.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *map(look, own.looks)], lineterminator="\n")
        if not done:
            writer.writeheader()
        images = Path(folder) / "data"
        setup.save_data(images)
        executor = setup.executor(Path(folder) / "results")
        try:
            for seed in range(arguments.repeats + 1):
                count = len(networks) if seed < arguments.repeats else arguments.again
                for i in np.random.default_rng(seed).permutation(len(networks))[:count]:
                    params = networks[i]
                    if (json.dumps(params, separators=(",", ":")), seed) in done:
                        continue
                    plan = replace(setup.plan(params), seed=seed)
                    task = setup.task("train", images, params, plan=plan, inference=False)
                    writer.writerow(row(params, seed, measured(executor, f"{seed}-{i}", task)))
                    file.flush()
        finally:
            executor.close()
    print(noise(out))


if __name__ == "__main__":
    main()
