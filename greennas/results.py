"""What a search found, read from its study: trials, Pareto front, knee, the bill, and what screening saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from greennas.architecture import Architecture
from greennas.carbon import CostEntry, Estimate, SearchCost
from greennas.config import Objective, SearchConfig
from greennas.energy import Kind, Reading
from greennas.energy.intervals import letters, overlapping_pairs
from greennas.measurement import Confirmation
from greennas.pareto import hypervolume, is_non_dominated, knee
from greennas.sampler.history import COST, INTERRUPTED, PROPOSAL, rung_of
from greennas.sampler.limits import limits, within
from greennas.sampler.losses import loss_of, losses_of

# Keys under which the search keeps its facts in the study.
ARCHITECTURE = "architecture"
METRICS = "metrics"
KINDS = "kinds"
FAILURE = "failure"
COSTS = "costs"
CHOICE_COSTS = "choice_costs"
EXAMPLES = "examples_seen"
EPOCHS = "epochs"
RUNGS = "rungs"
ENVIRONMENT = "environment"
DRIVER_COSTS = "driver_costs"
METERED = "metered"
TESTS = "tests"
CONFIRMED = "confirmed"
DATA = "data"
PRECISION = "precision"


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: Optuna's number.
        state: Optuna's name of the state.
        architecture: the network; None for a trial that was added from elsewhere and not begun.
        metrics: name to value; None where a metric could not be had.
        kinds: kind of each energy metric.
        failure: why it failed; None otherwise.
        interrupted: the run was stopped while it trained; it was queued again under another number.
        epochs: epochs trained.
        rung: budget at which it was stopped, in words; empty where it was not, or is not known.
        proposal: why it was chosen, what was predicted, and what was screened out for it.
        test: metrics on the test split; empty for all but the final front.
        confirmed: training energy measured again; None for all but the final front.
    """

    number: int
    state: str
    architecture: Architecture | None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    interrupted: bool = False
    epochs: float | None = None
    rung: str = ""
    proposal: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    confirmed: Confirmation | None = None

    @property
    def architecture_id(self) -> str:
        """Canonical id of the network; empty if it is not known."""
        return self.architecture.id if self.architecture else ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "number": self.number,
            "state": self.state,
            "architecture_id": self.architecture_id,
            "architecture": self.architecture.to_json() if self.architecture else None,
            "metrics": dict(self.metrics),
            "kinds": dict(self.kinds),
            "failure": self.failure,
            "epochs": self.epochs,
            "rung": self.rung,
            "proposal": dict(self.proposal),
            "test": dict(self.test),
            "confirmed": self.confirmed.to_json() if self.confirmed else None,
        }


@dataclass(frozen=True)
class ScreeningSummary:
    """What screening did.

    Attributes:
        considered: candidates whose energy and objectives were predicted, counted once a choice.
        screened: distinct architectures that were on a shortlist and never trained.
        saved_j: joules that training them would have cost, predicted: mean, low and high. The ends add up the
            90% intervals' ends, as if all errors had the same sign. None where the energy of no training is known:
            FLOPs stood in for joules then.
        kind: kind of those joules' measurements.
        energy_error: median of abs(predicted - measured) / measured over the trained candidates; None before any.
        coverage: share of measured energies inside of their predicted 90% interval; None before any.
    """

    considered: int
    screened: int
    saved_j: tuple[float, float, float] | None
    kind: str
    energy_error: float | None
    coverage: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        mean, low, high = self.saved_j or (None, None, None)
        return {
            "considered": self.considered,
            "screened_out": self.screened,
            "saved_j": mean,
            "saved_low_j": low,
            "saved_high_j": high,
            "kind": self.kind,
            "median_energy_error": self.energy_error,
            "interval_coverage": self.coverage,
        }


class SearchResult:
    """Result of a search, finished or not.

    Args:
        config: its settings.
        study: its study.
        path: its run folder, if it has one.
    """

    def __init__(self, config: SearchConfig, study: optuna.Study, path: Path | None = None) -> None:
        self.config = config
        self.path = path
        self._frozen = study.get_trials(deepcopy=False)
        self._attributes = study.user_attrs

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """All trials in the order in which they were begun; those that wait come last."""
        tests, confirmed = self._attributes.get(TESTS, {}), self._attributes.get(CONFIRMED, {})
        ordered = sorted(self._frozen, key=lambda t: (t.datetime_start is None, t.datetime_start, t.number))
        return [_record(trial, tests.get(str(trial.number), {}), confirmed.get(str(trial.number))) for trial in ordered]

    @cached_property
    def completed(self) -> list[TrialRecord]:
        """The trials that were trained to the full budget and have all objectives."""
        names = self.config.metrics
        return [
            trial
            for trial in self.trials
            if trial.state == TrialState.COMPLETE.name and all(trial.metrics.get(name) is not None for name in names)
        ]

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Losses of the completed trials, shape ``(n, objectives)``: see ``sampler.losses.loss_of``."""
        return losses(self.completed, self.config.objectives)

    @cached_property
    def front(self) -> list[TrialRecord]:
        """Non-dominated completed trials that keep the constraints, the best in the first objective first."""
        return [self.completed[i] for i in self._front_indices]

    @property
    def why_no_front(self) -> str:
        """Why ``front`` is empty where it is, in words that ", so there is no front" may follow."""
        if self.completed:
            return f"None of the {len(self.completed)} trained networks keeps the limits"
        if failed := self.count(TrialState.FAIL):
            return f"None of the {failed} trainings succeeded"
        return "No trial has been completed yet"

    @cached_property
    def _front_indices(self) -> NDArray[np.int64]:
        allowed = limits(**self.config.constraints.model_dump())
        kept = np.flatnonzero([within(allowed, trial.metrics) for trial in self.completed])
        if not len(kept):
            return np.zeros(0, dtype=np.int64)
        front = kept[is_non_dominated(self.losses[kept])]
        return np.asarray(front[np.argsort(self.losses[front][:, 0], kind="stable")])

    @cached_property
    def energy_groups(self) -> dict[int, str]:
        """Letters for the front's trials by number: what shares one uses the same training energy within noise.

        Only trials whose energy was measured again (``TrialRecord.confirmed``), and only if all of it is of one kind.
        """
        return letters(self._confirmed_intervals)

    @cached_property
    def same_energy(self) -> list[tuple[TrialRecord, TrialRecord]]:
        """Pairs of the front whose confirmed energy intervals overlap: they are not ranked by energy."""
        by_number = {trial.number: trial for trial in self.front}
        return [(by_number[a], by_number[b]) for a, b in overlapping_pairs(self._confirmed_intervals)]

    @property
    def _confirmed_intervals(self) -> dict[int, tuple[float, float]]:
        confirmed = {trial.number: trial.confirmed for trial in self.front if trial.confirmed}
        if len({each.kind for each in confirmed.values()}) > 1:
            return {}
        return {number: ends for number, each in confirmed.items() if (ends := each.interval_j) is not None}

    @cached_property
    def knee(self) -> TrialRecord | None:
        """The front's trial nearest to the ideal point, each objective scaled to the front's range.

        Where training energy is an objective and all of the front was measured again, by that energy.
        """
        return self.front[knee(self._confirmed_losses)] if self.front else None

    @cached_property
    def outdone(self) -> dict[int, TrialRecord]:
        """Trials of the front, by number, to the one that outdoes each once its energy is measured again.

        The other is no worse in every other objective and its confirmed interval lies wholly below.
        """
        if COST not in self.config.metrics:
            return {}
        column = self.config.metrics.index(COST)
        others = np.delete(self._confirmed_losses, column, axis=1)
        ends = self._confirmed_intervals
        found: dict[int, TrialRecord] = {}
        for i, trial in enumerate(self.front):
            for j, other in enumerate(self.front):
                if not {trial.number, other.number} <= ends.keys() or i == j:
                    continue
                if np.all(others[j] <= others[i]) and ends[other.number][1] < ends[trial.number][0]:
                    found.setdefault(trial.number, other)
        return found

    @cached_property
    def _confirmed_losses(self) -> NDArray[np.float64]:
        """Losses of the front, shape ``(front, objectives)``, with confirmed in place of first energies if all are."""
        table = losses(self.front, self.config.objectives)
        if COST in self.config.metrics and len(self._confirmed_intervals) == len(self.front):
            energies = [trial.confirmed.train_energy_j for trial in self.front if trial.confirmed]
            table[:, self.config.metrics.index(COST)] = [loss_of(e, False, COST) for e in energies if e is not None]
        return table

    @cached_property
    def reference(self) -> list[float]:
        """Reference point of the hypervolume, as losses: the worst completed value of each objective plus 10%."""
        if not self.completed:
            return []
        worst, best = self.losses.max(axis=0), self.losses.min(axis=0)
        margin = np.where(worst > best, worst - best, 1.0)
        return [float(x) for x in worst + 0.1 * margin]

    @cached_property
    def hypervolume(self) -> float:
        """Hypervolume of the front over that of the box between its ideal and the reference point, 0 to 1."""
        if not self.completed:
            return 0.0
        reference = np.array(self.reference)
        box = float(np.prod(reference - self.losses.min(axis=0)))
        return hypervolume(self.losses[self._front_indices], reference) / box if box > 0 else 0.0

    @cached_property
    def cost(self) -> SearchCost:
        """The search's own bill."""
        trained = [t for t in self.trials if t.state == TrialState.COMPLETE.name]
        numbers = {t.number for t in trained}
        flops = [value for t in trained if (value := t.metrics.get("flops")) is not None]
        screening = self.screening
        energy = self.config.energy
        grid = energy.grid
        return SearchCost(
            tuple(CostEntry.from_json(item) for item in self._cost_items()),
            trials=len(trained),
            examples_seen=sum(int(t.user_attrs.get(EXAMPLES, 0)) for t in self._frozen if t.number in numbers),
            # Forward and backward: three times the forward pass.
            flops_per_example=3 * float(np.mean(flops)) if flops else None,
            saved=Estimate(*screening.saved_j, screening.kind) if screening.screened and screening.saved_j else None,
            grid_intensity_g_per_kwh=grid.g_per_kwh if grid else None,
            grid_source=grid.source if grid else "",
            grid_location=grid.location if grid else "",
            pue=energy.pue,
            metered=tuple(Reading.from_json(item) for item in self._attributes.get(METERED, [])),
        )

    @cached_property
    def screening(self) -> ScreeningSummary:
        """What screening did and how good its predictions were."""
        trained = {trial.architecture_id for trial in self.trials}
        out: dict[str, Mapping[str, float]] = {}
        for trial in self.trials:
            for item in trial.proposal.get("screened", []):
                if item["architecture"]["id"] not in trained and COST in item["predicted"]:
                    out[item["architecture"]["id"]] = item["predicted"][COST]
        errors, covered = [], []
        for trial in self.completed:
            predicted, energy = trial.proposal.get("predicted", {}).get(COST), trial.metrics.get(COST)
            if predicted and energy:
                errors.append(abs(predicted["mean"] - energy) / energy)
                covered.append(predicted["low"] <= energy <= predicted["high"])
        kinds = {trial.kinds[COST] for trial in self.completed if COST in trial.kinds} - {Kind.UNAVAILABLE}
        saved = [math.fsum(item[end] for item in out.values()) for end in ("mean", "low", "high")]
        return ScreeningSummary(
            considered=sum(trial.proposal.get("pool", 0) for trial in self.trials),
            screened=len(out),
            saved_j=(saved[0], saved[1], saved[2]) if kinds or not out else None,
            kind=", ".join(sorted(kinds)) or "unavailable",
            energy_error=float(np.median(errors)) if errors else None,
            coverage=float(np.mean(covered)) if covered else None,
        )

    def count(self, state: TrialState) -> int:
        """Number of trials in a state; those that were interrupted and queued again do not count as failed."""
        return self._counts[state.name]

    @property
    def failed(self) -> bool:
        """Whether trainings failed and none succeeded."""
        return not self.completed and self.count(TrialState.FAIL) > 0

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(trial.state for trial in self.trials if not trial.interrupted)

    def summary(self) -> dict[str, Any]:
        """JSON-ready overview: front, knee, hypervolume, counts, screening, cost."""
        return {
            "run": str(self.path) if self.path else None,
            "objectives": [str(objective) for objective in self.config.objectives],
            "trials": {state.name: self.count(state) for state in TrialState},
            "front": [trial.to_json() | {"energy_group": self.energy_groups.get(trial.number)} for trial in self.front],
            "same_energy_within_noise": [[a.architecture_id, b.architecture_id] for a, b in self.same_energy],
            "knee": self.knee.architecture_id if self.knee else None,
            "hypervolume": self.hypervolume,
            "reference": self.reference,
            "screening": self.screening.to_json(),
            "cost": self.cost.to_json(),
        }

    @property
    def data(self) -> Mapping[str, Any]:
        """Facts on the data: name, input shape, sizes of the splits, notes."""
        return dict(self._attributes.get(DATA, {}))

    def _cost_items(self) -> Iterable[Mapping[str, Any]]:
        for trial in self._frozen:
            yield from trial.user_attrs.get(CHOICE_COSTS, [])
            yield from trial.user_attrs.get(COSTS, [])
        yield from self._attributes.get(DRIVER_COSTS, [])


def losses(trials: Sequence[TrialRecord], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Losses of trials that have all objectives, shape ``(trials, objectives)``."""
    names = [objective.metric for objective in objectives]
    maximize = [objective.direction == "max" for objective in objectives]
    values = np.array([[trial.metrics[name] for name in names] for trial in trials], dtype=float)
    return losses_of(values, maximize, names)


def _record(trial: FrozenTrial, test: Mapping[str, float], confirmed: Mapping[str, Any] | None) -> TrialRecord:
    attributes = trial.user_attrs
    architecture, reports = attributes.get(ARCHITECTURE), attributes.get(RUNGS, [])
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        architecture=Architecture.from_json(architecture) if architecture else None,
        metrics=attributes.get(METRICS, {}),
        kinds=attributes.get(KINDS, {}),
        failure=attributes.get(FAILURE),
        interrupted=bool(attributes.get(INTERRUPTED)),
        epochs=attributes.get(EPOCHS),
        rung=str(rung_of(reports[-1])) if trial.state == TrialState.PRUNED and reports else "",
        proposal=attributes.get(PROPOSAL, {}),
        test=test,
        confirmed=Confirmation.from_json(confirmed) if confirmed else None,
    )
