"""How do errors fall with FLOPs? The exponent of a power law, fitted to each table.

    python experiments/search_efficiency/power.py --data DIR [--tables 5V 4V FM ...]

GreenSampler expects an exponent of -0.1 before it has seen a training (``greennas/sampler/models.py``). Errors have the
same blur here as there, and Kendall's tau says how much of their order FLOPs tell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from problem import TABLES, Problem, load
from scipy.stats import kendalltau

from greennas.sampler.losses import Scale


def row(problem: Problem) -> str:
    """Networks, exponent, and Kendall's tau of accuracy with FLOPs, as a line of the table."""
    space, shape, classes = problem.space, problem.input_shape, problem.num_classes
    flops = [space.profile(problem.table.params[key], shape, classes).total_flops for key in problem.truth]
    losses = Scale("accuracy", True, 1.0).losses(1 - problem.points[:, 0])
    exponent = np.polyfit(np.log(flops), losses, 1)[0]
    tau = kendalltau(-losses, flops).statistic
    return f"| {problem.name} | {len(flops)} | {exponent:+.3f} | {tau:+.2f} |"


def main() -> None:
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with EC-NAS's data; FM and MN do without")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    arguments = parser.parse_args()
    print("| table | networks | exponent | Kendall's tau |\n| --- | ---: | ---: | ---: |")
    for name in arguments.tables:
        print(row(load(name, arguments.data)), flush=True)


if __name__ == "__main__":
    main()
