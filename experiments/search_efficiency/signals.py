"""What tells the accuracy of a network before it is trained? On the own table of Fashion-MNIST trainings.

    python experiments/search_efficiency/signals.py --data-dir DIR [--images 64] [--seeds 20]

Prints Kendall's tau of single signals with the measured accuracy of all networks of ``FM``, with the CPU seconds that a
network's signals take against those of its training; then tau, error and coverage of ``AccuracyPredictor``
fitted to some random networks and judged on the others, with costs alone and with the zero-cost proxies beside them.
``DIR`` holds Fashion-MNIST's four files.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from problem import load
from scipy.stats import kendalltau

from greennas.data import load_data
from greennas.predictors import AccuracyPredictor, zero_cost_proxies

FITTED = (10, 20, 50, 100)


def main() -> None:
    """Compute the signals of every network and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with Fashion-MNIST")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem = load("FM", None)
    data = load_data("fashion-mnist", arguments.data_dir)
    mean, std = (torch.tensor(each).reshape(1, -1, 1, 1) for each in (data.mean, data.std))
    images = (data.train.images[: arguments.images].float() / 255 - mean) / std
    keys = list(problem.table.rows)
    accuracy = np.array([1 - problem.truth[key][0] for key in keys])
    seconds = np.array([problem.table.rows[key][0]["train_seconds"] for key in keys])
    shape, classes = problem.input_shape, problem.num_classes
    params = [problem.table.params[key] for key in keys]
    profiles = [problem.space.profile(each, shape, classes, problem.batch_size) for each in params]
    begun = time.process_time()
    found = []
    for number, each in enumerate(params):
        torch.manual_seed(number)
        found.append(zero_cost_proxies(problem.space.build(each, shape, classes), images))
    spent = (time.process_time() - begun) / len(params)
    proxies = np.array([[each["nwot"], each["synflow"]] for each in found])
    signals = {
        "NWOT": proxies[:, 0],
        "synflow": proxies[:, 1],
        "FLOPs": [profile.total_flops for profile in profiles],
        "parameters": [profile.parameters for profile in profiles],
    }
    print(f"{len(params)} networks; {arguments.images} images; both proxies {spent:.3f} CPU s a network, ", end="")
    print(f"{spent / seconds.mean():.1%} of its training.\n\n| signal | tau |\n| --- | --- |")
    for name, values in signals.items():
        print(f"| {name} | {kendalltau(values, accuracy)[0]:.2f} |")
    print("\n| fitted to | costs: tau | error, points | coverage | with proxies: tau | error, points | coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in FITTED:
        rows = []
        for seed in range(arguments.seeds):
            order = np.random.default_rng(seed).permutation(len(keys))
            train, test = order[:count], order[count:]
            for beside in (None, proxies):
                costs = [profiles[i] for i in train], [profiles[i] for i in test]
                known = (None, None) if beside is None else (beside[train], beside[test])
                predictor = AccuracyPredictor().fit(costs[0], accuracy[train], signals=known[0])
                predicted = predictor.predict(costs[1], known[1])
                half = (predicted.high - predicted.low) / 2
                half = np.hypot(half, half / predicted.std * predictor.noise_std)  # of what is measured, noise included
                missed = np.abs(predicted.mean - accuracy[test])
                tau = kendalltau(predicted.mean, accuracy[test])[0]
                rows.append((tau, 100 * missed.mean(), (missed <= half).mean()))
        table = np.array(rows).reshape(arguments.seeds, 2, 3).mean(axis=0)
        print(f"| {count} | " + " | ".join(f"{tau:.2f} | {miss:.2f} | {held:.2f}" for tau, miss, held in table) + " |")


if __name__ == "__main__":
    main()
