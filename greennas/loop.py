"""One session of a search: ask, screen, evaluate, tell, within budgets of trials, joules and seconds."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from greennas import results as keys
from greennas.carbon import CostEntry, Phase
from greennas.energy import format_energy, open_meter
from greennas.errors import ExhaustedError
from greennas.executors import Executor, Finished, RungReached
from greennas.final import FrontCheck, checkpoint_path, metered
from greennas.journal import together
from greennas.ledger import Ledger, all_costs, task_id
from greennas.log import LOGGER
from greennas.measurement import EvaluationTask, Measurement
from greennas.outputs import write_tables
from greennas.precision import settle_precision
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.rungs import RungKeeper
from greennas.sampler import GreenSampler, Probe, Shortlist
from greennas.sampler.history import COST, INTERRUPTED
from greennas.setup import Setup
from greennas.spending import Spending
from greennas.training.rung import epochs_before

_PROBE = "probe"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        result: the result so far; a moment old where trainings end faster than it can be made.
        running: trainings in progress.
        total: trainings to begin.
        elapsed_s: seconds since this call began.
        left_s: expected seconds until the end; None before anything is known.
        message: what has just happened; None for a mere tick.
    """

    result: SearchResult
    running: int
    total: int
    elapsed_s: float
    left_s: float | None
    message: str | None


ProgressHook = Callable[[Progress], None]


class SearchLoop:
    """One session of a search.

    Args:
        setup: what it works with.
        run: its folder.
        ledger: its study.
        executor: runs the trainings.
        data: folder of the data set's files.
        on_progress: told what happens.
    """

    def __init__(
        self,
        setup: Setup,
        run: RunFolder,
        ledger: Ledger,
        executor: Executor,
        data: Path,
        on_progress: ProgressHook | None = None,
    ) -> None:
        self._setup = setup
        self._config = setup.config
        self._run = run
        self._ledger = ledger
        self._executor = executor
        self._data = data
        self._hook = on_progress
        calibration, self._calibration = setup.calibration()
        self._sampler: GreenSampler = setup.sampler(calibration)
        self._rungs = RungKeeper(setup.config.screen.keep, setup.config.screen.initial)
        for report in ledger.rung_reports():
            self._rungs.go_on(report)
        self._trainings: dict[str, Trial] = {}
        self._choice: tuple[Shortlist, list[CostEntry]] | None = None
        self._probed: list[int] = []
        self._session: list[CostEntry] = []
        # Trainings that a new one may be the twin of, by architecture; only this process begins and ends any.
        self._begun: dict[str, int] = {}
        for trial in ledger.trials(TrialState.COMPLETE, TrialState.RUNNING):
            if known := trial.user_attrs.get(keys.ARCHITECTURE):
                self._begun[known["id"]] = trial.number
        self._interrupted = sum(bool(t.user_attrs.get(INTERRUPTED)) for t in ledger.trials(TrialState.FAIL))
        self._tables, self._shown = _Pace(), _Pace()
        self._progress: Progress | None = None
        self._spending = Spending(self._result())
        self._exhausted = False
        self._started_s = time.monotonic()
        self._finished_here = 0
        self.stopped = False

    def run(self) -> None:
        """Work until a budget is used up, or until the user stops it."""
        with metered(self._setup, self._ledger) as self._session, self._stoppable():
            self._setup, costs = settle_precision(
                self._setup, self._run, self._ledger, self._executor, self._data, self._tell, lambda: self.stopped
            )
            self._config = self._setup.config
            self._book(costs)
            self._work()
            if not self.stopped and self._setup.table is None:
                self._check_front()
            self._abandon()

    def _work(self) -> None:
        if self._calibration:
            self._tell(self._calibration)
        while not self.stopped:
            self._fill()
            if not self._trainings and self._choice is None:
                break
            for event in self._executor.wait(1.0):
                if isinstance(event, RungReached):
                    goes_on = self._rungs.go_on(event.report)
                    ends = "goes on" if goes_on else "ends"
                    LOGGER.debug("%s %s at epoch %g", event.task_id, ends, event.report.epoch)
                    self._executor.answer(event.task_id, goes_on)
                elif event.task_id == _PROBE:
                    self._end_choice(event)
                else:
                    self._end_training(event)
            self._tell()
        self._shown = _Pace()  # the last one is of now
        self._tell()

    def _fill(self) -> None:
        """Give every idle worker something to do, as far as the budgets allow."""
        while self._executor.free and not self.stopped:
            if self._ledger.trials(TrialState.WAITING):
                if not self._affordable():
                    return
                self._begin_training()
            elif self._choice is None and self._wanted():
                self._begin_choice()
            else:
                return

    # Choosing.

    def _wanted(self) -> bool:
        begun = len(self._ledger.study.get_trials(deepcopy=False)) - self._interrupted
        return begun < self._config.trials and not self._exhausted and self._affordable()

    def _begin_choice(self) -> None:
        try:
            with self._screening() as costs:
                shortlist = self._sampler.shortlist(self._ledger.study)
        except ExhaustedError as error:  # a small space has been tried to the last architecture
            self._exhausted = True
            self._tell(str(error))
            return
        self._choice = shortlist, costs
        params = [candidate.architecture.params for candidate in shortlist.candidates]
        plan = self._setup.plan(params[0])
        count = 0 if shortlist.design else self._setup.probes(plan)
        if count == 0:
            self._choose({})
            return
        # A probe has one plan: where the space gives each network its own, those that share the best one's are probed.
        self._probed = [i for i in shortlist.uncertain if self._setup.plan(params[i]) == plan][:count]
        if not self._probed:
            self._choose({})
            return
        candidates = tuple(params[i] for i in self._probed)
        steps = self._config.screen.probe_steps
        task = self._setup.task("probe", self._data, candidates=candidates, plan=plan, probe_steps=steps)
        self._executor.submit(_PROBE, task)

    def _end_choice(self, event: Finished) -> None:
        assert self._choice is not None
        shortlist, costs = self._choice
        costs += all_costs(event.measurement, Phase.PROBE, event.worker)
        ids = [shortlist.candidates[i].id for i in self._probed]
        probes = {
            architecture_id: Probe(found.train_energy_j, found.reason)
            for architecture_id, found in zip(ids, event.measurement.probes, strict=False)
        }
        self._choose(probes)

    def _choose(self, probes: Mapping[str, Probe]) -> None:
        assert self._choice is not None
        shortlist, costs = self._choice
        self._choice = None
        with self._screening() as more:
            proposal = self._sampler.choose(shortlist, self._ledger.study, probes)
        costs += more
        probe = probes.get(proposal.candidate.id, Probe())
        self._book(costs)
        self._ledger.enqueue(proposal, costs, probe.train_energy_j)

    @contextlib.contextmanager
    def _screening(self) -> Iterator[list[CostEntry]]:
        """Meter the driver's own work; the entry is in the list afterwards."""
        costs: list[CostEntry] = []
        meter = open_meter("cpu", exclusive=False, watts_per_core=self._config.energy.watts_per_core, children=False)
        with meter.window() as window:
            yield costs
        costs += [CostEntry(Phase.SCREENING, "driver", reading) for reading in window.readings]

    # Training.

    def _begin_training(self) -> None:
        with together(self._ledger.study):
            trial, task = self._next_training()
        if task is not None:
            LOGGER.debug("trial %d begins: %s", trial.number, trial.user_attrs[keys.ARCHITECTURE]["id"])
            self._trainings[task_id(trial.number)] = trial
            self._executor.submit(task_id(trial.number), task)

    def _next_training(self) -> tuple[Trial, EvaluationTask | None]:
        """Take what waits longest from the queue; no task for what cannot be trained."""
        trial = self._ledger.study.ask()
        try:
            params = self._setup.space.sample(trial)
            architecture = self._setup.space.architecture(params)
            plan = self._setup.plan(params)
        except Exception as error:  # enqueued from elsewhere with values that are none of this space
            self._ledger.fail(trial, f"not an architecture of the space: {error}")
            return trial, None
        twin = self._begun.setdefault(architecture.id, trial.number)
        if twin != trial.number:
            self._ledger.fail(trial, f"the same network as trial {twin}; it is not trained again")
            return trial, None
        if trial.user_attrs.get(keys.ARCHITECTURE) is None:
            trial.set_user_attr(keys.ARCHITECTURE, architecture.to_json())
        trial.set_user_attr(keys.EPOCHS, self._setup.epochs)
        checkpoint = checkpoint_path(self._run, architecture.id)
        seconds = self._config.limits.seconds_for(self._spending.at_most_s(trial.user_attrs))
        task = self._setup.task("train", self._data, params, plan=plan, checkpoint=str(checkpoint), seconds=seconds)
        return trial, task

    def _end_training(self, event: Finished) -> None:
        trial = self._trainings.pop(event.task_id)
        self._book(all_costs(event.measurement, Phase.TRAINING, event.worker))
        if self._ledger.finish(trial, event.measurement, event.worker) == TrialState.COMPLETE:
            measured = event.measurement
            self._spending.add_training(measured.metrics.get(COST), measured.kinds.get(COST), measured.seconds)
        else:
            self._begun.pop(trial.user_attrs[keys.ARCHITECTURE]["id"], None)
        self._finished_here += 1
        weights = list(self._run.checkpoints.glob("*.safetensors"))
        if weights:
            kept = {record.architecture_id for record in self._result().front}
            kept |= {training.user_attrs[keys.ARCHITECTURE]["id"] for training in self._trainings.values()}
            for file in weights:
                if file.stem not in kept:
                    file.unlink()
        if self._tables.due:
            with self._tables:
                write_tables(self._run, self._result())
        self._tell(_sentence(trial, event.measurement))

    # Budgets.

    def _affordable(self) -> bool:
        """Whether one more training fits into the time and the energy that are left."""
        config, spending = self._config, self._spending
        if config.time_budget_s is not None and time.monotonic() - self._started_s >= config.time_budget_s:
            return False
        if config.energy_budget_j is None:
            return True
        begun_j = [self._with_rungs(spending.at_most_j(trial.user_attrs)) for trial in self._trainings.values()]
        return spending.with_another_j + sum(begun_j) <= config.energy_budget_j

    def _with_rungs(self, energy_j: float) -> float:
        """Of a training's joules: those of the short trainings that may come before it, too."""
        if self._setup.table is not None:
            return energy_j
        training = self._config.training
        before = epochs_before(training.ordered_rungs, self._setup.input_shape[2])
        return energy_j * (1 + before / training.epochs)

    def _book(self, costs: list[CostEntry]) -> None:
        self._session += costs
        self._spending.add(costs)

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the search after what is being written; a second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: Any) -> None:
            self.stopped = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # The end.

    def _check_front(self) -> None:
        """Look at the test split once for each network of the final front, and measure their energy again."""
        check = FrontCheck(self._setup, self._run, self._ledger, self._executor, self._data, self._tell)
        self._session += check.test(lambda: self.stopped)
        self._session += check.confirm(lambda: self.stopped)

    def _abandon(self) -> None:
        """Stop what still runs after Ctrl-C; what it drew until then is on the bill."""
        for event in self._executor.close():
            costs = all_costs(event.measurement, Phase.STOPPED_TRAINING, event.worker)
            self._session += costs
            trial = self._trainings.get(event.task_id)
            if trial is None:
                self._ledger.add_driver_costs(costs)
            else:
                trial.set_user_attr(keys.COSTS, [entry.to_json() for entry in costs])

    def _result(self) -> SearchResult:
        return SearchResult(self._config, self._ledger.study, self._run.path)

    def _tell(self, message: str | None = None) -> None:
        if message is not None:
            LOGGER.info("%s", message)
        if self._hook is None or (message is None and not self._shown.due):
            return
        if self._progress is None or self._shown.due:
            with self._shown:
                self._progress = Progress(self._result(), 0, self._config.trials, 0.0, None, None)
                self._hook(self._with_time(self._progress, message))
        else:  # trainings end faster than a result is made: one a moment old will do
            self._hook(self._with_time(self._progress, message))

    def _with_time(self, progress: Progress, message: str | None) -> Progress:
        elapsed = time.monotonic() - self._started_s
        done = sum(progress.result.count(state) for state in _DONE)
        left = None
        if self._finished_here:
            left = elapsed / self._finished_here * max(self._config.trials - done, 0)
            if self._config.time_budget_s is not None:
                left = min(left, max(self._config.time_budget_s - elapsed, 0.0))
        return replace(progress, running=len(self._trainings), elapsed_s=elapsed, left_s=left, message=message)


class _Pace:
    """Keeps work that only informs to a small share of the time, as where a training is only looked up in a table."""

    _SHARE = 0.05

    def __init__(self) -> None:
        self._begun_s = self._next_s = -math.inf

    @property
    def due(self) -> bool:
        """Whether it has been long enough since the last time."""
        return time.monotonic() >= self._next_s

    def __enter__(self) -> None:
        self._begun_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next_s = now + (now - self._begun_s) / self._SHARE


def _sentence(trial: Trial, measurement: Measurement) -> str:
    if not measurement.ok:
        return f"trial {trial.number} failed: {measurement.reason}"
    accuracy = measurement.metrics.get("accuracy")
    reached = "" if accuracy is None else f"accuracy {accuracy:.4f}, "
    if measurement.stopped_rung is not None:
        return f"trial {trial.number} stopped after {measurement.rungs[-1].rung}, {reached}".removesuffix(", ")
    energy = measurement.metrics.get(COST)
    kind = "" if energy is None else f" {measurement.kinds[COST]}"
    return f"trial {trial.number}: {reached}training energy {format_energy(energy)}{kind}"
