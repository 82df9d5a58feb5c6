"""What the search writes into its study: choices, outcomes, costs; and how interrupted trials are queued again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from greennas import results as keys
from greennas.carbon import CostEntry, Phase
from greennas.energy import Reading
from greennas.executors.local import result_path
from greennas.journal import together
from greennas.log import LOGGER
from greennas.measurement import LOST, RUNG, Confirmation, Measurement
from greennas.sampler import Proposal
from greennas.sampler.history import INTERRUPTED, PROBE, PROPOSAL
from greennas.sampler.limits import Limit
from greennas.trainer import RungReport

_TRAINING_PHASES = {
    "evaluate": Phase.EVALUATION,
    "inference": Phase.EVALUATION,
    "overhead": Phase.OVERHEAD,
    RUNG: Phase.RUNG,
    LOST: Phase.FAILED_TRAINING,
}
_CARRIED = (keys.ARCHITECTURE, PROPOSAL, PROBE)
"""What is known of a trial before it is trained, and so goes with it when it is queued again."""


def task_id(number: int) -> str:
    """Id of the training of trial ``number``."""
    return f"trial-{number}"


class Ledger:
    """Writes one search's study.

    Args:
        study: the study; this process is its one writer.
        metrics: names of the objectives, in the study's order.
        limits: what a network has to keep; told to Optuna as the trials' constraints.
    """

    def __init__(self, study: optuna.Study, metrics: Sequence[str], limits: Sequence[Limit] = ()) -> None:
        self.study = study
        self._limits = limits
        self._metrics = list(metrics)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the given states."""
        return self.study.get_trials(deepcopy=False, states=states)

    def rung_reports(self) -> Iterator[RungReport]:
        """What the trainings so far have reached at their rungs."""
        for trial in self.trials(TrialState.COMPLETE, TrialState.PRUNED):
            for report in trial.user_attrs.get(keys.RUNGS, []):
                yield RungReport(**report)

    def enqueue(self, proposal: Proposal, costs: Iterable[CostEntry], probe_j: float | None) -> None:
        """Queue the chosen candidate, with why it was chosen, what was screened out for it, and what that cost."""
        candidate = proposal.candidate
        attributes: dict[str, Any] = {
            keys.ARCHITECTURE: candidate.architecture.to_json(),
            PROPOSAL: {
                "reason": proposal.reason,
                "origin": candidate.origin,
                "predicted": proposal.predicted,
                "pool": proposal.pool,
                "screened": [
                    {
                        "architecture": item.candidate.architecture.to_json(),
                        "predicted": item.predicted,
                        "reason": item.reason,
                    }
                    for item in proposal.screened
                ],
            },
            PROBE: probe_j,
            keys.CHOICE_COSTS: [entry.to_json() for entry in costs],
        }
        self._queue(candidate.suggestions, attributes)
        LOGGER.debug("%s", _explanation(proposal))

    def finish(self, trial: Trial, measurement: Measurement, worker: str) -> TrialState:
        """Tell the study how a training came out."""
        with together(self.study):
            return self._finish(trial, measurement, worker)

    def _finish(self, trial: Trial, measurement: Measurement, worker: str) -> TrialState:
        missing = [name for name in self._metrics if not _finite(measurement.metrics.get(name))]
        failure = None
        if not measurement.ok:
            failure = measurement.reason
        elif measurement.stopped_rung is None and missing:
            failure = f"no finite value of {', '.join(missing)}"
        if failure is not None:
            state, phase = TrialState.FAIL, Phase.FAILED_TRAINING
            trial.set_user_attr(keys.FAILURE, failure)
        elif measurement.stopped_rung is not None:
            state, phase = TrialState.PRUNED, Phase.STOPPED_TRAINING
            trial.set_user_attr(keys.EPOCHS, measurement.stopped_rung)
        else:
            state, phase = TrialState.COMPLETE, Phase.TRAINING
        trial.set_user_attr(keys.METRICS, dict(measurement.metrics))
        trial.set_user_attr(keys.KINDS, {name: str(kind) for name, kind in measurement.kinds.items()})
        trial.set_user_attr(keys.EXAMPLES, measurement.examples_seen)
        trial.set_user_attr(keys.RUNGS, [asdict(report) for report in measurement.rungs])
        trial.set_user_attr(keys.ENVIRONMENT, dict(measurement.environment))
        trial.set_user_attr(keys.COSTS, [e.to_json() for e in training_costs(measurement, phase, worker)])
        if state == TrialState.COMPLETE:
            for limit in self._limits:
                reached = measurement.metrics.get(limit.metric)
                excess = math.inf if not _finite(reached) or reached is None else limit.excess(reached)
                trial.set_constraint(limit.metric, excess)
        found = [value for name in self._metrics if (value := measurement.metrics.get(name)) is not None]
        values = found if state == TrialState.COMPLETE else None
        self.study.tell(trial, values, state=state)
        return state

    def fail(self, trial: Trial, reason: str) -> None:
        """Tell the study that a trial cannot be trained at all."""
        trial.set_user_attr(keys.FAILURE, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def recover(self, results: Path) -> None:
        """After an interruption: take in trainings that had finished, and queue the others again.

        Args:
            results: where workers left their results.
        """
        for frozen in self.trials(TrialState.RUNNING):
            trial = Trial(self.study, frozen._trial_id)
            left = result_path(results, task_id(frozen.number))
            if left.is_file():
                self.finish(trial, Measurement.from_json(json.loads(left.read_text())), "recovered")
                continue
            # Queued before it is told: at worst it is trained twice after two kills in a row, never lost.
            suggestions = frozen.system_attrs.get("fixed_params", {}) | frozen.params
            if not self._is_waiting(suggestions):
                carried = {key: frozen.user_attrs[key] for key in _CARRIED if key in frozen.user_attrs}
                self._queue(suggestions, carried)
            trial.set_user_attr(INTERRUPTED, True)
            self.study.tell(trial, state=TrialState.FAIL)

    def add_driver_costs(self, entries: Iterable[CostEntry]) -> None:
        """Add costs that belong to no trial."""
        self._extend(keys.DRIVER_COSTS, [entry.to_json() for entry in entries])

    def add_metered(self, readings: Iterable[Reading]) -> None:
        """Add the readings of meters that ran over a whole session of the search."""
        self._extend(keys.METERED, [reading.to_json() for reading in readings])

    def add_test(self, number: int, measurement: Measurement) -> None:
        """Record what the trained network of a trial reached on the test split."""
        tests = dict(self.study.user_attrs.get(keys.TESTS, {}))
        names = ("accuracy", "loss")
        tests[str(number)] = {name: measurement.metrics[name] for name in names}
        self.study.set_user_attr(keys.TESTS, tests)

    def set_confirmations(self, confirmations: Mapping[int, Confirmation]) -> None:
        """Record the energies of the final front as measured again, by trial; they replace those of an earlier front.

        Only what was measured in turns compares.
        """
        found = {str(number): confirmation.to_json() for number, confirmation in confirmations.items()}
        self.study.set_user_attr(keys.CONFIRMED, found)

    def _extend(self, key: str, items: list[Any]) -> None:
        self.study.set_user_attr(key, [*self.study.user_attrs.get(key, []), *items])

    def _queue(self, suggestions: Mapping[str, Any], attributes: dict[str, Any]) -> None:
        self.study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                system_attrs={"fixed_params": dict(suggestions)},
                user_attrs=attributes,
            )
        )

    def _is_waiting(self, suggestions: Mapping[str, Any]) -> bool:
        return any(each.system_attrs.get("fixed_params") == suggestions for each in self.trials(TrialState.WAITING))


def training_costs(measurement: Measurement, phase: Phase, worker: str) -> list[CostEntry]:
    """The bill of one training; its steps count as ``phase``."""
    return [
        CostEntry(_TRAINING_PHASES.get(part, phase), worker, reading)
        for part, readings in measurement.readings.items()
        for reading in readings
    ]


def all_costs(measurement: Measurement, phase: Phase, worker: str) -> list[CostEntry]:
    """The bill of a task, all of it as ``phase``."""
    return [CostEntry(phase, worker, reading) for reading in measurement.all_readings]


def _explanation(proposal: Proposal) -> str:
    """What was chosen and why, on one line."""
    expected = [f"{metric} {each['low']:.4g} to {each['high']:.4g}" for metric, each in proposal.predicted.items()]
    return (
        f"chosen: {proposal.candidate.id} ({proposal.candidate.origin}), {proposal.reason}; "
        f"predicted: {', '.join(expected) or 'nothing yet'}; pool of {proposal.pool}, "
        f"{len(proposal.screened)} of the shortlist screened out"
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
