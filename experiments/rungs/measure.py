"""Train networks of ``nasbench201`` at full and at smaller budgets, on Fashion-MNIST: the study's raw figures.

Called by ``run.py``. Every training is metered and appended to a CSV, a row for each of its rungs and one for its end,
so that it can be stopped and goes on where it was. One training at a time, on one thread.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greennas.data import Dataset, load_data
from greennas.energy import Reading, open_meter
from greennas.energy.reading import total
from greennas.predictors import zero_cost_proxies
from greennas.sampler.candidates import ReplayTrial
from greennas.space import SearchSpace, load_space
from greennas.trainer import TrainingPlan, train

TABLE = Path(__file__).with_name("trainings.csv")
NETWORKS = 32
EPOCHS = 8
IMAGES = {"train_images": 1500, "validation_images": 1000}
BATCH_SIZE = 32
PROXY_IMAGES = 64
COLUMNS = (
    "params",
    "training",
    "seed",
    "epochs",
    "accuracy",
    "loss",
    "nwot",
    "synflow",
    "train_energy_j",
    "evaluation_energy_j",
    "train_seconds",
    "kind",
    "machine",
)


@dataclass(frozen=True)
class Training:
    """One way to train a network, looked at after some epochs and at its end.

    Attributes:
        name: as the table calls it.
        epochs: passes over what it is trained on.
        seed: of weights and order; those to be compared have different ones.
        rungs: epochs after which it is looked at, too.
        schedule: of the learning rate.
        resolution: side of the images in pixels; None: as they are.
        data_share: of the train split.
    """

    name: str
    epochs: int
    seed: int
    rungs: tuple[int, ...] = ()
    schedule: str = "constant"
    resolution: int | None = None
    data_share: float = 1.0

    @property
    def plan(self) -> TrainingPlan:
        """How it is trained."""
        return TrainingPlan(
            epochs=self.epochs,
            batch_size=BATCH_SIZE,
            precision="float32",
            seed=self.seed,
            rungs=self.rungs,
            schedule=self.schedule,  # type: ignore[arg-type]
        )


TRAININGS = (
    Training("full", EPOCHS, 0, (1, 2, 4)),
    Training("full", EPOCHS, 1, (1, 2, 4)),
    Training("annealed 1", 1, 2, schedule="cosine"),
    Training("annealed 2", 2, 2, schedule="cosine"),
    Training("14 pixels", 4, 2, (1, 2), resolution=14),
    Training("half of the images", 2, 2, (1,), data_share=0.5),
    Training("quarter of the images", EPOCHS, 2, (1, 2, 4), data_share=0.25),
    Training("14 pixels, half of the images", 4, 2, (1, 2), resolution=14, data_share=0.5),
)
PROXIES = Training("proxies", 0, 2)


def search_space() -> SearchSpace:
    """The space that the networks are of."""
    return load_space("nasbench201", width=4, depth=1)


def networks() -> list[dict[str, Any]]:
    """Different networks of the space, drawn at random as a search draws its first ones."""
    space, rng = search_space(), np.random.default_rng(0)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < NETWORKS:
        params = space.sample(ReplayTrial(rng))
        found.setdefault(space.architecture(params).id, dict(params))
    return list(found.values())


def measure(data_dir: Path, table: Path = TABLE) -> None:
    """Do what the table has not yet; network by network, so that the first ones are complete."""
    torch.set_num_threads(1)
    space = search_space()
    data = load_data("fashion-mnist", data_dir, **IMAGES)
    done: set[tuple[str, str, int]] = set()
    if table.is_file():
        with table.open(newline="") as file:
            done = {(row["params"], row["training"], int(row["seed"])) for row in csv.DictReader(file)}
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not done:
            writer.writeheader()
        for number, params in enumerate(networks()):
            key = json.dumps(params, separators=(",", ":"))
            for training in (PROXIES, *TRAININGS):
                if (key, training.name, training.seed) in done:
                    continue
                common = {"params": key, "training": training.name, "seed": training.seed}
                rows = proxies(space, params, data) if training is PROXIES else trained(space, params, training, data)
                writer.writerows(common | row for row in rows)
                file.flush()
            print(f"{number + 1} of {NETWORKS} networks", flush=True)


class Phases:
    """Meters each part of a training."""

    def __init__(self) -> None:
        self.readings: dict[str, list[Reading]] = {}
        self._meter = open_meter("cpu")

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Meter what is done inside."""
        with self._meter.window() as window:
            yield
        readings = [reading for reading in window.readings if reading.component == "cpu"]
        self.readings.setdefault(name, []).extend(readings)


def trained(space: SearchSpace, params: dict[str, Any], training: Training, data: Dataset) -> list[dict[str, Any]]:
    """Train and say what was reached, and spent until then, at each rung and at the end."""
    phases = Phases()
    module = _build(space, params, training.seed, data)
    with phases("reduce"):
        reduced = data.reduced(training.resolution, training.data_share)
    result = train(module, reduced, training.plan, phase=phases)
    reached = [(rung.epoch, rung.accuracy, rung.loss, rung.seconds) for rung in result.rungs]
    reached.append((training.epochs, result.accuracy, result.loss, result.seconds))
    rows = []
    for i, (epoch, accuracy, loss, seconds) in enumerate(reached):
        spent, kind = total(phases.readings["train"][: i + 1])
        # Evaluated once: a rung is the only one that a search with this rung would look at.
        looked, _ = total([*phases.readings["evaluate"][i : i + 1], *phases.readings["reduce"]])
        rows.append(
            {
                "epochs": f"{epoch:g}",
                "accuracy": f"{accuracy:.6g}",
                "loss": f"{loss:.6g}",
                "train_energy_j": f"{spent:.6g}",
                "evaluation_energy_j": f"{looked:.6g}",
                "train_seconds": f"{seconds:.6g}",
                **_source(phases.readings["train"][0], str(kind)),
            }
        )
    return rows


def proxies(space: SearchSpace, params: dict[str, Any], data: Dataset) -> list[dict[str, Any]]:
    """NWOT and synflow of the untrained network, and what they cost; its building counts."""
    phases = Phases()
    mean, std = (torch.tensor(each).reshape(1, -1, 1, 1) for each in (data.mean, data.std))
    images = (data.train.images[:PROXY_IMAGES].float() / 255 - mean) / std
    with phases("train"):
        found = zero_cost_proxies(_build(space, params, PROXIES.seed, data), images)
    (reading,) = phases.readings["train"]
    values = {name: f"{value:.6g}" for name, value in found.items()}
    return [{"epochs": "0", **values, "train_energy_j": f"{reading.energy_j:.6g}", **_source(reading, reading.kind)}]


def _source(reading: Reading, kind: str) -> dict[str, str]:
    return {"kind": str(kind), "machine": f"{reading.device}, torch {torch.__version__}"}


def _build(space: SearchSpace, params: dict[str, Any], seed: int, data: Dataset) -> torch.nn.Module:
    """As a search builds it: for the whole images, with weights of the seed."""
    torch.manual_seed(seed)
    return space.build(params, data.input_shape, data.num_classes)
