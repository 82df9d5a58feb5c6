"""Learning curves of the energy predictor on EC-NAS-Bench, beside the published surrogate and boosted trees.

    python experiments/energy_predictor/run.py --data DIR [--seeds 20] [--out FOLDER]

For each number n of measured trainings: n architectures are drawn from the training split with each seed,
everything is fitted on them alone (but for the transfer, which has the 4V and 5V tables too) and judged on
the published test split (7V: seed 42, 3017 / 431 / 862; 4V and FM are small: on all networks that were not drawn).
Figures are means over the seeds: mean absolute percentage error, R2, Kendall tau, share of the test
energies inside the 90% intervals, median width of these intervals (% of the prediction), CPU seconds to fit and
predict.
The method was chosen on the validation splits and on the 4V table.

Writes ``result.json``, ``table.md`` and ``curves.html``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import Indices, Method, as_published, boosted, trained_longer
from data import Table, load
from figures import averaged, markdown, plot, summary
from numpy.typing import NDArray
from scipy.stats import kendalltau

from greennas.predictors import EnergyPredictor, Prediction
from greennas.predictors.physics import cost_features
from greennas.predictors.spread import choose_spread

SIZES = {
    "7V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 3017),
    "5V": (0, 1, 5, 10, 20, 50, 100, 200, 1000, 1772),
    "4V": (0, 1, 5, 10, 20, 50),
    "FM": (0, 1, 5, 10, 20, 50, 100),
}
SPLIT = ("7V", "5V")  # the others are small: all that was not drawn is judged
Choice = Callable[[Table, Indices, int, int], Indices]
BASELINE_SEEDS = 10  # at most
FEW, MORE_SEEDS = 20, 5  # of so few trainings one draw differs much from the next: so many times the seeds
WITH_PRIOR = "GreenNAS, with 4V and 5V as prior"


def physical(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The predictor of GreenNAS."""
    predictor = EnergyPredictor(device_type=table.device_type)
    predictor.fit([table.profiles[i] for i in train], table.energy_j[train])
    return predictor.predict([table.profiles[i] for i in test])


def through_time(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The predictor of GreenNAS, that also knows how long the trainings took."""
    assert table.seconds is not None
    profiles = [table.profiles[i] for i in train]
    predictor = EnergyPredictor(device_type=table.device_type)
    predictor.fit(profiles, table.energy_j[train], seconds=table.seconds[train])
    return predictor.predict([table.profiles[i] for i in test])


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


def noise(alike: NDArray[np.float64], energy_j: NDArray[np.float64]) -> tuple[float, int]:
    """Root mean square of the relative standard deviations of energies of equal rows, %; how many groups there are."""
    groups: dict[bytes, list[float]] = {}
    for row, energy in zip(alike, energy_j, strict=True):
        groups.setdefault(row.tobytes(), []).append(energy)
    variances = [np.var(group, ddof=1) / np.mean(group) ** 2 for group in groups.values() if len(group) > 1]
    return 100 * float(np.sqrt(np.mean(variances))), len(variances)


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
    method: Method,
    table: Table,
    sizes: list[int],
    seeds: int,
    train: Indices,
    judged: Indices | None,
    choose: Choice = at_random,
    seeded: bool = False,
) -> list[dict[str, float]]:
    """One row a size: means over the seeds; of all trainings one run, three of a method that is itself ``seeded``.

    Methods that are quick to fit, which are not ``seeded``, get more seeds where trainings are few. Without trainings
    to be ``judged`` on, all that were not drawn are.
    """
    rows = []
    for size in sizes:
        runs = []
        draws = seeds * MORE_SEEDS if size <= FEW and not seeded else seeds
        for seed in range(draws if size < len(train) else min(seeds, 3 if seeded else 1)):
            drawn = train if size >= len(train) else choose(table, train, size, seed)
            others = np.setdiff1d(train, drawn) if judged is None else judged
            begin = time.process_time()
            prediction = method(table, drawn, others, seed)
            seconds = time.process_time() - begin
            runs.append({**judge(prediction, table.energy_j[others]), "fit_s": seconds})
        rows.append({"n": size, "runs": len(runs), **averaged(runs)})
    return rows


def study(
    table: Table,
    directory: Path,
    seeds: int,
    part: str,
    largest: int,
    baselines: bool,
    only: list[str] | None = None,
) -> dict[str, list[dict[str, float]]]:
    """Learning curves of all methods, or ``only`` those with these labels, on one table."""
    sizes = [size for size in SIZES[table.name] if size <= largest]
    few, many = [size for size in sizes if 5 <= size <= 50], [size for size in sizes if size >= 10]
    train, validation, test = table.split()
    judged = validation if part == "validation" else test
    if table.name not in SPLIT:
        train, judged, baselines = table.once(), None, False
    results: dict[str, list[dict[str, float]]] = {}

    def add(label: str, method: Method, at: list[int], runs: int = seeds, **how: Any) -> None:
        if only is not None and label not in only:
            return
        results[label] = curve(method, table, at, runs, train, judged, **how)
        print(markdown(f"{table.name}, {label}", results[label]), flush=True)

    add("GreenNAS", physical, sizes)
    if table.name in SPLIT:
        add("GreenNAS, chosen by spread", physical, few, choose=by_spread)
    if table.name == "7V" and (only is None or WITH_PRIOR in only):
        small = [size for size in sizes if size <= 200]
        add(WITH_PRIOR, transferred(directory), small)
    if table.seconds is not None:
        add("GreenNAS, through the training time", through_time, many)
    if baselines:
        runs = min(BASELINE_SEEDS, seeds)
        add("boosted trees", boosted, many, runs, seeded=True)
        add("published MLP, 5 epochs", as_published, many, runs, seeded=True)
        add("published MLP, 200 epochs", trained_longer, many, runs, seeded=True)
    return results


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with 7v_data.pt and nasbench-data-4epochs.tar.gz"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tables", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger n")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument(
        "--only", nargs="+", metavar="METHOD", help="run these alone and replace their rows in --out's result.json"
    )
    parser.add_argument("--out", type=Path, default=Path("energy_predictor"), help="folder of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    record: dict[str, Any] = {"machine": machine, "seeds": arguments.seeds, "part": arguments.part}
    text = [f"Machine: {machine}; seeds 0-{arguments.seeds - 1}; {arguments.part} split", ""]
    tables: dict[str, dict[str, list[dict[str, float]]]] = {}
    before = arguments.out / "result.json"
    if arguments.only and before.exists():
        known = json.loads(before.read_text())
        if any(known[key] != value for key, value in record.items()):
            parser.error(f"{before} is of another machine, part or number of seeds; choose another --out.")
        tables = known["tables"]
    for name in [*tables, *(name for name in arguments.tables if name not in tables)]:
        table = load(name, arguments.data)
        parts = ", ".join(str(len(part)) for part in table.split())
        title = f"{name}, {len(table.profiles)} trainings" + (f", split {parts}" if name in SPLIT else "")
        print(f"{title}\n", flush=True)
        if name in arguments.tables:
            found = study(
                table,
                arguments.data,
                arguments.seeds,
                arguments.part,
                arguments.largest,
                not arguments.no_baselines,
                arguments.only,
            )
            tables[name] = tables.get(name, {}) | found
        text += [summary(title, tables[name])]
        text += [markdown(f"{name}, {label}", rows) for label, rows in tables[name].items()]
    repeats, seven = load("4V", arguments.data), load("7V", arguments.data)
    repeated, _ = noise(repeats.encoding, repeats.energy_j)
    alike, groups = noise(cost_features(seven.profiles), seven.energy_j)
    text.append("Root mean square of the relative standard deviations of measured energies:\n")
    text.append(f"- 4V, three repeats of each training: {repeated:.1f}%")
    text.append(f"- 7V, {groups} groups of equal costs: {alike:.1f}%\n")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record |= {
        "tables": tables,
        "noise_of_repeats_percent": repeated,
        "noise_of_equal_costs_percent": alike,
        "groups_of_equal_costs": groups,
    }
    (arguments.out / "result.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "table.md").write_text("\n".join(text))
    (arguments.out / "curves.html").write_text(plot(tables))
    print("\n".join(text))
    print(f"{arguments.out}: result.json, table.md and curves.html are written.")


if __name__ == "__main__":
    main()
