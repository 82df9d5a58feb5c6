"""Search strategies on tables of measured trainings: what a good front costs, in kWh.

    python experiments/search_efficiency/run.py --data DIR [--tables 5V 4V FM ...] [--seeds 20] [--out FOLDER]

Every strategy runs with each seed until it has done ``--trials`` trainings. Hypervolume is normalised by that of the
whole table: tight (error, log energy) and linear (error, energy), both with the reference point at the true front's
nadir + 10% of its range; loose (error, energy; reference = error 100%, largest energy). kWh are those of all evaluated
trainings, probes included at 1% each. Figures are medians over the seeds with a 95% bootstrap interval; a seed that did
not get there counts as infinite, so that a median is given where at least half of the seeds did.

Results are kept in ``FOLDER/runs/``, a file for each table, method and number of trainings: what is there is not run
again, and several processes may fill the folder with different methods. ``FOLDER`` gets table.md, summary.json and
curves.html of all that is there.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import time
from pathlib import Path
from typing import Any

import packages
import published
import torch
from figures import markdown, plot, summary
from longer import RUNS
from ours import OURS
from peers import PEERS, Method, finish
from problem import TABLES, Recorder, load

from greennas.files import write_text

METHODS: dict[str, Method] = {**PEERS, **packages.INSTALLED, **OURS}
MOST_TRIALS = {"4V": 60, "FM": 100, "MN": 100, "5V-36": 100, "5V-108": 100, "4V-108": 60}
"""Of spaces with few architectures."""


class Store:
    """Seeds that were run, in one file for each table, method and number of trainings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def seeds(self, table: str, method: str, trials: int) -> dict[int, Any]:
        """The figures by seed, in their order."""
        path = self._path(table, method, trials)
        kept = json.loads(path.read_text())["seeds"] if path.is_file() else {}
        return {int(seed): kept[seed] for seed in sorted(kept, key=int)}

    def add(self, table: str, method: str, trials: int, seed: int, figures: dict[str, Any]) -> None:
        """Keep one seed."""
        seeds = self.seeds(table, method, trials) | {seed: figures}
        content = {"table": table, "method": method, "trials": trials, "seeds": seeds}
        write_text(self._path(table, method, trials), json.dumps(content))

    def methods(self, table: str, trials: int, slow_trials: int) -> dict[str, list[Any]]:
        """All methods that there is something of, in a fixed order; also such as are not installed here."""
        there = [json.loads(path.read_text()) for path in sorted(self._folder.glob("*.json"))]
        most = {each["method"]: slow_trials if each["method"] in packages.SLOW else trials for each in there}
        names = [e["method"] for e in there if (e["table"], e["trials"]) == (table, most[e["method"]])]
        order = [*(name for name in METHODS if name in names), *(name for name in names if name not in METHODS)]
        return {name: list(self.seeds(table, name, most[name]).values()) for name in order}

    def _path(self, table: str, method: str, trials: int) -> Path:
        slug = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")
        return self._folder / f"{table}-{trials}-{slug}.json"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nasbench-data-4epochs.tar.gz and published_runs.csv.gz")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=20)
    most = ", ".join(f"{most} on {name}" for name, most in MOST_TRIALS.items())
    parser.add_argument("--trials", type=int, default=200, help=f"trainings a seed; at most {most}")
    slow = " and ".join(sorted(packages.SLOW))
    parser.add_argument("--slow-trials", type=int, default=50, help=f"at most, for {slow}")
    parser.add_argument("--out", type=Path, default=Path("search_efficiency"))
    parser.add_argument("--limit-s", type=float, default=math.inf, help="begin no further seed after so many seconds")
    return parser.parse_args()


def main() -> None:
    """Run what is missing and write tables, JSON and plots."""
    arguments = parse()
    torch.set_num_threads(1)
    store = Store(arguments.out / "runs")
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    text = [f"kWh are the tables'. CPU seconds are of one core ({machine}).", ""]
    found: dict[str, Any] = {"machine": machine, "tables": {}, "published": {}}
    shown = {}
    begun = time.monotonic()
    for name in arguments.tables:
        problem = load(name, arguments.data)
        trials = min(arguments.trials, MOST_TRIALS.get(name, arguments.trials))
        for seed in range(arguments.seeds):  # seed by seed, so that a stopped run compares equals
            for method in arguments.methods:
                most = min(trials, arguments.slow_trials) if method in packages.SLOW else trials
                if time.monotonic() - begun > arguments.limit_s or seed in store.seeds(name, method, most):
                    continue
                before = time.process_time()
                figures = finish(METHODS[method], Recorder(problem, seed, most)).figures()
                cpu_s = round(time.process_time() - before, 3)
                store.add(name, method, most, seed, {**figures, "cpu_s": cpu_s})
        runs = store.methods(name, trials, min(trials, arguments.slow_trials))
        if not runs:
            continue
        shown[name] = problem, runs
        found["tables"][name] = summary(problem, runs) | {"trials": trials}
        part = [*about(found["tables"][name]), "", markdown(found["tables"][name]), ""]
        text += part
        print("\n".join(part), flush=True)
    runs_file = None if arguments.data is None else arguments.data / RUNS
    if runs_file is not None and runs_file.is_file():
        text += ["### Runs as EC-NAS published them: several budgets, an own normalisation", ""]
        for space, methods in published.read(runs_file).items():
            found["published"][space] = published.figures(methods)
            text += [published.markdown(space, found["published"][space]), ""]
    write_text(arguments.out / "table.md", "\n".join(text))
    write_text(arguments.out / "summary.json", json.dumps(found, indent=1))
    write_text(arguments.out / "curves.html", plot(shown))
    print(f"{arguments.out} has table.md, summary.json and curves.html.")


def about(found: dict[str, Any]) -> list[str]:
    """The heading of a table, and what its figures refer to."""
    points = "; ".join(
        f"{'log' if view == 'tight' else view}: error {error:.3f}, {kwh:.3g} kWh"
        for view, (error, kwh) in found["reference_error_and_kwh"].items()
    )
    return [
        f"### {found['title']}",
        "",
        f"{found['architectures']} architectures, {found['trainings']} trainings, {found['front']} on the true front; "
        f"energy {found['energy']}, {found['mean_kwh']:.3g} kWh a training on average. "
        f"{found['trials']} trainings a seed. Reference points: {points}.",
    ]


if __name__ == "__main__":
    main()
