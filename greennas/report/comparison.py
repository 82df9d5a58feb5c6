"""Several runs beside each other: what of them compares, and their hypervolumes under one reference point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from greennas.errors import RunError
from greennas.pareto import Array, hypervolume, is_non_dominated
from greennas.report.headline import main_objectives
from greennas.report.words import is_energy, kinds_of, noun
from greennas.results import SearchResult, TrialRecord, losses
from greennas.run import RunFolder

MOST_RUNS = 6
"""Runs that one picture holds."""


@dataclass(frozen=True)
class Run:
    """One of the runs.

    Attributes:
        name: how the page calls it.
        result: what it found.
        devices: what its networks were trained on; None where that was not recorded.
    """

    name: str
    result: SearchResult
    devices: str | None


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all runs.

    Attributes:
        what: its name.
        values: of each run.
        consequence: what therefore does not compare, a sentence.
        metrics: the objectives whose values do not compare.
    """

    what: str
    values: tuple[str, ...]
    consequence: str
    metrics: tuple[str, ...]


class Comparison:
    """Runs with the same objectives.

    Args:
        runs: two or more.

    Raises:
        RunError: fewer than two runs, too many of them, or other objectives than in the first run.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        if not 2 <= len(runs) <= MOST_RUNS:
            raise RunError(
                f"A comparison takes 2 to {MOST_RUNS} different runs, not {len(runs)}; give their run folders."
            )
        first = runs[0]
        for run in runs[1:]:
            if run.result.config.objectives != first.result.config.objectives:
                own, other = (", ".join(map(str, each.result.config.objectives)) for each in (first, run))
                raise RunError(
                    f"{first.name} and {run.name} have different objectives ({own}; {other}), so their fronts "
                    "cannot be compared; give runs with the same --objectives."
                )
        self.runs = tuple(runs)
        self.objectives = first.result.config.objectives
        self.good, self.cost = main_objectives(first.result)

    @cached_property
    def differences(self) -> list[Difference]:
        """What is not the same in all runs and therefore keeps values from being compared."""
        energies = tuple(each.metric for each in self.objectives if is_energy(each.metric))
        of_device = tuple(each.metric for each in self.objectives if each.metric in (*energies, "latency_ms"))
        scores = tuple(each.metric for each in self.objectives if each.metric in ("accuracy", *of_device))
        found = [
            self._difference("data", data_of, "neither their accuracies nor what they cost compares", scores),
            self._difference("training", self._training, "a better front can be a better training", ()),
            self._difference("space", space_of, "the fronts differ by their spaces, too", ()),
        ]
        for metric in energies:
            kinds = partial(kinds_in, metric=metric)
            sentence = f"their {noun(metric)} does not compare"
            found.append(self._difference(f"kind of {noun(metric)}", kinds, sentence, (metric,)))
        if of_device:
            words = " and ".join(map(noun, of_device))
            found.append(self._difference("device", devices_of, f"their {words} does not compare", of_device))
        return [each for each in found if each is not None]

    @property
    def incomparable(self) -> list[str]:
        """The objectives that do not compare, in their order."""
        metrics = {metric for each in self.differences for metric in each.metrics}
        return [each.metric for each in self.objectives if each.metric in metrics]

    @cached_property
    def box(self) -> tuple[Array, Array] | None:
        """Ideal and reference point of all runs, as losses; None where nothing was trained or runs do not compare.

        The reference is the worst value that a network trained to the end has in any run, plus 10%.
        """
        every = np.vstack([self._losses(run) for run in self.runs])
        if self.incomparable or not len(every):
            return None
        worst, best = every.max(axis=0), every.min(axis=0)
        return best, worst + 0.1 * np.where(worst > best, worst - best, 1.0)

    @cached_property
    def hypervolumes(self) -> list[float | None]:
        """Of each run under the common reference point, 0 to 1; None where runs do not compare."""
        if self.box is None:
            return [None] * len(self.runs)
        ideal, reference = self.box
        size = float(np.prod(reference - ideal))
        return [hypervolume(self._losses(run, front=True), reference) / size for run in self.runs]

    @cached_property
    def joint_front(self) -> list[tuple[Run, TrialRecord]]:
        """The networks that no network of any run dominates, the best in the first objective first."""
        pairs = [(run, trial) for run in self.runs for trial in run.result.front]
        if self.incomparable or not pairs:
            return []
        rows = losses([trial for _, trial in pairs], self.objectives)
        kept = np.flatnonzero(is_non_dominated(rows))
        return [pairs[i] for i in kept[np.argsort(rows[kept][:, 0], kind="stable")]]

    def _training(self, run: Run) -> str:
        """The settings of the training that differ between the runs; rungs change nothing for those that pass them."""
        plans = [each.result.config.training.model_dump(exclude={"rungs"}) for each in self.runs]
        own = run.result.config.training.model_dump()
        differing = [name for name in plans[0] if len({str(plan[name]) for plan in plans}) > 1]
        return ", ".join(f"{name} {own[name]}" for name in differing)

    def _losses(self, run: Run, front: bool = False) -> Array:
        return losses(run.result.front if front else run.result.completed, self.objectives)

    def _difference(
        self, what: str, of: Callable[[Run], str], consequence: str, metrics: tuple[str, ...]
    ) -> Difference | None:
        values = tuple(of(run) for run in self.runs)
        return Difference(what, values, consequence, metrics) if len(set(values)) > 1 else None


def open_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in these folders, each once.

    Raises:
        RunError: one of them is no run folder or cannot be read.
    """
    folders = list({path.resolve(): RunFolder.open(path) for path in paths}.values())
    names = [folder.path.resolve().name for folder in folders]
    runs = []
    for folder, name in zip(folders, names, strict=True):
        try:
            devices: str | None = ", ".join(folder.trained_on())
        except RunError:
            devices = None
        result = SearchResult(folder.config, folder.read_study(), folder.path)
        runs.append(Run(name if names.count(name) == 1 else str(folder.path), result, devices))
    return runs


def data_of(run: Run) -> str:
    """A run's data in words: name, shape, sizes of the splits that the search saw."""
    facts = run.result.data
    if run.result.config.table is not None:
        return f"table {run.result.config.table.file}"
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, facts.get("input_shape", [])))
    sizes = " + ".join(f"{facts[name]:,}" for name in ("train", "validation") if name in facts)
    return " ".join(
        filter(None, [str(facts.get("name", run.result.config.data.name)), shape, f"({sizes})" if sizes else ""])
    )


def space_of(run: Run) -> str:
    """A run's search space with its options."""
    options = ", ".join(f"{name} {value}" for name, value in run.result.config.space_options.items())
    return f"{run.result.config.space}{f' ({options})' if options else ''}"


def kinds_in(run: Run, metric: str) -> str:
    """The kinds that an energy has in a run, in words."""
    return ", ".join(kinds_of(metric, run.result.completed)) or f"no {noun(metric)}"


def devices_of(run: Run) -> str:
    """What a run's networks were trained on."""
    return run.devices or "not recorded"
