"""Which rungs rank networks as full trainings do, for how many joules, and do they help a search?

    python experiments/rungs/run.py --data-dir DIR

``DIR`` holds the published files of Fashion-MNIST. Trains what the tables ``trainings_*.csv`` beside this file have not
yet (all of it takes about half an hour of one core), then prints and writes ``table.md`` and ``result.json``. Without
``--data-dir`` nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import replay
import signals
import torch
from measure import HERE, PARTS, measure

STRATEGIES = {
    "random": ("networks in a random order", None),
    "green": ("networks as GreenSampler chooses", replay.GREEN),
}


def about(study: signals.Study) -> dict[str, Any]:
    """What was trained, and how far two trainings of one network are apart."""
    first, second = study.finals
    return {
        "networks": len(study),
        "machine": study.machine,
        "kind": study.kind,
        "full_training_j": study.full_joules,
        "accuracy": [float(np.min(study.finals)), float(np.max(study.finals))],
        "accuracy_deviation": float(np.mean(study.finals, axis=0).std()),
        "repeat_deviation": float(np.sqrt(np.mean((first - second) ** 2) / 2)),
    }


def analyse(name: str, table: Path, seeds: dict[str, int]) -> dict[str, Any]:
    """All figures of one space, JSON-ready."""
    study = signals.Study(PARTS[name].space, table)
    found: dict[str, Any] = about(study) | {"signals": signals.figures(study), "predictor": study.predicted()}
    for strategy, (_, kept) in STRATEGIES.items():
        ladders = [ladder for ladder in replay.LADDERS if kept is None or ladder.name in kept]
        rows = replay.compare(study, strategy, range(seeds[strategy]), ladders)
        found[strategy] = {"seeds": seeds[strategy], "rungs": rows}
    return found


def markdown(result: dict[str, Any]) -> str:
    """All figures in tables."""
    lines = []
    for name, found in result.items():
        low, high = found["accuracy"]
        lines += [
            f"## {name}",
            "",
            f"{found['networks']} networks, {found['machine']}; joules are {found['kind']}. A full training takes "
            f"{found['full_training_j']:.1f} J. Accuracies {low:.3f} to {high:.3f}, standard deviation between "
            f"networks {100 * found['accuracy_deviation']:.1f} points, between two seeds of one network "
            f"{100 * found['repeat_deviation']:.1f} points.",
            "",
            signals.markdown(found["signals"]),
            "",
            "`AccuracyPredictor` fitted to a third of the networks and judged on the others: "
            + "; ".join(
                f"{what}: tau {row['tau']:.2f}, error {100 * row['error']:.2f} points"
                for what, row in found["predictor"].items()
            )
            + ".",
        ]
        for strategy, (words, _) in STRATEGIES.items():
            rows = found[strategy]
            lines += ["", f"Replayed, {words}, {rows['seeds']} seeds:", "", replay.markdown(rows["rungs"])]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, analyse, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of Fashion-MNIST's published files")
    parser.add_argument("--seeds", type=int, default=200, help="replays of each ladder in a random order")
    parser.add_argument("--green-seeds", type=int, default=20, help="replays of each ladder with GreenSampler")
    parser.add_argument("--tables", type=Path, default=HERE, help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    result = {}
    for name, part in PARTS.items():
        table = options.tables / f"trainings_{name}.csv"
        if options.data_dir is not None:
            measure(part, options.data_dir, table)
        if table.is_file():
            result[name] = analyse(name, table, {"random": options.seeds, "green": options.green_seeds})
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(result, indent=1))
    (options.out / "table.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
