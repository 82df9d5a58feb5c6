"""Do predictions hold what they promise along a search?

    python experiments/search_efficiency/intervals.py --data DIR [--tables 5V 4V FM] [--seeds 20] [--trials 100]

Of each network that GreenNAS chooses, what it predicted before the training (after the probe, where there was one) is
held against what the training gave: share of outcomes inside of the 90% intervals, and the mean of outcome less
prediction in units of the predicted standard deviation, which is 0 where predictions are not too hopeful. A strategy
that chooses by promise chooses what it overrates, so that this is harder than intervals of networks at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
import torch
from ours import green
from peers import finish
from problem import TABLES, Recorder, load

from greennas.predictors.intervals import NORMAL_HALF_WIDTH
from greennas.sampler import GreenSampler, Probe, Shortlist
from greennas.sampler.history import COST
from greennas.sampler.proposal import Proposal

STAGES = ((1, 20), (21, 50), (51, 100))
"""First and last training of each part of a search."""
MOST_TRIALS = {"4V": 60}


def predictions(run: Recorder) -> list[Mapping[str, Mapping[str, float]]]:
    """What was predicted of each training of a search, in order; nothing of the initial design."""
    found = []

    class Noting(GreenSampler):
        def choose(
            self, shortlist: Shortlist, study: optuna.Study, probes: Mapping[str, Probe] | None = None
        ) -> Proposal:
            proposal = super().choose(shortlist, study, probes)
            found.append(proposal.predicted)
            return proposal

    finish(lambda recorder: green(recorder, sampler=Noting), run)
    return found


def main() -> None:
    """Search with every seed and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nasbench-data-4epochs.tar.gz")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100, help="trainings a seed; at most 60 on 4V")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| table | trainings | energy: inside | bias | accuracy: inside | bias |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.tables:
        problem = load(name, arguments.data)
        rows: list[tuple[int, float, float]] = []  # number of the training, standardised misses of energy and accuracy
        for seed in range(arguments.seeds):
            run = Recorder(problem, seed, min(arguments.trials, MOST_TRIALS.get(name, arguments.trials)))
            for number, (predicted, outcome) in enumerate(zip(predictions(run), run.outcomes, strict=False), 1):
                if predicted:
                    energy = _miss(predicted[COST], outcome[1], logarithmic=True)
                    rows.append((number, energy, _miss(predicted["accuracy"], outcome[0])))
        table = np.array(rows)
        for first, last in STAGES:
            part = table[(table[:, 0] >= first) & (table[:, 0] <= last), 1:]
            if len(part):
                inside, bias = np.mean(np.abs(part) <= 1, axis=0), NORMAL_HALF_WIDTH * part.mean(axis=0)
                cells = " | ".join(f"{i:.3f} | {b:+.2f}" for i, b in zip(inside, bias, strict=True))
                print(f"| {name} | {first} to {min(last, int(table[:, 0].max()))} | {cells} |", flush=True)


def _miss(predicted: Mapping[str, float], outcome: float, logarithmic: bool = False) -> float:
    """Outcome less prediction over the half of the 90% interval on that side."""
    scale = np.log if logarithmic else float
    mean, value = scale(predicted["mean"]), scale(outcome)
    end = scale(predicted["high" if value > mean else "low"])
    return float(abs(value - mean) / max(abs(end - mean), 1e-12) * np.sign(value - mean))


if __name__ == "__main__":
    main()
