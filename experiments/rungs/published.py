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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState
from scipy.stats import kendalltau

from greennas.pareto import hypervolume, reference_point
from greennas.rungs import RungKeeper
from greennas.sampler import GreenSampler
from greennas.space import load_space
from greennas.tabular.nasbench101 import cell_reader
from greennas.trainer import RungReport

Array = NDArray[np.float64]
ARCHIVE = "nasbench-data-4epochs.tar.gz"
EPOCHS = 2.0
GRACE = 4
MOST_TRIALS = 150
KWH = (0.25, 0.5, 1.0)
"""Spent by a search, at which hypervolumes are compared."""
_RESULT = re.compile(r".*/energy/(\d)V9E/4_epochs/[^/]+/([^/]+)/[^/]+/results\.json")
_GRAPHS = re.compile(r".*/generated_graphs_(\d)V9E\.json")
_OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
_RESAMPLES = 500
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
                value, low, high = _tau(values, other)
                row = {"part": f"{vertices}V", "networks": len(table), "repeats": table.shape[1], "signal": name}
                rows.append(row | {"tau": value, "low": low, "high": high, "share": cost})
        return rows

    def search(self, vertices: int, seed: int, rung: bool, green: bool) -> Array:
        """kWh spent and hypervolume (1: of the whole part) after each network of a search, (n, 2).

        Networks are chosen by GreenSampler or at random; one that is stopped has spent what it had after 2 epochs.
        """
        space = load_space("nasbench101", vertices=vertices)
        params_of = cell_reader(space, self.path)
        table = self.table(vertices)
        losses = np.log(np.column_stack([1 - table[:, 0, _LAST], table[:, 0, _LAST_KWH]]))
        index = {}
        for i, key in enumerate(self.parts[vertices]):
            matrix, labels = self.graphs[vertices][key]
            params = params_of((matrix, [_OPERATIONS[label] for label in labels[1:-1]]))
            index[space.architecture(params).id] = i
        reference = reference_point(losses)
        best = hypervolume(losses, reference)
        keeper = RungKeeper(0.5, GRACE)
        sampler = GreenSampler(space, seed=seed, batch_size=256) if green else optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        spent, trained, points, tried = 0.0, [], [], set()
        while len(points) < MOST_TRIALS and spent < max(KWH):
            trial = study.ask()
            i = index[space.architecture(space.sample(trial)).id]
            accuracy, half_kwh, half_s, final, kwh, _ = table[i, 0]
            if i in tried:  # a network is trained once
                study.tell(trial, state=TrialState.FAIL)
                continue
            tried.add(i)
            report = RungReport(EPOCHS, 0, 0, accuracy, 0.0, half_s)
            go_on = not rung or keeper.go_on(report)
            trial.set_user_attr("rungs", [asdict(report)] if rung else [])
            spent += kwh if go_on else half_kwh
            if go_on:
                trained.append(i)
                trial.set_user_attr("metrics", {"accuracy": final, "train_energy_j": 3.6e6 * kwh})
                study.tell(trial, [final, 3.6e6 * kwh])
            else:
                study.tell(trial, state=TrialState.PRUNED)
            points.append((spent, hypervolume(losses[trained], reference) / best))
        return np.array(points)

    def compare(self, vertices: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Hypervolume at ``KWH`` with and without the rung, mean and standard error over the seeds; JSON-ready."""
        rows = []
        for green in (False, True):
            for rung in (False, True):
                runs = [self.search(vertices, seed, rung, green) for seed in seeds]
                found = np.array([[_at(run, kwh) for kwh in KWH] for run in runs])
                error = found.std(axis=0, ddof=1) / np.sqrt(len(runs))
                rows.append(
                    {
                        "part": f"{vertices}V",
                        "strategy": "GreenSampler" if green else "random",
                        "rung": "2 of 4 epochs" if rung else "none",
                        "seeds": len(runs),
                        "mean": found.mean(axis=0).tolist(),
                        "standard_error": error.tolist(),
                    }
                )
        return rows


def _at(run: Array, kwh: float) -> float:
    done = run[run[:, 0] <= kwh, 1]
    return float(done[-1]) if len(done) else 0.0


def _tau(values: Array, other: Array) -> tuple[float, float, float]:
    """Kendall's tau-b with its 95% bootstrap interval over the networks."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(values), size=len(values)) for _ in range(_RESAMPLES)]
    found = [kendalltau(values[draw], other[draw]).statistic for draw in draws]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(kendalltau(values, other).statistic), float(low), float(high)


def markdown(signals: Sequence[dict[str, Any]], searches: Sequence[dict[str, Any]]) -> str:
    """The rows as two tables."""
    lines = [
        "| part | networks | trainings of each | signal | tau (95% interval) | % of the full training's joules |",
        "| --- | ---: | ---: | --- | --- | ---: |",
    ]
    for row in signals:
        lines.append(
            f"| {row['part']} | {row['networks']:,} | {row['repeats']} | {row['signal']} | {row['tau']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f}) | {100 * row['share']:.0f} |"
        )
    titles = " | ".join(f"hypervolume at {kwh:g} kWh" for kwh in KWH)
    lines += [
        "",
        f"| part | strategy | rung | seeds | {titles} |",
        "| --- | --- | --- | ---: " + "| ---: " * len(KWH) + "|",
    ]
    for row in searches:
        pairs = zip(row["mean"], row["standard_error"], strict=True)
        cells = " | ".join(f"{mean:.3f} ± {error:.3f}" for mean, error in pairs)
        lines.append(f"| {row['part']} | {row['strategy']} | {row['rung']} | {row['seeds']} | {cells} |")
    return "\n".join(lines)
