"""What one choice of GreenSampler costs: ask + tell on a made-up objective, by number of trials so far.

    python benchmarks/sampler.py [--space nasbench201] [--trials 100 1000 5000] [--profile]

The study is filled with finished trials of random architectures, then some more are asked and told. CPU time of
this process; the first ask of a sampler on a full study (it makes its candidates, replays all trials, fits all models)
stands apart. The largest of the others are those at which models are fitted anew.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.sampler import GreenSampler, models
from greennas.sampler.candidates import CandidateFactory, ReplayTrial
from greennas.sampler.history import HistoryReader
from greennas.space import SearchSpace, load_space

SHAPE = (3, 32, 32)


def outcome(space: SearchSpace, params: dict[str, Any], rng: np.random.Generator) -> tuple[float, float]:
    """Made-up accuracy and joules with noise."""
    profile = space.profile(params, SHAPE, 10, 128)
    accuracy = 0.9 - 0.5 * float(np.exp(-profile.total_flops / 1e8)) + 0.02 * rng.standard_normal()
    return accuracy, (profile.total_flops / 1e6 + 20.0) * float(np.exp(0.03 * rng.standard_normal()))


def filled(space: SearchSpace, trials: int) -> tuple[optuna.Study, np.random.Generator]:
    """A study with ``trials`` finished trials."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=GreenSampler(space))
    for _ in range(trials):
        replay = ReplayTrial(rng)
        values = outcome(space, space.sample(replay), rng)
        study.add_trial(
            optuna.trial.create_trial(params=replay.params, distributions=replay.distributions, values=list(values))
        )
    return study, rng


class Stages:
    """CPU seconds by stage of a choice; what a stage calls of another stage counts there alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0
        for stage, functions in STAGES.items():
            for owner, name in functions:
                setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._open.pop()

        return wrapped

    def _switch(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now


STAGES: dict[str, list[tuple[Any, str]]] = {
    "read the history": [(HistoryReader, "read")],
    "candidates": [(CandidateFactory, "pool")],
    "features": [(models, "feature_table"), (models, "coordinate_names")],
    "accuracy model": [(models.FittedModels, "other"), (AccuracyPredictor, "predict")],
    "energy model": [(models.FittedModels, "cost"), (EnergyPredictor, "predict")],
    "acquisition": [(GreenSampler, "_gain_per_joule"), (GreenSampler, "_reference"), (GreenSampler, "_parents")],
    "tell": [(optuna.Study, "tell")],
    "the rest: Optuna's ask, shortlist, reasons": [(optuna.Study, "ask")],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--trials", type=int, nargs="+", default=[20, 100, 1000, 5000])
    parser.add_argument("--asks", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="print where the time goes, by stage")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = load_space(arguments.space)
    stages = Stages() if arguments.profile else None
    found: dict[int, dict[str, float]] = {}
    print("| trials so far | first ask, s | ask + tell, ms: median | mean | largest |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for trials in arguments.trials:
        study, rng = filled(space, trials)
        costs = []
        for i in range(arguments.asks + 1):
            if stages is not None and i == 1:
                stages.seconds.clear()
            before = time.process_time()
            trial = study.ask()
            params = space.sample(trial)
            values = outcome(space, params, rng)
            study.tell(trial, values)
            costs.append(1000 * (time.process_time() - before))
        middle, mean, largest = np.median(costs[1:]), np.mean(costs[1:]), max(costs[1:])
        print(f"| {trials} | {costs[0] / 1000:.2f} | {middle:.0f} | {mean:.0f} | {largest:.0f} |", flush=True)
        if stages is not None:
            found[trials] = {stage: 1000 * seconds / arguments.asks for stage, seconds in stages.seconds.items()}
    if stages is not None:
        heads = " | ".join(f"{trials} trials" for trials in found)
        print(f"\nMean ms of a choice:\n\n| stage | {heads} |\n| --- |{' ---: |' * len(found)}")
        for stage in STAGES:
            print(f"| {stage} | {' | '.join(f'{each.get(stage, 0.0):.1f}' for each in found.values())} |")
        print(f"| sum | {' | '.join(f'{sum(each.values()):.1f}' for each in found.values())} |")


if __name__ == "__main__":
    main()
