"""What rungs do to a search: the recorded trainings replayed, with and without them.

A search takes one network of the study after the other until it has had all of them: in a random order, or as
``GreenSampler`` chooses among those that are left. Each network comes to the rungs as in ``greennas search``:
``RungKeeper`` says whether it goes on. A training is one of the two recorded full ones, chosen at random by the seed,
and its looks are from the same one. Judged is the hypervolume of the networks that were trained to the end, by their
means over both, against the joules spent on all steps and evaluations. Time at a rung is the CPU time of its steps:
other work on the machine does not count.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from among import AmongSampler
from measure import BATCH_SIZE, EPOCHS
from numpy.typing import NDArray
from optuna.trial import TrialState
from signals import FULL_SEEDS, INPUT_SHAPE, Study

from greennas.pareto import hypervolume, reference_point
from greennas.rungs import RungKeeper
from greennas.sampler.candidates import CandidateFactory
from greennas.trainer import Rung, RungReport

Array = NDArray[np.float64]
GRACE = 4
RESAMPLES = 2000
SHARES = (0.1, 0.2, 0.4)
"""Of the joules that full trainings of all networks take, at which hypervolumes are compared."""
GOALS = (0.9, 0.95)


@dataclass(frozen=True)
class Ladder:
    """Rungs of a search.

    Attributes:
        name: to people.
        rungs: in their order.
        proxy: NWOT or synflow in place of an accuracy, as a rung before all others; None: no such rung.
        keep: share that goes on.
    """

    name: str
    rungs: tuple[Rung, ...] = ()
    proxy: str | None = None
    keep: float = 0.5


GREEN = ("none", "NWOT", "1 epoch", "2 epochs", "4 epochs", "1 epoch at 14 pixels")
"""Ladders that GreenNAS's own strategy is replayed with."""
LADDERS = (
    Ladder("none"),
    Ladder("NWOT", proxy="nwot"),
    Ladder("synflow", proxy="synflow"),
    Ladder("1 epoch", (Rung(1),)),
    Ladder("2 epochs", (Rung(2),)),
    Ladder("2 epochs, three quarters go on", (Rung(2),), keep=0.75),
    Ladder("4 epochs", (Rung(4),)),
    Ladder("1, 2 and 4 epochs", (Rung(1), Rung(2), Rung(4))),
    Ladder("1 epoch at 14 pixels", (Rung(1, 14),)),
    Ladder("2 epochs at 14 pixels", (Rung(2, 14),)),
    Ladder("2 epochs at 14 pixels, three quarters go on", (Rung(2, 14),), keep=0.75),
    Ladder("4 epochs at 14 pixels on 50% of the images", (Rung(4, 14, 0.5),)),
    Ladder("2 epochs on 50% of the images", (Rung(2, None, 0.5),)),
)


class Replay:
    """Searches over the networks of a study.

    Args:
        study: the recorded trainings.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        losses = np.column_stack([np.log(1 - np.mean(study.finals, axis=0)), np.log(study.final_joules)])
        self._losses = losses
        self._reference = reference_point(losses)
        self._best = hypervolume(losses, self._reference)
        self._known: dict[tuple[str, int, float], dict[str, Array]] = {}
        factory = CandidateFactory(study.space, INPUT_SHAPE, 10, BATCH_SIZE)
        # nasbench201 asks for the last edge into a node under a name of its own.
        self.candidates = [
            factory.replay({**params, **{f"{name}!": value for name, value in params.items()}})
            for params in study.params
        ]

    def search(self, ladder: Ladder, strategy: str, seed: int) -> Array:
        """Joules spent and hypervolume reached (1: that of all networks) after each network, (n, 2)."""
        order = self._random(seed) if strategy == "random" else self._green(seed)
        keeper = RungKeeper(ladder.keep, GRACE)
        chosen = np.random.default_rng([seed, 1]).integers(len(FULL_SEEDS), size=len(self.study))
        spent, trained, points = 0.0, [], []
        i = next(order)
        while True:
            joules, reports, went_on = self._train(i, ladder, keeper, FULL_SEEDS[chosen[i]])
            spent += joules
            if went_on:
                trained.append(i)
            outcome = {
                "accuracy": float(self.study.finals[chosen[i]][i]) if went_on else None,
                "reports": reports,
                "joules": float(self._of("full", FULL_SEEDS[chosen[i]], EPOCHS)["train"][i]),
            }
            volume = hypervolume(self._losses[trained], self._reference) / self._best if trained else 0.0
            points.append((spent, volume))
            try:
                i = order.send(outcome)
            except StopIteration:
                return np.array(points)

    def _train(self, i: int, ladder: Ladder, keeper: RungKeeper, seed: int) -> tuple[float, list[RungReport], bool]:
        """Joules, reports and whether it was trained to the end."""
        spent, looked, reports = 0.0, 0.0, []
        if ladder.proxy is not None:
            value = self.study.values("proxies", 2, 0, ladder.proxy)[i]
            spent += self.study.values("proxies", 2, 0, "train_energy_j")[i]
            costs = self.study.profiles[i].training_flops  # the rung's time is that of the training on paper
            if not keeper.go_on(RungReport(0.5, 0, 0, float(value), 0.0, float(costs))):
                return spent, [], False
        for rung in ladder.rungs:
            training, epochs = self.study.rung(rung)
            found = self._of(training, seed if training == "full" else 2, epochs)
            if rung.separate:
                spent += float(found["train"][i] + found["look"][i])
            else:
                looked += float(found["look"][i])
            report = RungReport(
                rung.epochs,
                0,
                0,
                float(found["accuracy"][i]),
                0.0,
                float(found["train"][i]),
                rung.resolution,
                rung.data_share,
            )
            reports.append(report)
            if not keeper.go_on(report):
                return spent + looked + (0.0 if rung.separate else float(found["train"][i])), reports, False
        found = self._of("full", seed, EPOCHS)
        return spent + looked + float(found["train"][i] + found["look"][i]), reports, True

    def _of(self, training: str, seed: int, epochs: float) -> dict[str, Array]:
        """Accuracies and joules of a training at its rung, read once."""
        key = training, seed, epochs
        if key not in self._known:
            columns = {"accuracy": "accuracy", "train": "train_energy_j", "look": "evaluation_energy_j"}
            self._known[key] = {name: self.study.values(*key, column) for name, column in columns.items()}
        return self._known[key]

    def _random(self, seed: int) -> Generator[int, Mapping[str, Any], None]:
        for i in np.random.default_rng([seed, 2]).permutation(len(self.study)):
            yield int(i)

    def _green(self, seed: int) -> Generator[int, Mapping[str, Any], None]:
        """Networks as GreenSampler chooses them; gets what came of each."""
        pool = self.candidates
        sampler = AmongSampler(
            pool, self.study.space, input_shape=INPUT_SHAPE, batch_size=BATCH_SIZE, seed=seed, initial=GRACE
        )
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        index = {candidate.id: i for i, candidate in enumerate(pool)}
        for _ in pool:
            trial = study.ask()
            params = self.study.space.sample(trial)
            outcome = yield index[self.study.space.architecture(params).id]
            trial.set_user_attr("rungs", [asdict(report) for report in outcome["reports"]])
            if outcome["accuracy"] is None:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                trial.set_user_attr("metrics", {name: outcome[key] for name, key in _METRICS.items()})
                study.tell(trial, [outcome["accuracy"], outcome["joules"]])


_METRICS = {"accuracy": "accuracy", "train_energy_j": "joules"}


def compare(
    study: Study, strategy: str, seeds: Sequence[int], ladders: Sequence[Ladder] = LADDERS
) -> list[dict[str, Any]]:
    """A row a ladder: hypervolumes and joules over the seeds, JSON-ready."""
    replay = Replay(study)
    everything = study.full_joules * len(study)
    rows = []
    for ladder in ladders:
        runs = [replay.search(ladder, strategy, seed) for seed in seeds]
        row: dict[str, Any] = {"rungs": ladder.name}
        row["volume_at"] = {f"{share:g}": _mean([_at(run, share * everything) for run in runs]) for share in SHARES}
        row["share_to"] = {f"{goal:g}": _median([_reaching(run, goal) / everything for run in runs]) for goal in GOALS}
        row["at_the_end"] = _mean([run[-1, 1] for run in runs])
        row["share_at_the_end"] = _mean([run[-1, 0] / everything for run in runs])
        rows.append(row)
    return rows


def _at(run: Array, joules: float) -> float:
    """Hypervolume when so many joules were spent."""
    done = run[run[:, 0] <= joules, 1]
    return float(done[-1]) if len(done) else 0.0


def _reaching(run: Array, goal: float) -> float:
    """Joules to a hypervolume; infinite where it was not reached."""
    there = run[:, 1] >= goal
    return float(run[np.argmax(there), 0]) if there.any() else float("inf")


def _mean(values: Sequence[float]) -> list[float]:
    """Mean with the ends of its 95% bootstrap interval over the seeds."""
    return _with_interval(np.array(values), np.mean)


def _median(values: Sequence[float]) -> list[float | None]:
    """Median with its ends, likewise; None for what is not reached."""
    return [None if np.isinf(value) else value for value in _with_interval(np.array(values), np.median)]


def _with_interval(values: Array, statistic: Any) -> list[float]:
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    found = statistic(values[draws], axis=1)
    low, high = np.quantile(found, (0.025, 0.975), method="nearest")
    return [float(statistic(values)), float(low), float(high)]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table."""
    titles = [f"at {float(share):.0%} of the joules" for share in rows[0]["volume_at"]]
    goals = [f"% of the joules to {float(goal):.0%}" for goal in rows[0]["share_to"]]
    columns = [
        "rungs",
        *(f"hypervolume {title}" for title in titles),
        *goals,
        "hypervolume at the end",
        "% of the joules",
    ]
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    for row in rows:
        cells = [row["rungs"], *(_cell(values, 1) for values in row["volume_at"].values())]
        cells += [_cell(values, 100) for values in row["share_to"].values()]
        cells += [_cell(row["at_the_end"], 1), f"{100 * row['share_at_the_end'][0]:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None], scale: float) -> str:
    """A value with its interval; a dash for what is not reached."""
    digits = 3 if scale == 1 else 0
    middle, low, high = ("-" if value is None else f"{scale * value:.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"
