"""Measure every network of ``nasbench201_subset`` on Fashion-MNIST with GreenNAS's own trainings: a row a training.

    python experiments/search_efficiency/measure.py --data-dir /usr/share/datasets/fashion-mnist --repeats 2

``--data-dir`` holds the published files of Fashion-MNIST. Trainings that the CSV has are not done again, so that it
can be stopped and goes on. Repeat r trains every network once with seed r, in an order of its own, so that what else
happens on the machine does not follow the networks. Energy is that of the training steps, of the kind that the machine
offers: without a hardware counter it is modelled from CPU time. One training at a time.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from problem import OWN_EPOCHS, OWN_SPACE, OWN_TABLE

from greennas.config import load_config
from greennas.executors import Finished
from greennas.measurement import Measurement
from greennas.prepare import prepare

TRAINING = {"epochs": OWN_EPOCHS, "rungs": [], "batch_size": 64, "learning_rate": 0.05}
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
    reading = found.readings["train"][0]
    metrics = {name: value for name, value in found.metrics.items() if name in COLUMNS and value is not None}
    return {
        "params": json.dumps(dict(params), separators=(",", ":")),
        "seed": seed,
        **{name: f"{value:.6g}" for name, value in metrics.items()},
        "train_energy_low_j": f"{reading.low_j:.6g}",
        "train_energy_high_j": f"{reading.high_j:.6g}",
        "kind": str(found.kinds["train_energy_j"]),
        "machine": f"{reading.device}, torch {found.environment['torch']}",
    }


def main() -> None:
    """Train what the table has not yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of Fashion-MNIST's published files")
    parser.add_argument("--repeats", type=int, default=2, help="trainings of each network")
    parser.add_argument("--out", type=Path, default=OWN_TABLE)
    arguments = parser.parse_args()
    data = {"name": "fashion-mnist", "dir": str(arguments.data_dir), **IMAGES}
    config = load_config(overrides={"space": str(OWN_SPACE), "data": data, "training": TRAINING, "workers": 1})
    setup = prepare(config)
    done: set[tuple[str, int]] = set()
    if arguments.out.is_file():
        with arguments.out.open(newline="") as file:
            done = {(line["params"], int(line["seed"])) for line in csv.DictReader(file)}
    networks = list(setup.space.architectures())
    with tempfile.TemporaryDirectory(prefix="greennas-") as folder, arguments.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not done:
            writer.writeheader()
        images = Path(folder) / "data"
        setup.save_data(images)
        executor = setup.executor(Path(folder) / "results")
        try:
            for seed in range(arguments.repeats):
                for i in np.random.default_rng(seed).permutation(len(networks)):
                    params = networks[i]
                    if (json.dumps(params, separators=(",", ":")), seed) in done:
                        continue
                    plan = replace(setup.plan(params), seed=seed)
                    task = setup.task("train", images, params, plan=plan, inference=False)
                    executor.submit(f"{seed}-{i}", task)
                    while not (events := executor.wait(60.0)):
                        pass
                    (event,) = events
                    assert isinstance(event, Finished)
                    writer.writerow(row(params, seed, event.measurement))
                    file.flush()
        finally:
            executor.close()
    print(f"{arguments.out} has {arguments.repeats} trainings of each of {len(networks)} networks.")


if __name__ == "__main__":
    main()
