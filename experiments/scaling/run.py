"""How searches on Ray scale: throughput against the ideal, the front at equal trials, and overhead a trial.

    python experiments/scaling/run.py DATA [--workers 1 2 4 8 16 64] [--speedup 3.5] [--out FOLDER]

DATA is EC-NAS-Bench's tree of results (``nasbench-data-4epochs.tar.gz``, 5 vertices: 2,532 architectures). Each
training is replayed: a worker of Ray's sleeps for the seconds that it took there, divided by the speed-up, so that any
machine can have 64 workers. What is measured is all that stands between trainings: choosing, Ray Tune, journal, tables.

1. Throughput: ``rounds`` trainings a worker. The ideal is all workers asleep all the time: workers over the mean sleep.
   The share of it is that of the time that workers are asleep, between the moments at which as many trainings have
   ended as there are workers and at which the last one was chosen: neither the start of the processes nor the end of
   the last trainings counts.
2. The front: hypervolume (error and the logarithm of the training energy, normalised to the table's front; reference
   10% beyond its nadir) after as many trials as each of these searches had, of trainings side by side and one by one
   with ten other seeds each, simulated in this process: the strategy is asked when a worker is free and told in the
   order in which trainings of such lengths end. Whoever chooses the last training of n workers knows n - 1 results less
   than one by one, so a column is one by one after so many trials less; the last one is side by side after as many
   trials as the largest search has.
3. Overhead: trainings that take no time, on Ray and looked up in the driver, with one worker.

Seed 0 of the searches on Ray, 1 to 10 of the others. Nothing was tuned on this table for this experiment.
Probes are off: a choice waits for its probe, which is a matter of the settings and not of the executor. Numbers of
workers that an earlier call has measured stay in the results.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from figure import draw
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from greennas.energy.devices import describe_devices
from greennas.pareto import hypervolume, is_non_dominated
from greennas.run import RunFolder
from greennas.sampler import GreenSampler
from greennas.space import load_space
from greennas.tabular import Table, read_table

HERE = Path(__file__).resolve().parent
SEEDS = tuple(range(1, 11))
OVERHEAD_TRIALS = 100
CLI = [sys.executable, "-c", "from greennas.cli import main; main()", "search"]


class Problem:
    """The table, and the hypervolume of a search on it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.table: Table = read_table(data, load_space("nasbench101", vertices=5))
        rows = [self._losses(r["accuracy"], self.table.energy_j(r)) for g in self.table.rows.values() for r in g[:1]]
        front = np.array(rows)[is_non_dominated(np.array(rows))]
        self._ideal, nadir = front.min(axis=0), front.max(axis=0)
        self._reference = nadir + 0.1 * (nadir - self._ideal)
        self._best = hypervolume(front, self._reference)

    @staticmethod
    def _losses(accuracy: float, energy_j: float | None) -> list[float]:
        return [1 - accuracy, float(np.log(energy_j or 1.0))]

    def hypervolume(self, trials: Sequence[FrozenTrial], count: int) -> float:
        """Of the first ``count`` trials of a search; 1 is that of the table's own front."""
        metrics = [trial.user_attrs["metrics"] for trial in trials[:count]]
        return self.volume([(each["accuracy"], each["train_energy_j"]) for each in metrics])

    def volume(self, outcomes: Sequence[tuple[float, float]]) -> float:
        """Of trainings' accuracies and joules."""
        losses: NDArray[np.float64] = np.array([self._losses(*outcome) for outcome in outcomes])
        return hypervolume(losses[is_non_dominated(losses)], self._reference) / self._best

    def simulated(self, workers: int, trials: int, seed: int) -> list[tuple[float, float]]:
        """Accuracies and joules of a search whose workers are all busy as long as there are trainings to begin."""
        space = self.table.space
        sampler = GreenSampler(space, seed=seed, num_classes=10, batch_size=256)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        running: list[tuple[float, int, tuple[float, float]]] = []
        now_s, outcomes = 0.0, []
        for begun in range(trials + workers):
            if begun >= workers:  # a worker has to become free first
                if not running:
                    break
                now_s, number, outcome = heapq.heappop(running)
                study.tell(number, outcome)
                outcomes.append(outcome)
            if begun < trials:
                trial = study.ask()
                row = self.table.draw(space.sample(trial), np.random.default_rng(seed))
                assert row is not None
                outcome = row["accuracy"], float(self.table.energy_j(row) or 0.0)
                heapq.heappush(running, (now_s + row["train_seconds"], trial.number, outcome))
        return outcomes


def search(data: Path, folder: Path, *, trials: int, workers: int, speedup: float | None) -> dict[str, Any]:
    """One search in a process of its own, on Ray where trainings take time; its seconds and CPU seconds."""
    given = {
        "space": "nasbench101",
        "space_options": {"vertices": 5},
        "table": {"file": str(data), "speedup": speedup},
        "screen": {"probe_steps": 0},
        "trials": trials,
        "workers": workers,
        "seed": 0,
        "executor": "local" if speedup is None else "ray",
        "cluster": {"resources": {"cpu": 0.01}},  # a worker that sleeps needs no core
    }
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(given))
    shutil.rmtree(folder, ignore_errors=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [*CLI, "--config", str(file), "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - started, "cpu_seconds": cpu_s}


def read(folder: Path) -> list[FrozenTrial]:
    """The completed trials of a search, in the order in which they ended."""
    trials = RunFolder.open(folder).read_study().get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=ended)


def begun(trial: FrozenTrial) -> datetime:
    """When it was asked for."""
    assert trial.datetime_start is not None
    return trial.datetime_start


def ended(trial: FrozenTrial) -> datetime:
    """When it was told of."""
    assert trial.datetime_complete is not None
    return trial.datetime_complete


def throughput(trials: Sequence[FrozenTrial], workers: int, speedup: float) -> dict[str, Any]:
    """Share of the time that workers are in a training while all of them are there; the rates that go with it."""
    begin, end = ended(trials[workers - 1]), max(map(begun, trials))
    seconds = [trial.user_attrs["metrics"]["train_seconds"] / speedup for trial in trials]
    busy_s = 0.0
    for trial, length_s in zip(trials, seconds, strict=True):
        start = ended(trial) - timedelta(seconds=length_s)
        busy_s += max((min(ended(trial), end) - max(start, begin)).total_seconds(), 0.0)
    window_s, mean_s = (end - begin).total_seconds(), statistics.fmean(seconds)
    share = busy_s / (workers * window_s)
    return {
        "workers": workers,
        "trials": len(trials),
        "window_s": window_s,
        "mean_training_s": mean_s,
        "per_minute": 60 * share * workers / mean_s,
        "ideal_per_minute": 60 * workers / mean_s,
        "share": share,
    }


def kept(folder: Path, workers: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of an earlier call for other numbers of workers."""
    file = folder / "result.json"
    rows = json.loads(file.read_text())["scaling"] if file.is_file() else []
    return [row for row in rows if row["workers"] not in workers]


def overhead(data: Path, folder: Path) -> dict[str, Any]:
    """Milliseconds of a trial of no length, with Ray and without."""
    found: dict[str, Any] = {"trials": OVERHEAD_TRIALS}
    for name, speedup in (("driver alone", None), ("ray", 1e9)):
        search(data, folder, trials=OVERHEAD_TRIALS, workers=1, speedup=speedup)
        trials = read(folder)
        # From the second start on: the first one waits for Ray's processes.
        wall_s = (begun(trials[-1]) - begun(trials[1])).total_seconds() / (len(trials) - 2)
        running = [(ended(trial) - begun(trial)).total_seconds() for trial in trials[1:]]
        found[name] = {"ms_a_trial": 1000 * wall_s, "ms_from_ask_to_tell": 1000 * statistics.median(running)}
    found["ms_more_on_ray"] = found["ray"]["ms_from_ask_to_tell"] - found["driver alone"]["ms_from_ask_to_tell"]
    return found


def table(result: dict[str, Any]) -> str:
    """What was found, in Markdown."""
    lines = [
        "| workers | trials | a training, s | trainings a minute | ideal | share "
        "| hypervolume | side by side, 10 seeds | one by one, 10 seeds | one by one, as many results known "
        f"| side by side, {max(row['trials'] for row in result['scaling'])} trials |",
        "| ---: " * 11 + "|",
    ]
    for row in result["scaling"]:
        lines.append(
            f"| {row['workers']} | {row['trials']} | {row['mean_training_s']:.1f} | {row['per_minute']:.1f} "
            f"| {row['ideal_per_minute']:.1f} | {100 * row['share']:.1f}% | {row['hypervolume']:.4f} "
            f"| {row['side_by_side_mean']:.4f} ± {row['side_by_side_sd']:.4f} "
            f"| {row['sequential_mean']:.4f} ± {row['sequential_sd']:.4f} "
            f"| {row['informed_mean']:.4f} ± {row['informed_sd']:.4f} "
            f"| {row['longest_mean']:.4f} ± {row['longest_sd']:.4f} |"
        )
    found = result["overhead"]
    lines += [
        "",
        f"A trial of no length takes {found['ray']['ms_from_ask_to_tell']:.0f} ms from ask to tell on Ray and "
        f"{found['driver alone']['ms_from_ask_to_tell']:.0f} ms in the driver alone "
        f"(medians of {found['trials'] - 1}): Ray adds {found['ms_more_on_ray']:.0f} ms.",
    ]
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64])
    parser.add_argument(
        "--speedup", type=float, default=3.5, help="how many times shorter trainings are than they were"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = Problem(options.data.resolve())
    with tempfile.TemporaryDirectory(prefix="greennas-scaling-") as temporary:
        folder = Path(temporary) / "run"
        rows = []
        for workers in options.workers:
            speedup = options.speedup
            trials = max(options.rounds * workers, 5)
            cost = search(problem.data, folder, trials=trials, workers=workers, speedup=speedup)
            ran = read(folder)
            row: dict[str, Any] = {"speedup": speedup}
            row |= throughput(ran, workers, speedup) | cost | {"load_average": os.getloadavg()}
            row["hypervolume"] = problem.hypervolume(ran, trials)
            rows.append(row)
            print(f"{workers} workers: {100 * row['share']:.1f}% of the ideal, {row['seconds']:.0f} s", flush=True)
        rows = sorted([*kept(options.out, options.workers), *rows], key=lambda row: row["workers"])
        most = max(row["trials"] for row in rows)
        one_by_one = [problem.simulated(1, most, seed) for seed in SEEDS]
        for row in rows:
            workers, trials = row["workers"], row["trials"]
            at_once = [problem.volume(problem.simulated(workers, trials, seed)) for seed in SEEDS]
            sequential = [problem.volume(outcomes[:trials]) for outcomes in one_by_one]
            informed = [problem.volume(outcomes[: trials - workers + 1]) for outcomes in one_by_one]
            longest = [problem.volume(problem.simulated(workers, most, seed)) for seed in SEEDS]
            found = {"side_by_side": at_once, "sequential": sequential, "informed": informed, "longest": longest}
            for name, values in found.items():
                row |= {name: values, f"{name}_mean": statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
        summary = {
            "scaling": rows,
            "overhead": overhead(problem.data, folder),
            "machine": describe_devices() | {"python": platform.python_version()},
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(summary, indent=1))
    (options.out / "table.md").write_text(table(summary))
    (options.out / "scaling.svg").write_text(draw(rows))
    print(table(summary))


if __name__ == "__main__":
    main()
