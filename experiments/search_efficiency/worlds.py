"""How much of a comparison is one table's luck: methods on worlds made of a table, world by world.

    python experiments/search_efficiency/worlds.py --data DIR [--tables 5V FM ...] [--worlds 20] [--out FOLDER]

A table has one training, or a few, of each network, and a strategy that comes upon the lucky ones early looks good on
it with every seed. A world keeps the energies of a table and what can be predicted of its accuracies (by the accuracy
predictor, for each tenth of the networks from the others), and deals the rest out anew among networks of about the same
expected error. Each method searches each world once; what it needed is divided by what GreenNAS needed in the
same world. Printed are geometric means with their 95% intervals (bootstrap over the worlds), and how many searches got
there. One that did not counts as if all that it spent had been enough, but as no cheaper than one that did; two that
did not are level. So ratios of methods that often fail are too near 1. Below stands by how much a method's hypervolume
lies above GreenNAS's in the same world, after equal energy.

"Knows what can be known" is told each network's expected error and the spread of what is left: what a perfect accuracy
predictor would save. ``FOLDER/runs/`` keeps what was run; several processes may fill it with different methods.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import EVENTS, at
from knowable import ERROR, knowable
from numpy.typing import NDArray
from ours import OURS, green
from packages import INSTALLED
from peers import PEERS, Method, finish
from problem import TABLES, Problem, Recorder, load
from run import MOST_TRIALS, Store

from greennas.sampler import Candidate, GreenSampler
from greennas.sampler.candidates import feature_table
from greennas.sampler.history import History
from greennas.sampler.models import LossModel

Array = NDArray[np.float64]
BASE = "GreenNAS"
_KNOWING = "GreenNAS, knows what can be known"
_BY_ENERGY = "GreenNAS, initial design by energy alone"
_COMPARED = ("kwh_95", "kwh_99", "kwh_bargain")
_DRAWS = 2000
_MARKS = (5, 10, 20)
"""Where hypervolume is compared, in mean trainings' energy."""


class _PowerLaw(LossModel):
    """Expects errors to fall as FLOPs to the power of -0.1; what differs from that is learned as ever."""

    def _statistical(
        self, measured: Sequence[Candidate], values: Sequence[float], pool: Sequence[Candidate]
    ) -> tuple[Array, Array]:
        losses = self._scale.losses(values) + _fall(measured)
        names, predictor = self._models.other(self._scale.metric, measured, losses.tolist())
        mean, deviation = predictor.predict(feature_table(pool, names))
        return mean - _fall(pool), np.hypot(deviation, predictor.noise_std)


def _fall(candidates: Sequence[Candidate]) -> Array:
    """By how much the law lets log error fall below that of a network of one FLOP, (n,)."""
    return 0.1 * np.log([max(candidate.profile.total_flops, 1.0) for candidate in candidates])


class PowerLaw(GreenSampler):
    """With a prior mean of accuracy."""

    _loss_model = _PowerLaw


class SlowerRise(GreenSampler):
    """Divides gain by the square root of the energy."""

    def _gain_per_joule(self, mean: Array, *others: Any, **options: Any) -> Array:
        gain = super()._gain_per_joule(mean, *others, **options)
        return np.asarray(gain * np.exp(0.5 * (mean[:, -1] - mean[:, -1].min())))


_MADE = 30_000


class WholeSpace(GreenSampler):
    """Chooses among thousands of candidates from the beginning: nearly all of a space as small as these."""

    def _proposed(self, history: History, parents: list[Candidate], step: int | None = None) -> list[Candidate]:
        if not hasattr(self, "_all"):
            rng = np.random.default_rng(0)
            self._all = {candidate.id: candidate for candidate in (self._factory.make(rng) for _ in range(_MADE))}
        left = [candidate for id_, candidate in self._all.items() if id_ not in history.tried]
        return left or super()._proposed(history, parents, step)


METHODS: dict[str, Method] = {
    BASE: OURS[BASE],
    _KNOWING: OURS[_KNOWING],
    "GreenNAS, error expected as FLOPs^-0.1": lambda run: green(run, sampler=PowerLaw),
    "GreenNAS, gain per square root of joules": lambda run: green(run, sampler=SlowerRise),
    "GreenNAS, whole space as the pool": lambda run: green(run, sampler=WholeSpace),
    _BY_ENERGY: OURS[_BY_ENERGY],
    **PEERS,
    **INSTALLED,
}


def world(problem: Problem, number: int) -> Problem:
    """World ``number`` of a problem."""
    found = knowable(problem)
    rng = np.random.default_rng([number, zlib.crc32(problem.name.encode())])
    rest = found.losses - found.expected
    for group in found.alike:
        rest[group] = rng.permutation(rest[group])
    rows = {}
    for key, loss in zip(found.keys, found.expected + rest, strict=True):
        shift = ERROR.value(float(loss)) - (1 - problem.truth[key][0])  # repeats stay as far apart as they are
        rows[key] = tuple(
            {**row, "accuracy": float(np.clip(row["accuracy"] + shift, 0, 1))} for row in problem.table.rows[key]
        )
    return replace(problem, table=replace(problem.table, rows=rows), made_from=problem)


def ratios(runs: Mapping[int, Any], base: Mapping[int, Any], event: str) -> tuple[float, float, float, float]:
    """Geometric mean of what was needed over GreenNAS's, its 95% interval, and the share of worlds that got there."""

    def compared(run: Any, other: Any) -> float:
        mine, its = (np.log(each["kwh"][-1] if each[event] is None else each[event]) for each in (run, other))
        least = 0.0 if run[event] is None else -np.inf
        most = 0.0 if other[event] is None else np.inf
        return float(np.clip(mine - its, least, most))

    both = sorted(set(runs) & set(base))
    mean, low, high = np.exp(_mean([compared(runs[number], base[number]) for number in both]))
    share = np.mean([runs[number][event] is not None for number in both])
    return float(mean), float(low), float(high), float(share)


def lead(runs: Mapping[int, Any], base: Mapping[int, Any], kwh: float) -> tuple[float, float, float]:
    """Mean of the hypervolume after ``kwh`` less GreenNAS's, with its 95% interval."""
    both = sorted(set(runs) & set(base))
    return _mean([at(runs[number], "tight", kwh) - at(base[number], "tight", kwh) for number in both])


def _mean(values: Sequence[float]) -> tuple[float, float, float]:
    numbers = np.array(values)
    drawn = np.random.default_rng(0).integers(len(numbers), size=(_DRAWS, len(numbers)))
    low, high = np.quantile(numbers[drawn].mean(axis=1), [0.025, 0.975])
    return float(numbers.mean()), float(low), float(high)


def row(method: str, runs: Mapping[int, Any], base: Mapping[int, Any]) -> str:
    """A line of a table's ratios."""
    cells = []
    for event in _COMPARED:
        ratio, low, high, share = ratios(runs, base, event)
        interval = "" if runs is base else f" ({low:.2f} to {high:.2f})"
        cells.append(f"{ratio:.2f}{interval}, {share:.0%}")
    return f"| {method} | {len(set(runs) & set(base))} | {' | '.join(cells)} |"


def main() -> None:
    """Run what is missing and print a table for each table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nasbench-data-4epochs.tar.gz and published_runs.csv.gz")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100, help="trainings of a search at most")
    parser.add_argument("--out", type=Path, default=Path("search_worlds"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(arguments.out / "runs")
    for name in arguments.tables:
        problem = load(name, arguments.data)
        trials = min(arguments.trials, MOST_TRIALS.get(name, arguments.trials))
        for method in dict.fromkeys([BASE, *arguments.methods]):
            for number in range(arguments.worlds):
                if number not in store.seeds(name, method, trials):
                    search = Recorder(world(problem, number), number, trials)
                    store.add(name, method, trials, number, finish(METHODS[method], search).figures())
        explained = knowable(problem).explained
        print(f"\n### {problem.title}\n\n{explained:.0%} of the variance of log error can be predicted.\n")
        heads = " | ".join(f"{EVENTS[event]}, reached" for event in _COMPARED)
        print(f"| method | worlds | {heads} |\n| --- | ---: | --- | --- | --- |")
        base = store.seeds(name, BASE, trials)
        made = {method: base if method == BASE else store.seeds(name, method, trials) for method in arguments.methods}
        for method, runs in made.items():
            print(row(method, runs, base), flush=True)
        marks = [mark * problem.mean_kwh for mark in _MARKS]
        print(f"\n| hypervolume above GreenNAS's | {' | '.join(f'{kwh:.2g} kWh' for kwh in marks)} |")
        print(f"| --- |{' --- |' * len(marks)}")
        for method, runs in made.items():
            if method != BASE:
                leads = ("{:+.3f} ({:+.3f} to {:+.3f})".format(*lead(runs, base, kwh)) for kwh in marks)
                print(f"| {method} | {' | '.join(leads)} |", flush=True)


if __name__ == "__main__":
    main()
