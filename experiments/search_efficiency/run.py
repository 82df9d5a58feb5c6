"""Search strategies on EC-NAS-Bench's measured trainings: what a good front costs, in kWh.

    python experiments/search_efficiency/run.py --data DIR [--tables 5V 4V] [--seeds 20] [--out FOLDER]

Every strategy runs with each seed until it has done ``--trials`` trainings. Hypervolume is normalised by that of the
whole table: tight (error, log energy; reference = the true front's nadir + 10% of its range) and loose (error, energy;
reference = error 100%, largest energy). kWh are those of all evaluated trainings, probes included at 1% each.
Figures are medians over the seeds with a 95% bootstrap interval; a seed that did not get there counts as infinite,
so that a median is given where more than half of the seeds did.

Results are kept a method and seed in ``FOLDER/runs.json``: what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ours import OURS
from peers import PEERS, Method, finish
from problem import Problem, Recorder, load

METHODS: dict[str, Method] = {**PEERS, **OURS}
EVENTS = ("kwh_95", "trials_95", "kwh_99", "trials_99", "kwh_bargain", "kwh_loose99")


def median(values: Sequence[float | None]) -> tuple[float, float, float]:
    """Median with a 95% bootstrap interval; None stands for never."""
    numbers = np.array([math.inf if value is None else value for value in values])
    draws = np.random.default_rng(0).integers(len(numbers), size=(2000, len(numbers)))
    # A percentile of infinities would be NaN by interpolation: take values that occur.
    medians = np.sort(np.sort(numbers[draws], axis=1)[:, (len(numbers) - 1) // 2])
    return float(np.sort(numbers)[(len(numbers) - 1) // 2]), float(medians[50]), float(medians[1949])


def markdown(problem: Problem, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table of one problem."""
    bargain = f"kWh to within {problem.bargain_points} points of the best at half its energy"
    columns = ["kWh to 95%", "trials", "kWh to 99%", "trials", bargain, "kWh to 99%, loose"]
    lines = [
        f"| | seeds | {' | '.join(columns)} | hypervolume at 20 / 50 / 100 trials | ask, s |",
        "| --- |" + " --- |" * (len(columns) + 3),
    ]
    for name, seeds in runs.items():
        cells = [_cell([run[event] for run in seeds], event.startswith("kwh")) for event in EVENTS]
        at = [np.median([run["tight"][min(n, len(run["tight"])) - 1] for run in seeds]) for n in (20, 50, 100)]
        ask = np.median([run["cpu_s"] / len(run["tight"]) for run in seeds])
        lines.append(
            f"| {name} | {len(seeds)} | {' | '.join(cells)} | {' / '.join(f'{x:.3f}' for x in at)} | {ask:.3f} |"
        )
    return "\n".join(lines)


def _cell(values: Sequence[float | None], fine: bool) -> str:
    mid, low, high = median(values)
    reached = sum(value is not None for value in values) / len(values)
    shown = [("-" if math.isinf(x) else f"{x:.2f}" if fine else f"{x:.0f}") for x in (mid, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]}; {reached:.0%} of seeds)"


def plot(tables: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> str:
    """Median tight hypervolume against kWh, as one HTML page with plotly."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(1, len(tables), subplot_titles=[f"EC-NAS {name}, 4 epochs" for name in tables])
    for column, runs in enumerate(tables.values(), 1):
        for number, (method, seeds) in enumerate(runs.items()):
            grid = np.geomspace(0.02, max(run["kwh"][-1] for run in seeds), 120)
            rows = [[_at(run, kwh) for kwh in grid] for run in seeds]
            # Only as far as at least half of the seeds have gone.
            grid_end = np.median([run["kwh"][-1] for run in seeds])
            kept = grid <= grid_end
            line = {"color": f"hsl({number * 360 // len(runs)}, 70%, 40%)", "width": 4 if method == "GreenNAS" else 1.5}
            figure.add_scatter(
                x=grid[kept],
                y=np.median(rows, axis=0)[kept],
                name=method,
                line=line,
                legendgroup=method,
                showlegend=column == 1,
                row=1,
                col=column,
            )
        figure.update_xaxes(type="log", title_text="kWh of all trainings and probes", row=1, col=column)
        figure.update_yaxes(title_text="normalised hypervolume, median of seeds", row=1, col=column)
    assert isinstance(figure, go.Figure)
    return str(figure.to_html(include_plotlyjs=True))


def _at(run: Mapping[str, Any], kwh: float) -> float:
    done = int(np.searchsorted(run["kwh"], kwh, side="right"))
    return float(run["tight"][done - 1]) if done else 0.0


def main() -> None:
    """Run what is missing and write table, JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with nasbench-data-4epochs.tar.gz")
    parser.add_argument("--tables", nargs="+", default=["5V", "4V"], choices=["5V", "4V"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=150, help="trainings a seed; 60 at most on 4V")
    parser.add_argument("--out", type=Path, default=Path("search_efficiency"))
    parser.add_argument("--limit-s", type=float, default=math.inf, help="begin no further seed after so many seconds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / "runs.json"
    kept: dict[str, Any] = json.loads(store.read_text()) if store.is_file() else {}
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    text = [f"Machine: {machine}. kWh are the table's (NVIDIA Quadro RTX 6000), not this machine's.", ""]
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {}
    begun = time.monotonic()
    for name in arguments.tables:
        problem = load(name, arguments.data)
        trials = min(arguments.trials, 60 if name == "4V" else 10**9)
        for seed in range(arguments.seeds):  # seed by seed, so that a stopped run compares equals
            for method in arguments.methods:
                key = f"{name}|{method}|{trials}|{seed}"
                if key in kept or time.monotonic() - begun > arguments.limit_s:
                    continue
                before = time.process_time()
                figures = finish(METHODS[method], Recorder(problem, seed, trials)).figures()
                kept[key] = {**figures, "cpu_s": round(time.process_time() - before, 3)}
                store.write_text(json.dumps(kept))
        keys = [(method, f"{name}|{method}|{trials}|") for method in METHODS]
        runs = {m: [run for key, run in kept.items() if key.startswith(start)] for m, start in keys}
        tables[name] = {method: found for method, found in runs.items() if found}
        part = f"EC-NAS {name}, 4 epochs, measured: {len(problem.truth)} architectures, {trials} trainings a seed"
        text += [f"### {part}", "", markdown(problem, tables[name]), ""]
        print("\n".join(text[-4:]), flush=True)
    (arguments.out / "table.md").write_text("\n".join(text))
    (arguments.out / "curves.html").write_text(plot(tables))
    print(f"{arguments.out / 'table.md'}, {store} and {arguments.out / 'curves.html'} are written.")


if __name__ == "__main__":
    main()
