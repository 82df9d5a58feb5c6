"""Which rungs rank networks as full trainings do, for how many joules, and do they help a search?

    python experiments/rungs/run.py --data-dir DIR --ec-nas DIR

``DIR`` holds the published files of Fashion-MNIST. Trains what ``trainings.csv`` beside this file has not
yet (a quarter of an hour of one core), then prints and writes ``table.md`` and ``result.json``. Without
``--data-dir`` nothing is trained. ``--ec-nas`` is the folder of EC-NAS-Bench's ``nasbench-data-4epochs.tar.gz``, whose
trainings were looked at halfway; without it, what ``result.json`` has of them stays. The looks of ``mobilenets.py`` are
replayed in the same way.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import looked
import mobilenets
import numpy as np
import optuna
import published
import replay
import signals
import torch
from measure import TABLE, measure, search_space

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


def analyse(seeds: dict[str, int]) -> dict[str, Any]:
    """All figures of the trainings, JSON-ready."""
    study = signals.Study(search_space(), TABLE)
    found: dict[str, Any] = about(study) | {"signals": signals.figures(study), "predictor": study.predicted()}
    for strategy, (_, kept) in STRATEGIES.items():
        ladders = [ladder for ladder in replay.LADDERS if kept is None or ladder.name in kept]
        rows = replay.compare(study, strategy, range(seeds[strategy]), ladders)
        found[strategy] = {"seeds": seeds[strategy], "rungs": rows}
    return found


def markdown(result: dict[str, Any]) -> str:
    """All figures in tables."""
    found = result["own"]
    low, high = found["accuracy"]
    lines = [
        "# Own trainings: NAS-Bench-201 on Fashion-MNIST, 8 epochs",
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
    if "published" in result:
        lines += ["", "# Published trainings: EC-NAS-Bench on CIFAR-10, 4 epochs, annealed, measured on a GPU", ""]
        lines += [published.markdown(result["published"]["signals"]), ""]
        lines += [looked.markdown(result["published"]["searches"])]
    if "mobilenets" in result:
        found = result["mobilenets"]
        value, low, high = found["tau"]
        lines += [
            "",
            f"# Own trainings: {found['title']}",
            "",
            f"{found['networks']} networks, {found['energy']} (modelled). Each seed searches a random half of them. "
            f"Tau of the look after {found['rung']} with the end of the same training is "
            f"{value:.2f} ({low:.2f} to {high:.2f}), at {100 * found['share']:.0f}% of its joules.",
            "",
            looked.markdown(found),
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Train what is missing, analyse, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of Fashion-MNIST's published files")
    parser.add_argument("--ec-nas", type=Path, help="folder of EC-NAS-Bench's archive")
    parser.add_argument("--seeds", type=int, default=100, help="replays in a random order, of each ladder")
    parser.add_argument("--green-seeds", type=int, default=10, help="replays with GreenSampler, of each ladder")
    parser.add_argument("--out", type=Path, default=TABLE.parent)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.data_dir is not None:
        measure(options.data_dir)
    file = options.out / "result.json"
    result = json.loads(file.read_text()) if file.is_file() else {}
    if options.ec_nas is not None:
        source = published.Published(options.ec_nas)
        searches = source.looked(5).figures(range(options.green_seeds))
        result["published"] = {"signals": source.signals(), "searches": searches}
    result["mobilenets"] = mobilenets.looked().figures(range(2 * options.green_seeds))
    result["own"] = analyse({"random": options.seeds, "green": options.green_seeds})
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1))
    (options.out / "table.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
