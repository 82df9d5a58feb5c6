"""How well each cheap signal ranks the networks as a full training does, and what it costs."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from measure import BATCH_SIZE, EPOCHS
from numpy.typing import NDArray
from scipy.stats import rankdata

from greennas.predictors import AccuracyPredictor
from greennas.profile import CostProfile
from greennas.space import SearchSpace
from greennas.trainer import Rung

Array = NDArray[np.float64]
REDUCED: dict[str, dict[str, Any]] = {
    "14 pixels": {"resolution": 14},
    "half of the images": {"data_share": 0.5},
    "quarter of the images": {"data_share": 0.25},
    "14 pixels, half of the images": {"resolution": 14, "data_share": 0.5},
}
"""Trainings at rungs of their own."""
FULL_SEEDS = (0, 1)
RESAMPLES = 4000
INPUT_SHAPE = (1, 28, 28)
_SPLITS = 50


@dataclass(frozen=True)
class Signal:
    """What tells something of a network before its full training ends.

    Attributes:
        name: to people.
        pairs: values of the signal and final accuracies to compare them with, each (n,); several pairs are averaged. No
            pair shares a seed, which would show luck that a search cannot use.
        joules: mean of a network, evaluation included.
    """

    name: str
    pairs: tuple[tuple[Array, Array], ...]
    joules: float


class Study:
    """The trainings of ``measure.py``.

    Args:
        space: of the networks.
        table: the CSV; only networks that have all of their trainings count.
    """

    def __init__(self, space: SearchSpace, table: Path) -> None:
        self.space = space
        rows: dict[str, dict[tuple[str, int, float], dict[str, str]]] = defaultdict(dict)
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                rows[row["params"]][row["training"], int(row["seed"]), float(row["epochs"])] = row
        most = max(map(len, rows.values()))
        self.rows = [found for found in rows.values() if len(found) == most]
        self.params: list[dict[str, Any]] = [json.loads(key) for key, found in rows.items() if len(found) == most]
        first = next(iter(self.rows[0].values()))
        self.kind, self.machine = first["kind"], first["machine"]

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, training: str, seed: int, epochs: float, column: str) -> Array:
        """One column of a training at its rung, (n,)."""
        return np.array([float(row[training, seed, epochs][column]) for row in self.rows])

    def joules(self, training: str, seed: int, epochs: float) -> Array:
        """Joules of each network until then, the look included, (n,)."""
        args = training, seed, epochs
        return self.values(*args, "train_energy_j") + self.values(*args, "evaluation_energy_j")

    def rung(self, rung: Rung) -> tuple[str, float]:
        """The training that a rung is of, and its epochs."""
        for name, reduced in REDUCED.items():
            if rung == Rung(rung.epochs, **reduced):
                return name, rung.epochs
        return "full", rung.epochs

    @property
    def separate(self) -> list[tuple[str, float]]:
        """Trainings of their own, each of their rungs."""
        return [(training, epochs) for training, _, epochs in self.rows[0] if training not in ("full", "proxies")]

    @cached_property
    def finals(self) -> list[Array]:
        """Final accuracies, of each seed."""
        return [self.values("full", seed, EPOCHS, "accuracy") for seed in FULL_SEEDS]

    @cached_property
    def final_joules(self) -> Array:
        """Joules of the full training's steps, mean over the seeds, (n,)."""
        return np.mean([self.values("full", seed, EPOCHS, "train_energy_j") for seed in FULL_SEEDS], axis=0)

    @cached_property
    def profiles(self) -> list[CostProfile]:
        """Costs on paper."""
        return [self.space.profile(params, INPUT_SHAPE, 10, BATCH_SIZE) for params in self.params]

    @cached_property
    def full_joules(self) -> float:
        """Joules of a full training with its evaluation, mean over networks and seeds."""
        return float(np.mean([self.joules("full", seed, EPOCHS) for seed in FULL_SEEDS]))

    def signals(self) -> list[Signal]:
        """All of them; the first is a full training with another seed, the ceiling."""
        found = [Signal("the full training, other seed", ((self.finals[0], self.finals[1]),), self.full_joules)]
        flops = np.array([profile.total_flops for profile in self.profiles])
        parameters = np.array([float(profile.parameters) for profile in self.profiles])
        proxies = {name: self.values("proxies", 2, 0, name) for name in ("nwot", "synflow")}
        proxy_j = float(self.values("proxies", 2, 0, "train_energy_j").mean())
        found += [
            self._against_both("FLOPs", flops, 0.0),
            self._against_both("parameters", parameters, 0.0),
            self._against_both("NWOT", proxies["nwot"], proxy_j),
            self._against_both("synflow", proxies["synflow"], proxy_j),
            self._against_both("NWOT + FLOPs, ranks", rankdata(proxies["nwot"]) + rankdata(flops), proxy_j),
        ]
        for epochs in (1, 2, 4):
            for column, sign in (("accuracy", 1), ("loss", -1)):
                pairs = tuple(
                    (sign * self.values("full", seed, epochs, column), self.finals[1 - i])
                    for i, seed in enumerate(FULL_SEEDS)
                )
                joules = float(np.mean([self.joules("full", seed, epochs) for seed in FULL_SEEDS]))
                found.append(Signal(f"{Rung(epochs)} of the training: {column}", pairs, joules))
        for training, epochs in self.separate:
            words = ", annealed to 0" if training.startswith("annealed") else ""
            rung = Rung(epochs, **REDUCED.get(training, {}))
            for column, sign in (("accuracy", 1), ("loss", -1)):
                values = sign * self.values(training, 2, epochs, column)
                joules = float(self.joules(training, 2, epochs).mean())
                found.append(self._against_both(f"{rung}{words}: {column}", values, joules))
        return found

    def _against_both(self, name: str, values: Array, joules: float) -> Signal:
        return Signal(name, tuple((values, final) for final in self.finals), joules)

    def better_half(self) -> NDArray[np.bool_]:
        """Which networks are in the better half by their mean final accuracy."""
        mean = np.mean(self.finals, axis=0)
        return np.asarray(mean >= np.median(mean))

    def predicted(self) -> dict[str, dict[str, float]]:
        """``AccuracyPredictor`` fitted to a third of the networks, judged on the others, with and without proxies."""
        proxies = np.column_stack([self.values("proxies", 2, 0, name) for name in ("nwot", "synflow")])
        taus: dict[str, list[float]] = defaultdict(list)
        misses: dict[str, list[float]] = defaultdict(list)
        for seed in range(_SPLITS):
            order = np.random.default_rng(seed).permutation(len(self))
            train, test = np.split(order, [len(self) // 3])
            measured = self.finals[seed % 2]
            truth = self.finals[1 - seed % 2][test]
            for name, beside in (("costs", None), ("costs and proxies", proxies)):
                known = (None, None) if beside is None else (beside[train], beside[test])
                predictor = AccuracyPredictor().fit(
                    [self.profiles[i] for i in train], measured[train], signals=known[0]
                )
                mean = predictor.predict([self.profiles[i] for i in test], known[1]).mean
                taus[name].append(tau(mean, truth))
                misses[name].append(float(np.abs(mean - truth).mean()))
        return {name: {"tau": float(np.mean(taus[name])), "error": float(np.mean(misses[name]))} for name in taus}


def tau(values: Array, other: Array, weights: Array | None = None) -> float:
    """Kendall's tau-b; ``weights``, (n,), count each network so many times; pairs of one network with itself tie."""
    weight = np.ones(len(values)) if weights is None else weights
    x, y = (np.sign(np.subtract.outer(each, each)) for each in (values, other))
    pairs = np.outer(weight, weight)
    norm = np.sqrt((pairs * np.abs(x)).sum() * (pairs * np.abs(y)).sum())
    return float((pairs * x * y).sum() / norm) if norm > 0 else 0.0


def mean_tau(signal: Signal, weights: Array | None = None) -> float:
    """Tau with the final accuracy, mean over the signal's pairs."""
    return float(np.mean([tau(*pair, weights) for pair in signal.pairs]))


def interval(signal: Signal, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95% bootstrap interval of ``mean_tau`` over the networks."""
    count = len(signal.pairs[0][0])
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    signs = [tuple(np.sign(np.subtract.outer(each, each)) for each in pair) for pair in signal.pairs]
    found = np.mean([_taus(x, y, draws) for x, y in signs], axis=0)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _taus(x: Array, y: Array, draws: Array) -> Array:
    """Tau-b of each draw, (k, n), from the signs of all pairs' differences, (n, n)."""

    def total(matrix: Array) -> Array:
        return np.einsum("ki,ij,kj->k", draws, matrix, draws, optimize=True)

    return np.asarray(total(x * y) / np.sqrt(np.maximum(total(np.abs(x)) * total(np.abs(y)), 1e-12)))


def figures(study: Study) -> list[dict[str, Any]]:
    """The table's rows, JSON-ready."""
    half = study.better_half()
    rows = []
    for signal in study.signals():
        value, (low, high) = mean_tau(signal), interval(signal)
        best = Signal(signal.name, tuple((x[half], y[half]) for x, y in signal.pairs), signal.joules)
        rows.append(
            {
                "signal": signal.name,
                "tau": value,
                "low": low,
                "high": high,
                "better_half": mean_tau(best),
                "joules": signal.joules,
                "share": signal.joules / study.full_joules,
                "tau_per_joule": value / signal.joules if signal.joules else None,
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| signal | tau (95% interval) | tau, better half | J a network | % of the full training | tau a joule |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        each = "-" if row["tau_per_joule"] is None else f"{row['tau_per_joule']:.2g}"
        lines.append(
            f"| {row['signal']} | {row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f}) | {row['better_half']:.2f} "
            f"| {row['joules']:.2f} | {100 * row['share']:.1f} | {each} |"
        )
    return "\n".join(lines)
