"""What a whole search over thousands of trainings costs that are only looked up: seconds for each thousand trials.

    python benchmarks/replay.py [--trials 5000] [--vertices 6] [--out FOLDER]

Makes up a table of all cells of NAS-Bench-101 with up to 6 vertices (64,542 cells), accuracies and joules as in
sampler.py, and runs a search on it as ``greennas search`` does: proposals, probes, the study on disk, tables and
report. CPU seconds of this process, seconds that went by, and the largest memory that the process had.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from sampler import outcome

import greennas
from greennas.loop import Progress
from greennas.space import SearchSpace


def write_table(path: Path, space: SearchSpace) -> None:
    """Every architecture of ``space`` with a made-up accuracy and joules."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["params", "accuracy", "train_energy_j"])
        for params in space.architectures():
            writer.writerow([json.dumps(params), *outcome(space, params, rng)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--step", type=int, default=1000, help="trials between two lines")
    parser.add_argument("--vertices", type=int, default=6, help="of the cells in the table, at most")
    parser.add_argument("--out", type=Path, help="keep table and run there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        space = greennas.load_space("nasbench101", vertices=arguments.vertices)
        write_table(folder / "table.csv", space)
        print("| trials | CPU ms a trial | ms a trial | memory, MB |\n| ---: | ---: | ---: | ---: |")
        done, since = 0, (math.inf, math.inf)

        def count(progress: Progress) -> None:
            nonlocal done, since
            done += progress.message is not None
            since = min(since, (time.process_time(), time.monotonic()))  # the table has been read by now
            if progress.message is not None and done % arguments.step == 0:
                now = time.process_time(), time.monotonic()
                cpu, wall = (1000 * (b - a) / arguments.step for a, b in zip(since, now, strict=True))
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"| {done} | {cpu:.0f} | {wall:.0f} | {memory:.0f} |", flush=True)
                since = now

        result = greennas.search(
            "nasbench101",
            space_options={"vertices": arguments.vertices},
            table={"file": folder / "table.csv"},
            trials=arguments.trials,
            out=folder / "run",
            workers=1,
            on_progress=count,
        )
        print(f"\n{len(result.completed)} completed, {len(result.front)} on the front; the end took ", end="")
        print(f"{time.process_time() - since[0]:.1f} CPU s.")


if __name__ == "__main__":
    main()
