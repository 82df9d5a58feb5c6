"""What one choice of GreenSampler costs: ask + tell on a made-up objective, by number of trials so far.

    python benchmarks/sampler.py [--space nasbench201] [--trials 100 1000 5000] [--profile]

The study is filled with finished trials of random architectures, then some more are asked and told. CPU seconds of
this process; the sampler's first ask on a full study (which makes its candidates and replays all trials) stands apart.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from typing import Any

import numpy as np
import optuna

from greennas.sampler import GreenSampler
from greennas.sampler.candidates import ReplayTrial
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--trials", type=int, nargs="+", default=[20, 100, 1000, 5000])
    parser.add_argument("--asks", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = load_space(arguments.space)
    print("| trials so far | first ask, CPU s | ask + tell, CPU ms (median) |\n| ---: | ---: | ---: |")
    for trials in arguments.trials:
        study, rng = filled(space, trials)
        costs = []
        profiler = cProfile.Profile()
        for i in range(arguments.asks + 1):
            if arguments.profile and i:
                profiler.enable()
            before = time.process_time()
            trial = study.ask()
            study.tell(trial, outcome(space, space.sample(trial), rng))
            costs.append(time.process_time() - before)
            profiler.disable()
        print(f"| {trials} | {costs[0]:.2f} | {1000 * float(np.median(costs[1:])):.0f} |", flush=True)
        if arguments.profile:
            pstats.Stats(profiler).sort_stats("cumtime").print_stats(25)


if __name__ == "__main__":
    main()
