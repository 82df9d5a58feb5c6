"""Learning curves of the energy predictor on EC-NAS-Bench, beside the published kind of surrogate (an MLP).

    python experiments/energy_predictor/run.py --data DIR [--seeds 10]

For each number n of measured trainings: n architectures are drawn from the training split with each seed,
everything is fitted on them alone (but for the transfer, which has the 4V and 5V tables too) and judged on
the published test split (7V: seed 42, 3017 / 431 / 862).
Figures are means over the seeds: mean absolute percentage error, R2, Kendall tau, share of the test
energies inside the 90% intervals, median width of these intervals (% of the prediction), seconds to fit.
The method was chosen on the validation splits and on the 4V table, without looking at the test splits.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from data import Table, load
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.ensemble import GradientBoostingRegressor
from torch import nn

from greennas.predictors import EnergyPredictor, Prediction
from greennas.predictors.physics import cost_features
from greennas.predictors.spread import choose_spread

Indices = NDArray[np.int64]
SIZES = {"7V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 3017), "5V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 1772)}
Method = Callable[[Table, Indices, Indices, int], Prediction]
Choice = Callable[[Table, Indices, int, int], Indices]
COLUMNS = ("mape", "r2", "tau", "coverage", "width", "fit_s")


def physical(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The predictor of GreenNAS."""
    predictor = EnergyPredictor().fit([table.profiles[i] for i in train], table.energy_j[train])
    return predictor.predict([table.profiles[i] for i in test])


def through_time(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """Energy = time x power: the times of the same trainings are predicted first and then rescaled."""
    assert table.seconds is not None
    profiles = [table.profiles[i] for i in train]
    time_s = EnergyPredictor().fit(profiles, table.seconds[train])
    predictor = EnergyPredictor(prior=time_s).fit(profiles, table.energy_j[train])
    return predictor.predict([table.profiles[i] for i in test])


def perceptron(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """MLP, twice 128 hidden units, on adjacency, operations and parameters; 200 epochs and 2,000 steps at least."""
    torch.manual_seed(seed)
    encoding = table.encoding.copy()
    parameters = encoding[:, -1]
    encoding[:, -1] = (parameters - parameters[train].mean()) / max(parameters[train].std(), 1e-9)
    inputs = torch.tensor(encoding, dtype=torch.float32)
    logs = np.log(table.energy_j[train])
    targets = torch.tensor((logs - logs.mean()) / max(logs.std(), 1e-9), dtype=torch.float32)
    model = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    epochs = max(200, 2000 // -(-len(train) // 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(32):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs[train[batch]]).squeeze(1), targets[batch]).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        output = model(inputs[test]).squeeze(1).double().numpy()
    mean = np.exp(output * max(logs.std(), 1e-9) + logs.mean())
    nothing = np.full(len(test), np.nan)
    return Prediction(mean, nothing, nothing, np.zeros(len(test), dtype=bool))


def boosted(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """Gradient-boosted trees on the logarithms of the cost features, for log energy."""
    x = np.log1p(cost_features(table.profiles))
    trees = GradientBoostingRegressor(
        n_estimators=300, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=seed
    )
    mean = np.exp(trees.fit(x[train], np.log(table.energy_j[train])).predict(x[test]))
    nothing = np.full(len(test), np.nan)
    return Prediction(mean, nothing, nothing, np.zeros(len(test), dtype=bool))


def transferred(directory: Path) -> Method:
    """The predictor of GreenNAS with all trainings of the 4V and 5V tables as its prior."""
    others = [load(name, directory) for name in ("4V", "5V")]
    profiles = [profile for table in others for profile in table.profiles]
    prior = EnergyPredictor().fit(profiles, np.concatenate([table.energy_j for table in others]))

    def method(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
        predictor = EnergyPredictor(prior).fit([table.profiles[i] for i in train], table.energy_j[train])
        return predictor.predict([table.profiles[i] for i in test])

    return method


def at_random(table: Table, train: Indices, size: int, seed: int) -> Indices:
    """``size`` trainings drawn from the training split."""
    return np.random.default_rng(seed).choice(train, size, replace=False)


def by_spread(table: Table, train: Indices, size: int, seed: int) -> Indices:
    """``size`` trainings spread over the costs of 1,000 drawn from the training split."""
    drawn = at_random(table, train, min(1000, len(train)), seed)
    return drawn[choose_spread([table.profiles[i] for i in drawn], size, seed)]


def repeat_noise(table: Table) -> float:
    """Root mean square of the relative standard deviations of repeated trainings, %."""
    groups: dict[bytes, list[float]] = {}
    for row, energy in zip(table.encoding, table.energy_j, strict=True):
        groups.setdefault(row.tobytes(), []).append(energy)
    variances = [np.var(group, ddof=1) / np.mean(group) ** 2 for group in groups.values() if len(group) > 1]
    return 100 * float(np.sqrt(np.mean(variances)))


def judge(prediction: Prediction, energy_j: NDArray[np.float64]) -> dict[str, float]:
    """Figures of one prediction; those that need a scale or an interval are NaN where there is none."""
    mean = prediction.mean_j
    figures = {"tau": float(kendalltau(mean, energy_j).statistic)}
    if not prediction.relative:
        error = mean - energy_j
        figures["mape"] = 100 * float(np.mean(np.abs(error) / energy_j))
        figures["r2"] = 1 - float(np.sum(error**2) / np.sum((energy_j - energy_j.mean()) ** 2))
        if np.isfinite(prediction.low_j).all():
            inside = (prediction.low_j <= energy_j) & (energy_j <= prediction.high_j)
            figures["coverage"] = float(np.mean(inside))
            figures["width"] = 100 * float(np.median((prediction.high_j - prediction.low_j) / mean))
    return figures


def curve(
    method: Method, table: Table, sizes: list[int], seeds: int, part: str, choose: Choice = at_random
) -> list[dict[str, float]]:
    """One row a size: means over the seeds."""
    train, validation, test = table.split()
    judged = validation if part == "validation" else test
    rows = []
    for size in sizes:
        runs = []
        for seed in range(seeds if size < len(train) else 1):
            drawn = train if size >= len(train) else choose(table, train, size, seed)
            begin = time.perf_counter()
            prediction = method(table, drawn, judged, seed)
            seconds = time.perf_counter() - begin
            runs.append({**judge(prediction, table.energy_j[judged]), "fit_s": seconds})
        row = {key: float(np.mean([run[key] for run in runs])) for key in COLUMNS if key in runs[0]}
        rows.append({"n": size, "runs": len(runs), **row})
    return rows


def markdown(title: str, rows: list[dict[str, float]]) -> str:
    """The rows as a table."""
    lines = [f"### {title}", "", "| n | MAPE % | R2 | tau | coverage | width % | s |", "| --- |" + " --- |" * 6]
    digits = {"mape": 2, "r2": 4, "tau": 3, "coverage": 3, "width": 1, "fit_s": 2}
    for row in rows:
        cells = [f"{row[key]:.{digits[key]}f}" if key in row else "-" for key in COLUMNS]
        lines.append(f"| {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with 7v_data.pt and nasbench-data-4epochs.tar.gz"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tables", nargs="+", choices=sorted(SIZES), default=["7V", "5V"])
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger n")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = (
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    record: dict[str, object] = {"machine": machine, "seeds": arguments.seeds, "part": arguments.part}
    print(f"Machine: {machine}; seeds 0-{arguments.seeds - 1}; {arguments.part} split\n")
    for name in arguments.tables:
        table = load(name, arguments.data)
        sizes = [size for size in SIZES[name] if size <= arguments.largest]
        parts = ", ".join(str(len(part)) for part in table.split())
        print(f"{name}: {len(table.profiles)} trainings, split {parts}\n", flush=True)
        results = {"GreenNAS": curve(physical, table, sizes, arguments.seeds, arguments.part)}
        print(markdown(f"{name}, GreenNAS", results["GreenNAS"]), flush=True)
        few = [size for size in sizes if 5 <= size <= 50]
        spread = "GreenNAS, trainings chosen by spread"
        results[spread] = curve(physical, table, few, arguments.seeds, arguments.part, by_spread)
        print(markdown(f"{name}, {spread}", results[spread]), flush=True)
        if name == "7V":
            label = "GreenNAS, with 4V and 5V as prior"
            small = [size for size in sizes if size <= 200]
            results[label] = curve(transferred(arguments.data), table, small, arguments.seeds, arguments.part)
            print(markdown(f"{name}, {label}", results[label]), flush=True)
        if table.seconds is not None:
            label, large = "GreenNAS, through the training time", [size for size in sizes if size >= 10]
            results[label] = curve(through_time, table, large, arguments.seeds, arguments.part)
            print(markdown(f"{name}, {label}", results[label]), flush=True)
        if not arguments.no_baselines:
            for label, method in (("boosted trees", boosted), ("MLP", perceptron)):
                large = [n for n in sizes if n >= 10]
                results[label] = curve(method, table, large, min(3, arguments.seeds), arguments.part)
                print(markdown(f"{name}, {label}", results[label]), flush=True)
        record[name] = results
    noise = repeat_noise(load("4V", arguments.data))
    record["noise_of_repeats_percent"] = noise
    print(f"4V: three repeats of a training differ by {noise:.1f}% (root mean square of standard deviations)\n")
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
