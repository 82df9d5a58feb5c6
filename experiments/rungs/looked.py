"""Trainings that were looked at halfway, replayed as searches with and without that look as a rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna
from among import AmongSampler
from numpy.typing import NDArray
from optuna.trial import TrialState
from scipy.stats import kendalltau

from greennas.pareto import hypervolume, reference_point
from greennas.rungs import RungKeeper
from greennas.sampler import GreenSampler
from greennas.sampler.candidates import CandidateFactory
from greennas.space import InputShape, SearchSpace
from greennas.trainer import RungReport

Array = NDArray[np.float64]
GRACE = 4
MOST_TRIALS = 300
_RESAMPLES = 500
_CLASSES = 10


@dataclass(frozen=True)
class Looked:
    """One training of each network of a space, or of some of them.

    Attributes:
        title: to people.
        rung: the look, to people.
        epochs: after which it was.
        space: the networks' space.
        params: the networks.
        look: accuracy at the look, (n,).
        look_cost: energy until then, (n,).
        look_seconds: time until then, (n,).
        final: accuracy at the end, (n,).
        cost: energy of the whole training, (n,).
        unit: of energies.
        shares: of the energy of all these trainings, spent by a search, at which hypervolumes are compared.
        input_shape: of the images.
        batch_size: of the trainings.
        device_type: ``cuda`` or ``cpu``.
    """

    title: str
    rung: str
    epochs: float
    space: SearchSpace
    params: Sequence[Mapping[str, Any]]
    look: Array
    look_cost: Array
    look_seconds: Array
    final: Array
    cost: Array
    unit: str
    shares: tuple[float, ...]
    input_shape: InputShape
    batch_size: int
    device_type: str
    halves: bool = False
    """Whether each seed searches a random half of the networks: where few seeds come to something else."""

    @property
    def budgets(self) -> list[float]:
        """The shares as energies."""
        return [share * float(self.cost.sum()) for share in self.shares]

    def half(self, seed: int) -> Looked:
        """A random half of the networks."""
        kept = np.sort(np.random.default_rng([seed, 5]).permutation(len(self.params))[: len(self.params) // 2])
        columns = {name: getattr(self, name)[kept] for name in ("look", "look_cost", "look_seconds", "final", "cost")}
        return replace(self, params=[self.params[i] for i in kept], **columns)

    def search(self, seed: int, rung: bool, green: bool) -> Array:
        """Energy spent and hypervolume (1: of all networks) after each network of a search, (n, 2).

        Networks are chosen by GreenSampler or at random; one that is stopped has spent what it had at the look.
        """
        index = {self.space.architecture(params).id: i for i, params in enumerate(self.params)}
        losses = np.log(np.column_stack([1 - self.final, self.cost]))
        reference = reference_point(losses)
        best = hypervolume(losses, reference)
        keeper = RungKeeper(0.5, GRACE)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=self._sampler(seed, green))
        spent, trained, points, tried = 0.0, [], [], set()
        while len(points) < min(MOST_TRIALS, len(index)) and spent < self.budgets[-1]:
            trial = study.ask()
            i = index.get(self.space.architecture(self.space.sample(trial)).id)
            if i is None or i in tried:  # a network is trained once
                study.tell(trial, state=TrialState.FAIL)
                continue
            tried.add(i)
            report = RungReport(self.epochs, 0, 0, float(self.look[i]), 0.0, float(self.look_seconds[i]))
            go_on = not rung or keeper.go_on(report)
            trial.set_user_attr("rungs", [asdict(report)] if rung else [])
            spent += float(self.cost[i] if go_on else self.look_cost[i])
            if go_on:
                trained.append(i)
                values = [float(self.final[i]), float(self.cost[i])]
                trial.set_user_attr("metrics", dict(zip(("accuracy", "train_energy_j"), values, strict=True)))
                study.tell(trial, values)
            else:
                study.tell(trial, state=TrialState.PRUNED)
            points.append((spent, hypervolume(losses[trained], reference) / best))
        return np.array(points)

    def compare(self, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Hypervolume at the budgets with and without the rung, mean and standard error over the seeds; JSON-ready."""
        rows = []
        parts = [self.half(seed) if self.halves else self for seed in seeds]
        for green in (False, True):
            for rung in (False, True):
                runs = [part.search(seed, rung, green) for part, seed in zip(parts, seeds, strict=True)]
                found = np.array(
                    [[_at(run, budget) for budget in part.budgets] for part, run in zip(parts, runs, strict=True)]
                )
                error = found.std(axis=0, ddof=1) / np.sqrt(len(runs))
                rows.append(
                    {
                        "strategy": "GreenSampler" if green else "random",
                        "rung": self.rung if rung else "none",
                        "seeds": len(runs),
                        "mean": found.mean(axis=0).tolist(),
                        "standard_error": error.tolist(),
                    }
                )
        return rows

    def figures(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What is said of these trainings, JSON-ready: tau of the look with the end, its cost, and searches."""
        return {
            "title": self.title,
            "networks": len(self.params),
            "rung": self.rung,
            "tau": tau(self.look, self.final),
            "share": float(np.median(self.look_cost / self.cost)),
            "energy": f"{self.cost.sum():,.4g} {self.unit}",
            "halves": self.halves,
            "shares": list(self.shares),
            "searches": self.compare(seeds),
        }

    def _sampler(self, seed: int, green: bool) -> optuna.samplers.BaseSampler:
        if not green:
            return optuna.samplers.RandomSampler(seed=seed)
        shape, batch, device = self.input_shape, self.batch_size, self.device_type
        options = {"input_shape": shape, "batch_size": batch, "seed": seed, "device_type": device}
        if not self.halves:
            return GreenSampler(self.space, **options)
        factory = CandidateFactory(self.space, shape, _CLASSES, batch)
        return AmongSampler([factory.replay(params) for params in self.params], self.space, **options)


def tau(values: Array, other: Array) -> tuple[float, float, float]:
    """Kendall's tau-b with its 95% bootstrap interval over the networks."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(values), size=len(values)) for _ in range(_RESAMPLES)]
    found = [kendalltau(values[draw], other[draw]).statistic for draw in draws]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(kendalltau(values, other).statistic), float(low), float(high)


def markdown(figures: Mapping[str, Any]) -> str:
    """The searches as a table."""
    titles = " | ".join(f"hypervolume at {100 * share:.2g}% of the energy" for share in figures["shares"])
    lines = [f"| strategy | rung | seeds | {titles} |"]
    lines.append("| --- | --- | ---: " + "| ---: " * len(figures["shares"]) + "|")
    for row in figures["searches"]:
        pairs = zip(row["mean"], row["standard_error"], strict=True)
        cells = " | ".join(f"{mean:.3f} ± {error:.3f}" for mean, error in pairs)
        lines.append(f"| {row['strategy']} | {row['rung']} | {row['seeds']} | {cells} |")
    return "\n".join(lines)


def _at(run: Array, budget: float) -> float:
    done = run[run[:, 0] <= budget, 1]
    return float(done[-1]) if len(done) else 0.0
