"""Learning curves of the energy predictor on EC-NAS-Bench, beside the published kind of surrogate (an MLP).

    python experiments/energy_predictor/run.py --data DIR [--seeds 10]

For each number n of measured trainings: n architectures are drawn from the training split with each seed,
everything is fitted on them alone and judged on the published test split (7V: seed 42, 3017 / 431 / 862).
Figures are means over the seeds: mean absolute percentage error, R2, Kendall tau, share of the test
energies inside the 90% intervals, median width of these intervals (% of the prediction), seconds to fit.
The method was chosen without looking at the test split.
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
from torch import nn

from greennas.predictors import EnergyPredictor, Prediction

Indices = NDArray[np.int64]
SIZES = {"7V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 3017), "5V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 1772)}
COLUMNS = ("mape", "r2", "tau", "coverage", "width", "fit_s")


def physical(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The predictor of GreenNAS."""
    predictor = EnergyPredictor().fit([table.profiles[i] for i in train], table.energy_j[train])
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
    method: Callable[[Table, Indices, Indices, int], Prediction], table: Table, sizes: list[int], seeds: int, part: str
) -> list[dict[str, float]]:
    """One row a size: means over the seeds."""
    train, validation, test = table.split()
    judged = validation if part == "validation" else test
    rows = []
    for size in sizes:
        runs = []
        for seed in range(seeds if size < len(train) else 1):
            drawn = train if size >= len(train) else np.random.default_rng(seed).choice(train, size, replace=False)
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
    parser.add_argument("--no-mlp", action="store_true")
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
        if not arguments.no_mlp:
            results["MLP"] = curve(
                perceptron, table, [n for n in sizes if n >= 10], min(3, arguments.seeds), arguments.part
            )
            print(markdown(f"{name}, MLP", results["MLP"]), flush=True)
        record[name] = results
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
